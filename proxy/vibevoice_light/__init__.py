"""Speech to text without torch and without a GPU: voice activity, turns, speakers, words.

    recognizer = LightRecognizer.load(find_moonshine())
    for segment in recognizer.transcribe(samples):  # float32, mono, 16 kHz
        print(segment.start, segment.end, segment.speaker, segment.text)

Importing this loads no model and no onnxruntime.
"""

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.clusters import cluster
from vibevoice_light.embeddings import Window
from vibevoice_light.models import ModelFilesMissing, find_moonshine, is_tiny_english
from vibevoice_light.moonshine import Token
from vibevoice_light.pool import LightFailed, LightPool, open_pool, open_voices
from vibevoice_light.recognizer import (
    LOOKAHEAD_SECONDS,
    LightRecognizer,
    Listener,
    Segment,
)

__all__ = [
    "LOOKAHEAD_SECONDS",
    "SAMPLE_RATE",
    "LightFailed",
    "LightPool",
    "LightRecognizer",
    "Listener",
    "ModelFilesMissing",
    "Segment",
    "Token",
    "Window",
    "cluster",
    "find_moonshine",
    "is_tiny_english",
    "open_pool",
    "open_voices",
]
