"""Audio parameters of the VibeVoice models."""

SAMPLE_RATE = 24_000
"""Hz, mono (microsoft/VibeVoice, `preprocessor_config.json`: `target_sample_rate`)."""
TOKEN_SAMPLES = 3200
"""Samples per audio token or speech frame (`speech_tok_compress_ratio` in the same file)."""
TOKENS_PER_SECOND = SAMPLE_RATE / TOKEN_SAMPLES
"""7.5."""
