"""Makes `models/tiny-asr`: a small VibeVoice-ASR trained from nothing on synthetic speech."""
