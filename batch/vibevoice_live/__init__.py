"""The live client: captions of a microphone or a file, through OpenAI's realtime transcription."""
