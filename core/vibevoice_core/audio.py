"""The audio that the VibeVoice models take and make."""

SAMPLE_RATE = 24_000
"""Hz; mono (microsoft/VibeVoice, `preprocessor_config.json`: `target_sample_rate`)."""
TOKEN_SAMPLES = 3200
"""Samples of one audio token or speech frame (`speech_tok_compress_ratio` there)."""
TOKENS_PER_SECOND = SAMPLE_RATE / TOKEN_SAMPLES
"""7.5."""
