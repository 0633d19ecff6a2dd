"""The OpenAI audio API in front of a vLLM engine that serves VibeVoice-ASR."""
