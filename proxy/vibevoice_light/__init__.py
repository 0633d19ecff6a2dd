"""Speech to text without torch and without a GPU: voice activity, turns, speakers, words.

    recognizer = LightRecognizer.load(find_moonshine())
    for segment in recognizer.transcribe(samples):  # float32, mono, 16 kHz
        print(segment.start, segment.end, segment.speaker, segment.text)

Importing this loads no model and no onnxruntime.
"""

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.clusters import cluster
from vibevoice_light.embeddings import Window
from vibevoice_light.live_events import Ended, LiveEvent, NewWords, Said, Started, Stopped
from vibevoice_light.models import ModelFilesMissing, find_moonshine, is_tiny_english
from vibevoice_light.moonshine import Token
from vibevoice_light.pool import (
    Conversation,
    Heard,
    LightFailed,
    LightPool,
    open_pool,
    open_voices,
)
from vibevoice_light.recognizer import (
    LOOKAHEAD_SECONDS,
    LightRecognizer,
    Listener,
)
from vibevoice_light.segments import Segment
from vibevoice_light.utterances import Detection, Utterances
from vibevoice_light.voice_activity import VoiceActivity, open_voice_activity

__all__ = [
    "LOOKAHEAD_SECONDS",
    "SAMPLE_RATE",
    "Conversation",
    "Detection",
    "Ended",
    "Heard",
    "LightFailed",
    "LightPool",
    "LightRecognizer",
    "Listener",
    "LiveEvent",
    "ModelFilesMissing",
    "NewWords",
    "Said",
    "Segment",
    "Started",
    "Stopped",
    "Token",
    "Utterances",
    "VoiceActivity",
    "Window",
    "cluster",
    "find_moonshine",
    "is_tiny_english",
    "open_pool",
    "open_voice_activity",
    "open_voices",
]
