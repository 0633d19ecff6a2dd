"""Trains `models/tiny-asr`, a small VibeVoice-ASR, from scratch on synthetic speech."""
