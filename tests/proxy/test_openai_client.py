"""The official openai client with the proxy on a real socket."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionVerbose,
)
from tests.support.fakes import FakeEngine, StartProxy, serve
from tests.support.recordings import encoded, tone, wav

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.formats import RESPONSE_FORMATS

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
SAMPLES = Path(__file__).parents[2] / "samples"


def test_json_is_a_transcription(openai_client: openai.OpenAI) -> None:
    """The default format has the text and the token counts."""
    answer = openai_client.audio.transcriptions.create(file=SPEECH, model="whisper-1")
    assert isinstance(answer, Transcription)
    assert answer.text == "Good morning. Hello."
    assert answer.usage is not None
    assert answer.usage.type == "tokens"
    assert answer.usage.total_tokens == 140


def test_verbose_json_has_segments_with_speakers(openai_client: openai.OpenAI) -> None:
    """Segments have times and, in addition to OpenAI's type, the speaker; the response has the
    duration."""
    answer = openai_client.audio.transcriptions.create(
        file=SPEECH, model="whisper-1", response_format="verbose_json", language="en"
    )
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.duration, answer.language) == (2.0, "en")
    assert answer.segments is not None
    assert [(item.id, item.start, item.end, item.text) for item in answer.segments] == [
        (0, 0.0, 1.5, "Good morning."),
        (1, 1.5, 2.0, "Hello."),
    ]
    assert [item.model_extra for item in answer.segments] == [{"speaker": "A"}, {"speaker": "B"}]


def test_diarized_json_tells_who_said_what(openai_client: openai.OpenAI) -> None:
    """Speakers are A and B in order of appearance."""
    answer = openai_client.audio.transcriptions.create(
        file=SPEECH,
        model="gpt-4o-transcribe-diarize",
        response_format="diarized_json",
        chunking_strategy="auto",
    )
    assert isinstance(answer, TranscriptionDiarized)
    assert [(item.id, item.speaker, item.text) for item in answer.segments] == [
        ("seg_001", "A", "Good morning."),
        ("seg_002", "B", "Hello."),
    ]


@pytest.mark.parametrize(
    ("response_format", "start"),
    [
        ("text", "Good morning. Hello."),
        ("srt", "1\n00:00:00,000 --> 00:00:01,500\nA: Good morning.\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n<v A>Good morning.\n"),
    ],
)
def test_text_formats_are_strings(
    response_format: str, start: str, openai_client: openai.OpenAI
) -> None:
    """The body is plain text, without JSON quotes."""
    answer = openai_client.audio.transcriptions.create(
        file=SPEECH,
        model="whisper-1",
        response_format=response_format,  # type: ignore[call-overload]
    )
    assert isinstance(answer, str)
    assert answer.startswith(start)


def test_streaming_gives_typed_events(openai_client: openai.OpenAI) -> None:
    """Deltas, segments and the final event have their types."""
    stream = openai_client.audio.transcriptions.create(
        file=SPEECH,
        model="gpt-4o-transcribe-diarize",
        response_format="diarized_json",
        stream=True,
    )
    text = ""
    speakers = []
    done = None
    for event in stream:
        if event.type == "transcript.text.delta":
            text += event.delta
        elif event.type == "transcript.text.segment":
            speakers.append(event.speaker)
        else:
            done = event
    assert speakers == ["A", "B"]
    assert done is not None
    assert text == done.text == "Good morning. Hello."


def test_an_error_in_the_stream_is_raised(
    openai_client: openai.OpenAI, fake_engine: FakeEngine
) -> None:
    """A transcription that fails midway does not end silently."""
    fake_engine.cut_after = len(fake_engine.text) // fake_engine.split - 2
    stream = openai_client.audio.transcriptions.create(file=SPEECH, model="x", stream=True)
    events = []
    with pytest.raises(openai.APIError, match="during the transcription"):
        events.extend(stream)


def test_a_file_object_of_any_kind_is_taken(openai_client: openai.OpenAI, tmp_path: Path) -> None:
    """Paths, open files and bytes are accepted, whatever their names and media types say."""
    path = tmp_path / "größe.txt"
    path.write_bytes(encoded("webm", "libopus"))
    for file in (path, path.open("rb"), io.BytesIO(SPEECH), ("a.flac", SPEECH, "video/mp4")):
        answer = openai_client.audio.transcriptions.create(file=file, model="whisper-1")
        assert answer.text == "Good morning. Hello."
        if isinstance(file, io.BufferedReader):
            file.close()


@pytest.mark.parametrize("response_format", RESPONSE_FORMATS)
async def test_the_async_client_gets_the_same_in_every_format(
    response_format: Any, openai_client: openai.OpenAI, start_proxy: StartProxy
) -> None:
    """The async client gets the same responses as the sync one."""
    async with openai.AsyncOpenAI(base_url=f"{start_proxy()}/v1", api_key="none") as client:
        answer = await client.audio.transcriptions.create(
            file=SPEECH, model="whisper-1", response_format=response_format
        )
    assert answer
    assert answer == openai_client.audio.transcriptions.create(
        file=SPEECH, model="whisper-1", response_format=response_format
    )


async def test_the_async_client_raises_the_same_errors(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Bad audio is the caller's error; a failed engine is not retried, one that is not ready is."""
    async with openai.AsyncOpenAI(base_url=f"{start_proxy()}/v1", api_key="none") as client:
        with pytest.raises(openai.BadRequestError):
            await client.audio.transcriptions.create(file=b"nothing", model="x")
        assert fake_engine.asked == 0
        fake_engine.status = 500
        with pytest.raises(openai.InternalServerError):
            await client.audio.transcriptions.create(file=SPEECH, model="x")
    assert fake_engine.asked == 1


def test_a_base_url_without_v1_works(start_proxy: StartProxy) -> None:
    """Users forget the /v1."""
    with openai.OpenAI(base_url=start_proxy(), api_key="none") as client:
        assert client.audio.transcriptions.create(file=SPEECH, model="x").text
        assert client.models.list().data[0].id == "vibevoice"


def test_a_bad_request_raises_with_its_param(openai_client: openai.OpenAI) -> None:
    """The exception carries message, param, code and the request id."""
    with pytest.raises(openai.BadRequestError) as raised:
        openai_client.audio.transcriptions.create(file=b"no audio at all", model="x")
    assert (raised.value.param, raised.value.code) == ("file", "invalid_audio")
    assert raised.value.request_id is not None
    assert raised.value.request_id.startswith("req_")


def test_an_upload_over_the_limit_is_told_and_not_repeated(start_proxy: StartProxy) -> None:
    """The client reads the 413 while it is still sending, and does not retry."""
    url = start_proxy(max_upload_bytes=1_000_000)
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client,
        pytest.raises(openai.APIStatusError, match="1000000") as raised,
    ):
        client.audio.transcriptions.create(file=bytes(50_000_000), model="x")
    assert raised.value.status_code == 413


@pytest.mark.parametrize(
    ("status", "sends"),
    [
        pytest.param(503, 2, id="not ready is tried again"),
        pytest.param(500, 1, id="failed is not"),
        pytest.param(400, 1, id="refused is not"),
    ],
)
def test_only_what_can_heal_is_repeated(
    status: int, sends: int, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The client's own retries follow the server's retry hints."""
    fake_engine.status = status
    url = start_proxy()
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=1) as client,
        pytest.raises(openai.APIStatusError),
    ):
        client.audio.transcriptions.create(file=SPEECH, model="x")
    assert fake_engine.asked == sends


@pytest.fixture
def real_client(engine_url: str) -> Iterator[openai.OpenAI]:
    """The official client for a proxy with the real engine."""
    settings = Settings(asr_base_url=engine_url)
    with (
        serve(create_app(settings)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.mark.engine
@pytest.mark.parametrize("name", ["one-speaker", "two-speakers", "three-speakers"])
def test_the_engine_tells_who_said_what_when(name: str, real_client: openai.OpenAI) -> None:
    """The transcripts match the samples: words, speakers, and times within 0.5 s."""
    expected: list[dict[str, Any]] = json.loads((SAMPLES / f"{name}.json").read_text())["segments"]
    answer = real_client.audio.transcriptions.create(
        file=SAMPLES / f"{name}.wav",
        model="whisper-1",
        response_format="diarized_json",
        chunking_strategy="auto",
    )
    assert [(item.speaker, item.text) for item in answer.segments] == [
        (item["speaker"], item["text"]) for item in expected
    ]
    for heard, made in zip(answer.segments, expected, strict=True):
        assert heard.start == pytest.approx(made["start"], abs=0.5)
        assert heard.end == pytest.approx(made["end"], abs=0.5)


@pytest.mark.engine
def test_all_formats_tell_the_same_transcript(real_client: openai.OpenAI) -> None:
    """Greedy decoding is deterministic, so every format and the stream have the same words."""
    create = real_client.audio.transcriptions.create
    sample = SAMPLES / "two-speakers.wav"
    verbose = create(file=sample, model="vibevoice", response_format="verbose_json")
    assert verbose.segments
    assert verbose.text == create(file=sample, model="vibevoice").text
    assert create(file=sample, model="vibevoice", response_format="text") == f"{verbose.text}\n"
    for subtitles in (
        create(file=sample, model="vibevoice", response_format="srt"),
        create(file=sample, model="vibevoice", response_format="vtt"),
    ):
        assert subtitles.count(" --> ") == len(verbose.segments)
    diarized = create(file=sample, model="vibevoice", response_format="diarized_json")
    assert [item.text for item in diarized.segments] == [item.text for item in verbose.segments]
    *_, done = create(file=sample, model="vibevoice", stream=True)
    assert done.type == "transcript.text.done"
    assert done.text == verbose.text
    assert done.usage is not None
    assert done.usage.input_token_details is not None
    assert done.usage.input_token_details.audio_tokens == -(
        -round(verbose.duration * 24_000) // 3200
    )
