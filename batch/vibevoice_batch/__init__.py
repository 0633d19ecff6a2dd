"""The batch client: thousands of recordings through an OpenAI-compatible transcription API."""
