"""Batch client: transcribes thousands of recordings through an OpenAI-compatible server."""
