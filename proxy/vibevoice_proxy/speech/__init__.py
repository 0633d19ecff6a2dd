"""Text to speech: POST /v1/audio/speech, and its voices and models."""
