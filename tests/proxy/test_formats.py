"""A transcript in each of OpenAI's response formats, with the exact structure."""

import json
from typing import Any

import pytest
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionTextSegmentEvent,
    TranscriptionVerbose,
)
from pydantic import BaseModel

from vibevoice_core.subtitles import Limits
from vibevoice_proxy.transcription.formats import RESPONSE_FORMATS, diarized_segment, render
from vibevoice_proxy.transcription.transcript import Segment, Token, Transcript, Usage

TWO_SPEAKERS = Transcript(
    (
        Segment(0.0, 1.5, "A", "Tom & <Jerry> --> here."),
        Segment(1.5, 2.0, None, "[Music]"),
        Segment(3599.9996, 3725.0625, "B", "Bye.\n\nReally."),
    ),
    duration=3725.0625,
    usage=Usage(input_tokens=30_000, output_tokens=50, audio_tokens=27_938),
    language="en",
)
NOTHING = Transcript((), duration=2.0)

TOKENS = {
    "type": "tokens",
    "input_tokens": 30_000,
    "output_tokens": 50,
    "total_tokens": 30_050,
    "input_token_details": {"audio_tokens": 27_938, "text_tokens": 2_062},
}


def body(transcript: Transcript, response_format: str) -> Any:
    """The JSON body of `transcript`."""
    return json.loads(render(transcript, response_format).body)


def test_json_has_text_and_tokens() -> None:
    """The default format is the running text and the engine's token count."""
    assert body(TWO_SPEAKERS, "json") == {
        "text": "Tom & <Jerry> --> here. Bye.\n\nReally.",
        "usage": TOKENS,
    }


def test_text_is_one_line_of_running_text() -> None:
    """Plain text is the transcript and a line break, nothing else."""
    transcript = Transcript((Segment(0, 1, "A", "Hi."), Segment(1, 2, "B", "Ho.")), 2.0)
    assert render(transcript, "text").body == "Hi. Ho.\n"


def test_srt_cues_name_the_speakers_when_there_are_several() -> None:
    """SubRip has numbered cues, a comma before the milliseconds and no empty line in a cue."""
    assert render(TWO_SPEAKERS, "srt", Limits(0, 0, 0)).body == (
        "1\n00:00:00,000 --> 00:00:01,500\nA: Tom & <Jerry> --> here.\n\n"
        "2\n00:00:01,500 --> 00:00:02,000\n[Music]\n\n"
        "3\n01:00:00,000 --> 01:02:05,062\nB: Bye. Really.\n"
    )


def test_vtt_cues_escape_markup_and_carry_voice_tags() -> None:
    """WebVTT has its header, a period before the milliseconds, voice tags and escaped text."""
    assert render(TWO_SPEAKERS, "vtt", Limits(0, 0, 0)).body == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\n<v A>Tom &amp; &lt;Jerry&gt; --&gt; here.\n\n"
        "00:00:01.500 --> 00:00:02.000\n[Music]\n\n"
        "01:00:00.000 --> 01:02:05.062\n<v B>Bye. Really.\n"
    )


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_subtitles_of_one_speaker_name_nobody(response_format: str) -> None:
    """With a single speaker, labels would be useless."""
    transcript = Transcript((Segment(0, 1, "A", "Hi."),), 1.0)
    assert render(transcript, response_format).body.endswith("\nHi.\n")


def test_verbose_json_has_every_key_of_a_segment() -> None:
    """Segments have the fields of OpenAI's segment that the model provides, plus the speaker. If
    the model does not report confidence, those fields are absent."""
    verbose = body(TWO_SPEAKERS, "verbose_json")
    assert {key: verbose[key] for key in ("task", "language", "duration", "usage")} == {
        "task": "transcribe",
        "language": "en",
        "duration": 3725.0625,
        "usage": {"type": "duration", "seconds": 3726},
    }
    assert verbose["segments"][2] == {
        "id": 2,
        "seek": 0,
        "start": 3599.9996,
        "end": 3725.0625,
        "text": "Bye.\n\nReally.",
        "tokens": [],
        "temperature": 0.0,
        "compression_ratio": 0.619,
        "speaker": "B",
    }


def test_diarized_json_has_one_line_per_turn_and_typed_segments() -> None:
    """Each segment has a type, an id and a speaker; the text has a line for each turn."""
    assert body(TWO_SPEAKERS, "diarized_json") == {
        "task": "transcribe",
        "duration": 3725.0625,
        "text": "A: Tom & <Jerry> --> here.\nB: Bye.\n\nReally.",
        "segments": [
            {
                "type": "transcript.text.segment",
                "id": f"seg_00{number}",
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "speaker": speaker,
            }
            for number, segment, speaker in zip(
                (1, 2, 3), TWO_SPEAKERS.segments, ("A", "unknown", "B"), strict=True
            )
        ],
        "usage": TOKENS,
    }


@pytest.mark.parametrize("transcript", [TWO_SPEAKERS, NOTHING], ids=["two speakers", "nothing"])
@pytest.mark.parametrize(
    ("response_format", "model"),
    [
        ("json", Transcription),
        ("verbose_json", TranscriptionVerbose),
        ("diarized_json", TranscriptionDiarized),
    ],
)
def test_json_formats_satisfy_the_types_of_the_official_client(
    response_format: str, model: type[BaseModel], transcript: Transcript
) -> None:
    """The client itself does not validate. Validating with its types finds no missing fields except
    those that the model does not provide."""
    answer = json.loads(render(transcript, response_format).body)
    if response_format == "verbose_json":
        for segment in answer["segments"]:
            assert "avg_logprob" not in segment
            segment.update({"avg_logprob": -0.1, "no_speech_prob": 0.1})
    model.model_validate(answer)


def test_confidence_is_what_the_model_tells() -> None:
    """verbose_json has it for each segment; json has it for each token, if requested."""
    segment = Segment(
        0.0, 1.0, "A", "Hé there.", -0.25, 0.02, (Token("Hé", -0.5), Token(" there.", 0))
    )
    transcript = Transcript((segment,), 1.0)
    [verbose] = body(transcript, "verbose_json")["segments"]
    assert (verbose["avg_logprob"], verbose["no_speech_prob"]) == (-0.25, 0.02)
    assert "logprobs" not in body(transcript, "json")
    answer = json.loads(render(transcript, "json", with_logprobs=True).body)
    assert answer["logprobs"] == [
        {"token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169]},
        {"token": " there.", "logprob": 0, "bytes": [32, 116, 104, 101, 114, 101, 46]},
    ]
    Transcription.model_validate(answer)
    nothing = json.loads(render(TWO_SPEAKERS, "json", with_logprobs=True).body)
    assert "logprobs" not in nothing


def test_an_event_is_no_speech() -> None:
    """The model itself marks events."""
    transcript = Transcript((Segment(0.0, 1.0, None, "[Music]"),), 1.0)
    assert body(transcript, "verbose_json")["segments"][0]["no_speech_prob"] == 1.0


def test_a_diarized_segment_is_an_event_of_the_official_client() -> None:
    """The same object is used as segment and as streamed event."""
    event = TranscriptionTextSegmentEvent.model_validate(
        diarized_segment(1, TWO_SPEAKERS.segments[0])
    )
    assert event.id == "seg_001"


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [("text", ""), ("srt", ""), ("vtt", "WEBVTT\n")],
)
def test_nothing_said_is_an_empty_document(response_format: str, expected: str) -> None:
    """Silence gives a valid document without cues."""
    assert render(NOTHING, response_format).body == expected


def test_nothing_said_is_empty_text_and_no_segments() -> None:
    """Silence gives empty text, no segments and usage by duration."""
    diarized = body(NOTHING, "diarized_json")
    assert (diarized["text"], diarized["segments"]) == ("", [])
    assert diarized["usage"] == {"type": "duration", "seconds": 2}
    verbose = body(NOTHING, "verbose_json")
    assert (verbose["text"], verbose["segments"], verbose["language"]) == ("", [], "unknown")


def test_media_types_are_those_of_the_formats() -> None:
    """Subtitles and text are not sent as JSON."""
    assert {name: render(NOTHING, name).media_type for name in RESPONSE_FORMATS} == {
        "json": "application/json",
        "text": "text/plain; charset=utf-8",
        "srt": "application/x-subrip; charset=utf-8",
        "verbose_json": "application/json",
        "vtt": "text/vtt; charset=utf-8",
        "diarized_json": "application/json",
    }
