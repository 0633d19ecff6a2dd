"""Speaker labels: one per person across sections, and names of known speakers. The voices are real;
a fake engine returns the reference transcript."""

import base64
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from bench.channels import coded
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.real_voices import (
    RATE,
    Samples,
    Spoken,
    Utterance,
    conversation,
    librivox,
    prompts,
)
from tests.support.recordings import tone, wav
from tests.support.scripted import script, sections_of, upload

pytest_plugins = ("tests.support.proxy_fixtures",)

SECTION = 20.0


@cache
def people() -> dict[str, Sequence[Utterance]]:
    """Utterances of three real people, 3 to 7 s each."""
    allison, june = (
        [one for one in prompts(voice) if 3 < one.seconds < 7]
        for voice in ("en_US_f_Allison", "fr_CA_f_June")
    )
    return {"Ann": allison, "Eve": [one for one in librivox() if one.seconds > 2], "June": june}


@cache
def talk() -> tuple[bytes, list[Spoken]]:
    """A minute with three people; each section of 20 s begins with a different one."""
    order = ("Ann", "Eve", "Ann", "Eve", "Ann", "Eve", "June", "Ann", "June", "Ann", "Eve", "June")
    counts = dict.fromkeys(people(), 0)
    turns: list[tuple[str, Utterance]] = []
    for name in order:
        turns.append((name, people()[name][counts[name] % len(people()[name])]))
        counts[name] += 1
    samples, spoken = conversation(turns, 0.4)
    return upload(samples), spoken


def reference(samples: Samples) -> str:
    """A recording as a data URL."""
    return f"data:audio/wav;base64,{base64.b64encode(wav(samples, RATE)).decode()}"


@cache
def voice(name: str) -> str:
    """A reference for a person, with words that they do not say in the talk."""
    return reference(people()[name][-1].samples)


def post(url: str, audio: bytes, **fields: Any) -> httpx2.Response:
    data = {"response_format": "diarized_json", **fields}
    files = {"file": ("talk", audio)}
    return httpx2.post(url + TRANSCRIPTIONS, data=data, files=files, timeout=120)


def known(*names: str) -> dict[str, list[str]]:
    """Form fields for known speakers."""
    return {
        "known_speaker_names[]": list(names),
        "known_speaker_references[]": [voice(name) for name in names],
    }


def said(segments: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The person and the label of each segment, in order."""
    return [(one["text"].split()[0], one["speaker"]) for one in segments]


LABELS = {"Ann": "A", "Eve": "B", "June": "C"}


@pytest.mark.parametrize("stream", ["", "true"])
def test_one_label_through_all_sections(
    stream: str, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Labels do not depend on who begins a section; streams have the same labels as complete
    transcripts."""
    audio, spoken = talk()
    sections = sections_of(audio, SECTION)
    assert len(sections) > 2
    script(fake_engine, spoken, sections)
    answer = post(start_proxy(max_section_seconds=SECTION), audio, stream=stream)
    if stream:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
        segments, body = [one for one in events if "speaker" in one], events[-1]
    else:
        body = answer.json()
        segments = body["segments"]
    assert said(segments) == [(one.speaker, LABELS[one.speaker]) for one in spoken]
    assert [(one["speaker"], one["known"]) for one in body["speakers"]] == [
        ("A", False), ("B", False), ("C", False),
    ]  # fmt: skip
    for one in body["speakers"]:
        assert one["confidence"] > 0.9
        length = sum(
            part["end"] - part["start"] for part in segments if part["speaker"] == one["speaker"]
        )
        assert one["seconds"] == pytest.approx(length, abs=0.01)


def test_the_first_section_streams_before_the_second_is_there(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Its speakers need no comparison."""
    audio, spoken = talk()
    sections = sections_of(audio, SECTION)
    script(fake_engine, spoken, sections)
    fake_engine.stall_after = 0
    fake_engine.stall_if = lambda text: f"{sections[1].duration:.2f} seconds" in text
    url = start_proxy(max_section_seconds=SECTION)
    expected = sum(one.end < sections[0].duration for one in spoken)
    data = {"response_format": "diarized_json", "stream": "true"}
    files = {"file": ("talk", audio)}
    found: list[str] = []
    with httpx2.stream("POST", url + TRANSCRIPTIONS, data=data, files=files, timeout=60) as answer:
        for line in answer.iter_lines():
            if '"transcript.text.segment"' in line:
                found.append(json.loads(line[6:])["speaker"])
                if len(found) == expected:
                    fake_engine.release.set()
    assert len(found) == len(spoken)
    assert set(found) == {"A", "B", "C"}


@pytest.mark.parametrize("stream", [False, True])
def test_known_speakers_have_their_names(
    stream: bool, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The official client validates the response; an unknown speaker is A."""
    audio, spoken = talk()
    script(fake_engine, spoken, sections_of(audio, SECTION))
    url = start_proxy(max_section_seconds=SECTION)
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    arguments: Any = {
        "model": "gpt-4o-transcribe-diarize",
        "file": ("talk.wav", audio),
        "response_format": "diarized_json",
        "chunking_strategy": "auto",
        "known_speaker_names": ["June", "Ann"],
        "known_speaker_references": [voice("June"), voice("Ann")],
    }
    answer: Any = client.audio.transcriptions.create(**arguments, stream=stream)
    if stream:
        events = list(answer)
        segments = [event for event in events if event.type == "transcript.text.segment"]
        assert events[-1].type == "transcript.text.done"
        speakers = events[-1].speakers
    else:
        assert type(answer).__name__ == "TranscriptionDiarized"
        segments, speakers = answer.segments, answer.speakers
    names = {"Ann": "Ann", "Eve": "A", "June": "June"}
    assert [(one.text.split()[0], one.speaker) for one in segments] == [
        (one.speaker, names[one.speaker]) for one in spoken
    ]
    assert {one["speaker"]: one["known"] for one in speakers} == {
        "Ann": True, "A": False, "June": True,
    }  # fmt: skip


def test_subtitles_and_verbose_json_have_names_too(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Names also appear for a recording in one section."""
    audio, spoken = talk()
    script(fake_engine, spoken, sections_of(audio, 3600))
    url = start_proxy()
    assert "Ann: Ann speaks." in post(url, audio, response_format="srt", **known("Ann")).text
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    verbose: Any = client.audio.transcriptions.create(
        model="whisper-1",
        file=audio,
        response_format="verbose_json",
        extra_body={
            "known_speaker_names": ["Ann"],
            "known_speaker_references": [voice("Ann")],
        },
    )
    assert verbose.segments[0].speaker == verbose.speakers[0]["speaker"] == "Ann"


def test_another_server_that_tells_speakers(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """A transcription server replaces the engine; here it is another proxy."""
    audio, spoken = talk()
    script(fake_engine, spoken, sections_of(audio, SECTION))
    url = start_proxy(
        asr_api="transcriptions", asr_base_url=start_proxy(), max_section_seconds=SECTION
    )
    found = post(url, audio, **known("June")).json()
    names = {"Ann": "A", "Eve": "B", "June": "June"}
    assert said(found["segments"]) == [(one.speaker, names[one.speaker]) for one in spoken]


def test_references_cut_from_earlier_chunks(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Works as in Speakr: the labels of a chunk are the names sent with the next one, with
    references cut from the chunk as MP3. A new voice gets the next free label."""
    sayings = {name: iter([*found] * 3) for name, found in people().items()}
    chunks = [
        conversation([(name, next(sayings[name])) for name in names], 0.4)
        for names in (("Ann", "Eve", "Ann", "Eve"), ("June", "Eve", "Ann", "June"))
    ]
    url = start_proxy()
    samples, spoken = chunks[0]
    script(fake_engine, spoken, sections_of(upload(samples), 3600))
    first = post(url, upload(samples)).json()["segments"]
    names, references = [], []
    for label in sorted({part["speaker"] for part in first}):
        part = next(p for p in first if p["speaker"] == label and p["end"] - p["start"] > 2)
        cut = samples[round(part["start"] * RATE) : round(part["end"] * RATE)]
        data = base64.b64encode(wav(cut, RATE, format="MP3", subtype="MPEG_LAYER_III")).decode()
        names.append(label)
        references.append(f"data:audio/mpeg;base64,{data}")
    assert names == ["A", "B"]
    samples, spoken = chunks[1]
    script(fake_engine, spoken, sections_of(upload(samples), 3600))
    fields = {"known_speaker_names[]": names, "known_speaker_references[]": references}
    second = post(url, upload(samples), **fields).json()
    assert said(second["segments"]) == [
        ("June", "C"), ("Eve", "B"), ("Ann", "A"), ("June", "C"),
    ]  # fmt: skip


TEXT = base64.b64encode(b"no recording at all, but text" * 20).decode()


def ann(seconds: float) -> Samples:
    """`seconds` of Ann's speech."""
    whole = np.concatenate([one.samples for one in people()["Ann"][:4]])
    return whole[: round(seconds * RATE)]


def two_people() -> Samples:
    """A few seconds of one person, then of the other."""
    return np.concatenate([people()[name][0].samples[: 5 * RATE] for name in ("Ann", "Eve")])


NAMES, REFERENCES = "known_speaker_names", "known_speaker_references"
WRONG: dict[str, tuple[Any, Any, str, str]] = {
    "no references": (["Ann"], [], REFERENCES, "1 known_speaker_names and 0"),
    "no names": ([], [voice], NAMES, "0 known_speaker_names and 1"),
    "one reference too few": (["Ann", "Eve"], [voice], REFERENCES, "2 .* and 1"),
    "one reference too many": (["Ann"], [voice, voice], REFERENCES, "1 .* and 2"),
    "five": (list("VWXYZ"), [voice] * 5, NAMES, "at most 4"),
    "an empty name": (["Ann", " "], [voice] * 2, NAMES, "name 2 .* is empty"),
    "an empty reference": (["Ann", "B"], [voice, ""], REFERENCES, "2 .* is empty"),
    "control characters": (["A\tn\u0007n"], [voice], NAMES, "printable"),
    "a line break": (["Ann\nBob"], [voice], NAMES, "printable"),
    "a long name": (["x" * 101], [voice], NAMES, "at most 100"),
    "a name twice": (["Ann", "Ann"], [voice] * 2, NAMES, "name 2 .* duplicate"),
    "a name in two cases": (["Ann", "ANN"], [voice] * 2, NAMES, "duplicate"),
    "the word for nobody": (["unknown"], [voice], NAMES, "unknown speakers"),
    "a URL": (["Ann"], ["https://a.example/b.wav"], REFERENCES, "not fetched"),
    "a file's URL": (["Ann"], ["file:///etc/passwd"], REFERENCES, "not fetched"),
    "base64 alone": (["Ann"], [TEXT], REFERENCES, "not a data URL"),
    "a name of a file": (["Ann"], ["ann.wav"], REFERENCES, "not a data URL"),
    "no base64": (["Ann"], ["data:audio/wav,RIFF"], REFERENCES, "not base64"),
    "bad base64": (
        ["Ann"], ["data:audio/wav;base64,UklG*R"], REFERENCES, "valid base64"
    ),
    "half of base64": (
        ["Ann"], ["data:audio/wav;base64,UklGR"], REFERENCES, "valid base64"
    ),
    "nothing in it": (["Ann"], ["data:audio/wav;base64,"], REFERENCES, "is empty"),
    "text in it": (
        ["Ann"], [f"data:audio/wav;base64,{TEXT}"], REFERENCES, "could not be decoded"
    ),
    "a WAV without samples": (
        ["Ann"], [lambda: reference(np.zeros(0, np.float32))], REFERENCES, "reference 1"
    ),
    "too short": (["Ann"], [lambda: reference(ann(1.0))], REFERENCES, "1.00 seconds"),
    "too long": (["Ann"], [lambda: reference(ann(12.0))], REFERENCES, "longer than 10"),
    "silence": (
        ["Ann"], [lambda: reference(np.zeros(4 * RATE, np.float32))], REFERENCES, "clear speech"
    ),
    "a tone": (
        ["Ann"], [lambda: reference(tone(4, RATE).astype(np.float32))], REFERENCES, "clear speech"
    ),
    "two people": (
        ["Ann"],
        [lambda: reference(two_people())],
        REFERENCES,
        "more than one voice",
    ),
    "the second one wrong": (
        ["Ann", "B"], [voice, "data:,x"], REFERENCES, "reference 2"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_known_speakers_are_told(
    case: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The 400 names the wrong value and what was expected; the engine is not called."""
    names, references, param, message = WRONG[case]
    made = [one("Ann") if one is voice else one() if callable(one) else one for one in references]
    fields = {"known_speaker_names[]": names, "known_speaker_references[]": made}
    answer = http.post(TRANSCRIPTIONS, files={"file": wav(tone(1), 24_000)}, data=fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert re.search(message, error["message"]), error["message"]
    assert fake_engine.asked == 0


def test_references_are_no_files(http: httpx2.Client) -> None:
    """A recording sent as a file is rejected; the message asks for a data URL."""
    files = {
        "file": ("a", wav(tone(1), 24_000)),
        "known_speaker_references[]": ("ann.wav", wav(ann(4), RATE), "audio/wav"),
    }
    answer = http.post(TRANSCRIPTIONS, files=files, data={"known_speaker_names[]": "Ann"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "known_speaker_references"
    assert "data URL" in answer.json()["error"]["message"]


def test_where_voices_are_not_compared_names_are_refused(start_proxy: StartProxy) -> None:
    """Ignoring them would give wrong names."""
    url = start_proxy(speaker_linking=False)
    answer = post(url, wav(tone(1), 24_000), **known("Ann"))
    assert answer.status_code == 400
    assert "VIBEVOICE_SPEAKER_LINKING" in answer.json()["error"]["message"]


def test_more_names_by_setting(start_proxy: StartProxy, fake_engine: FakeEngine) -> None:
    """The operator sets the limit. References also match speech through a telephone band."""
    audio, spoken = talk()
    script(fake_engine, spoken, sections_of(audio, 3600))
    url = start_proxy(max_known_speakers=6)
    narrow = {
        name: reference(coded(people()[name][-1].samples, "wav", "pcm_mulaw", 8000, 0))
        for name in people()
    }
    others = [reference(one.samples) for one in prompts("it_IT_m_Carlo") if 3 < one.seconds < 7]
    fields = {
        "known_speaker_names[]": [*narrow, "Carlo"],
        "known_speaker_references[]": [*narrow.values(), others[0]],
    }
    found = post(url, audio, **fields).json()
    assert said(found["segments"]) == [(one.speaker, one.speaker) for one in spoken]
    assert "Carlo" not in {one["speaker"] for one in found["speakers"]}
