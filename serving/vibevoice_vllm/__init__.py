"""VibeVoice-ASR on vLLM: a plugin of the engine, and what starts and feeds it."""
