"""The vLLM plugin for VibeVoice-ASR, and the tools that prepare, start, and supervise the
engine."""
