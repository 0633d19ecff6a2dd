"""The live client: captions from a microphone or a file, through OpenAI's realtime
transcription."""
