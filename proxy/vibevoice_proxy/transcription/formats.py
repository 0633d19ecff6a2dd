"""A transcript in the six response formats of OpenAI's transcription API (openai 3.52 types)."""

import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vibevoice_core import headers
from vibevoice_core.speakers import UNKNOWN
from vibevoice_core.subtitles import Cue, Limits, srt, vtt
from vibevoice_proxy.transcription.transcript import Segment, Transcript, Usage

MAX_HEADER_PARTS = 20
"""Reverse proxies accept only a few kilobytes of headers."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A response body and its media type."""

    body: str
    media_type: str


def render(
    transcript: Transcript,
    response_format: str,
    limits: Limits | None = None,
    *,
    with_logprobs: bool = False,
) -> Rendering:
    """`transcript` in one of RESPONSE_FORMATS; raises KeyError for any other name. `limits` apply
    to subtitles and `with_logprobs` to json, as in OpenAI's API."""
    media_type, write = _WRITERS[response_format]
    if with_logprobs and response_format == "json":
        write = _json_with_logprobs
    return Rendering(write(transcript, limits or Limits()), media_type)


def duration_usage(transcript: Transcript) -> dict[str, Any]:
    """Usage by time: whole seconds, rounded up as OpenAI does."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def token_usage(usage: Usage) -> dict[str, Any]:
    """Usage by tokens."""
    total, output, audio = usage.input_tokens, usage.output_tokens, usage.audio_tokens
    return {
        "type": "tokens",
        "input_tokens": total,
        "output_tokens": output,
        "total_tokens": total + output,
        "input_token_details": {"audio_tokens": audio, "text_tokens": total - audio},
    }


def diarized_segment(number: int, segment: Segment) -> dict[str, Any]:
    """OpenAI's diarized segment, which is also its `transcript.text.segment` event."""
    return {
        "type": "transcript.text.segment",
        "id": segment_id(number),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker or UNKNOWN,
    }


def segment_id(number: int) -> str:
    """1 → seg_001."""
    return f"seg_{number:03d}"


def speakers(transcript: Transcript) -> dict[str, Any]:
    """The speakers with their confidence; empty if voices were not compared."""
    if not transcript.people:
        return {}
    found = [
        {
            "speaker": person.label,
            "known": person.is_known,
            "confidence": person.confidence,
            "seconds": person.seconds,
            **({"similar_to": person.similar} if person.similar else {}),
        }
        for person in transcript.people
    ]
    return {"speakers": found}


def truncation(transcript: Transcript) -> dict[str, Any]:
    """Why a transcript is incomplete, and which parts are missing; empty for a complete
    transcript."""
    if not transcript.missing:
        return {}
    missing = [
        {"start": part.start, "end": part.end, "reason": part.reason} for part in transcript.missing
    ]
    return {"truncated": transcript.truncated, "missing": missing}


def truncation_headers(transcript: Transcript) -> dict[str, str]:
    """The same information as headers, with at most MAX_HEADER_PARTS parts; empty for a complete
    transcript."""
    if not transcript.missing:
        return {}
    parts = [
        f"{part.start:.3f}-{part.end:.3f} {part.reason}"
        for part in transcript.missing[:MAX_HEADER_PARTS]
    ]
    if more := len(transcript.missing) - len(parts):
        parts.append(f"{more} more")
    return {headers.TRUNCATED: transcript.truncated or "", headers.MISSING: ", ".join(parts)}


def logprobs(segments: Sequence[Segment]) -> dict[str, Any]:
    """OpenAI's `logprobs` for the tokens of `segments`; empty if the model provides none."""
    tokens = [token for segment in segments for token in segment.tokens]
    if not tokens:
        return {}
    found = [
        {
            "token": token.text,
            "logprob": round(token.logprob, 4),
            "bytes": list(token.text.encode()),
        }
        for token in tokens
    ]
    return {"logprobs": found}


def _compression_ratio(text: str) -> float:
    """As computed by Whisper (openai/whisper, `utils.py`): values above 2.4 indicate repetition."""
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 4)


def _no_speech(segment: Segment) -> float | None:
    """1 for an event such as `[Music]`, which the model itself does not treat as speech."""
    return segment.no_speech_prob if segment.is_speech else 1.0


def _usage(transcript: Transcript) -> dict[str, Any]:
    return token_usage(transcript.usage) if transcript.usage else duration_usage(transcript)


def _json(transcript: Transcript, _: Limits) -> str:
    return _dump({"text": transcript.text, "usage": _usage(transcript)})


def _json_with_logprobs(transcript: Transcript, _: Limits) -> str:
    return _dump(
        {"text": transcript.text, **logprobs(transcript.segments), "usage": _usage(transcript)}
    )


def _text(transcript: Transcript, _: Limits) -> str:
    return transcript.text + "\n" if transcript.text else ""


def _verbose_json(transcript: Transcript, _: Limits) -> str:
    return _dump(
        {
            "task": "translate" if transcript.is_translation else "transcribe",
            "language": transcript.language or UNKNOWN,
            "duration": transcript.duration,
            "text": transcript.text,
            "segments": [
                _verbose_segment(number, segment)
                for number, segment in enumerate(transcript.segments)
            ],
            "usage": duration_usage(transcript),
            **speakers(transcript),
            **truncation(transcript),
        }
    )


def _verbose_segment(number: int, segment: Segment) -> dict[str, Any]:
    """OpenAI's segment. Values that the model does not provide are omitted: numbers would be
    invented, and null breaks clients that expect a number."""
    told = {"avg_logprob": segment.avg_logprob, "no_speech_prob": _no_speech(segment)}
    return {
        "id": number,
        "seek": 0,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "compression_ratio": _compression_ratio(segment.text),
        **{key: value for key, value in told.items() if value is not None},
        "speaker": segment.speaker,
    }


def _diarized_json(transcript: Transcript, _: Limits) -> str:
    spoken = [segment for segment in transcript.segments if segment.is_speech]
    return _dump(
        {
            "task": "transcribe",
            "duration": transcript.duration,
            "text": "\n".join(_with_speaker(segment, "{}: {}") for segment in spoken),
            "segments": [
                diarized_segment(number, segment)
                for number, segment in enumerate(transcript.segments, 1)
            ],
            "usage": _usage(transcript),
            **speakers(transcript),
            **truncation(transcript),
        }
    )


def _srt(transcript: Transcript, limits: Limits) -> str:
    return srt(_cues(transcript), limits)


def _vtt(transcript: Transcript, limits: Limits) -> str:
    return vtt(_cues(transcript), limits)


def _cues(transcript: Transcript) -> list[Cue]:
    return [Cue(part.start, part.end, part.speaker, part.text) for part in transcript.segments]


def _with_speaker(segment: Segment, template: str) -> str:
    return template.format(segment.speaker, segment.text) if segment.speaker else segment.text


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


_JSON = "application/json"
_WRITERS: dict[str, tuple[str, Callable[[Transcript, Limits], str]]] = {
    "json": (_JSON, _json),
    "text": ("text/plain; charset=utf-8", _text),
    "srt": (
        "application/x-subrip; charset=utf-8",
        _srt,
    ),
    "verbose_json": (_JSON, _verbose_json),
    "vtt": ("text/vtt; charset=utf-8", _vtt),
    "diarized_json": (_JSON, _diarized_json),
}
RESPONSE_FORMATS = tuple(_WRITERS)
