"""OpenAI's realtime API: sessions over a WebSocket."""
