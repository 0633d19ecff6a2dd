"""Text to speech: the models that can be served, and the workers that run them.

The proxy uses only the names below. Importing them does not load the models' libraries; only the
worker processes import those.
"""

from vibevoice_tts.models import (
    MODEL_TYPES,
    MODELS,
    Attention,
    Dtype,
    ModelCard,
    ModelConfig,
    WeightsMissing,
    choose_models,
    routes,
)
from vibevoice_tts.process import WorkerProcess, WorkerUnavailable, open_worker
from vibevoice_tts.reference_audio import GOOD_SECONDS, MAX_FILE_SECONDS, check_sample
from vibevoice_tts.script import Passage, Script, words_in
from vibevoice_tts.speech_model import (
    CannotClone,
    End,
    NotEnglish,
    Prepared,
    Samples,
    SpeechError,
    SpeechRejected,
    UnknownVoice,
)
from vibevoice_tts.synthesizer import Plan, SpeechQueueFull, Synthesizer

__all__ = [
    "GOOD_SECONDS",
    "MAX_FILE_SECONDS",
    "MODELS",
    "MODEL_TYPES",
    "Attention",
    "CannotClone",
    "Dtype",
    "End",
    "ModelCard",
    "ModelConfig",
    "NotEnglish",
    "Passage",
    "Plan",
    "Prepared",
    "Samples",
    "Script",
    "SpeechError",
    "SpeechQueueFull",
    "SpeechRejected",
    "Synthesizer",
    "UnknownVoice",
    "WeightsMissing",
    "WorkerProcess",
    "WorkerUnavailable",
    "check_sample",
    "choose_models",
    "open_worker",
    "routes",
    "words_in",
]
