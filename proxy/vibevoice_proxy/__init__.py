"""OpenAI's audio API for a vLLM engine that serves VibeVoice-ASR."""
