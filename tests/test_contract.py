"""Definitions that several processes must agree on are equal everywhere.

`vibevoice_core` defines them once. The LiteLLM callback is a single file without imports of ours,
and the chat templates are Jinja: both repeat the definitions, and these tests compare them with the
core.
"""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import FormData
from transformers import AutoTokenizer

from vibevoice_batch import client, outputs, run_batch
from vibevoice_core import headers
from vibevoice_core.audio import SAMPLE_RATE, TOKEN_SAMPLES, TOKENS_PER_SECOND
from vibevoice_core.penalties import (
    LITERAL_SECONDS,
    PINNED,
    TEMPERATURE,
    WARM_TOP_P,
    Penalties,
    pinned_penalties,
)
from vibevoice_core.prompt import KEYS, SYSTEM, clean_words, user_text
from vibevoice_core.speakers import UNKNOWN, label
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_proxy.transcription.chat import Attempt, chat_request, pinned_decoding
from vibevoice_proxy.transcription.formats import render
from vibevoice_proxy.transcription.options import TranscriptionOptions
from vibevoice_proxy.transcription.transcript import Segment, Transcript
from vibevoice_vllm.command import engine_command
from vibevoice_vllm.middleware import pinned_values
from vibevoice_vllm.settings import (
    LaunchSettings,
    describe_launch_settings,
    describe_plugin_settings,
)
from vibevoice_vllm.transcription import prompt

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "tiny-asr"
TEMPLATE = (ROOT / "chat_templates" / "vibevoice_asr.jinja").read_text()
HF_TEMPLATE = (ROOT / "chat_templates" / "vibevoice_asr_hf.jinja").read_text()
WORDS = [
    pytest.param("VibeVoice, Jörg and 小明", id="names"),
    pytest.param("  one\n two\t,three, ", id="white-space"),
    pytest.param("<|im_end|>", id="token"),
    pytest.param("a<|im_start|>b<|AUDIO|>c", id="tokens"),
    pytest.param("<|im<|x|>_end|>", id="token-formed-by-removal"),
    pytest.param("<<||im_end|>", id="half-a-token"),
    pytest.param("<|" * 20 + "im_end" + "|>" * 20, id="deeply-nested"),
    pytest.param("a <| b |> c", id="spaces-inside"),
    pytest.param("2 < 3 | 4 > 1", id="no-token"),
    pytest.param("", id="empty"),
]


def _callback() -> SimpleNamespace:
    """The constants and functions of the LiteLLM callback, without LiteLLM."""
    tree = ast.parse((ROOT / "litellm" / "custom_callbacks.py").read_text())
    kept: list[ast.stmt] = [
        node
        for node in tree.body
        if isinstance(node, ast.Import | ast.Assign | ast.FunctionDef)
        and not (isinstance(node, ast.Import) and node.names[0].name == "httpx")
        and "VibeVoiceCallback" not in ast.unparse(node)
        and "UserAPIKeyAuth" not in ast.unparse(node)
    ]
    names: dict[str, Any] = {"Any": Any}
    tree.body = kept
    exec(compile(tree, "custom_callbacks.py", "exec"), names)
    return SimpleNamespace(**names)


CALLBACK = _callback()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


def render_chat(tokenizer: Any, user: str) -> str:
    """The served template's prompt for a recording and this text."""
    content = [{"type": "audio"}, {"type": "text", "text": user}]
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=TEMPLATE,
        tokenize=False,
        add_generation_prompt=True,
    )


def test_penalties_are_those_that_were_measured() -> None:
    """The pinned values are temperature 0, repetition 1.1, frequency 0.5, presence 0.0."""
    measured = {
        "temperature": 0.0,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.0,
    }
    assert pinned_decoding(LITERAL_SECONDS) == measured
    assert CALLBACK.PINNED == measured
    assert Penalties(frequency=0.5, presence=0.0, repetition=1.1) == PINNED
    assert Penalties.from_xargs(PINNED.as_xargs()) == PINNED
    assert pinned_values()["vllm_xargs"] == PINNED.as_xargs()
    assert pinned_values()["temperature"] == TEMPERATURE
    decoding = {"temperature": TEMPERATURE, "vllm_xargs": PINNED.as_xargs()}
    assert run_batch.decoding(PINNED) == decoding
    microsoft = LaunchSettings(model_dir="m", plugin="microsoft")
    argv = engine_command(microsoft, "gpu", {}).argv
    generation = json.loads(argv[argv.index("--override-generation-config") + 1])
    assert {name: generation[name] for name in measured} == measured


def test_the_operators_switch_is_read_alike() -> None:
    """On means the measured penalties, off means none at temperature 0; other values are
    rejected."""
    assert pinned_penalties("on") == PINNED
    off = pinned_penalties("off")
    assert off == Penalties()
    assert pinned_decoding(60, penalties=off) == CALLBACK.NEUTRAL
    values = pinned_values(penalties=off)
    assert values == {**pinned_values(), "vllm_xargs": Penalties().as_xargs()}
    assert Penalties.from_xargs(values["vllm_xargs"]) is None
    for switch, short, long in (
        ("on", CALLBACK.PINNED, CALLBACK.NEUTRAL),
        ("off", CALLBACK.NEUTRAL, CALLBACK.NEUTRAL),
    ):
        for seconds, expected in ((0, short), (LITERAL_SECONDS, short), (301, long)):
            request: dict[str, Any] = {"temperature": 1.5, "frequency_penalty": 2.0}
            CALLBACK.pin(request, seconds, CALLBACK.penalties_seconds(switch))
            assert request == expected
    for read in (pinned_penalties, CALLBACK.penalties_seconds):
        with pytest.raises(ValueError, match="VIBEVOICE_PENALTIES must be on or off, got 'no'"):
            read("no")
    assert {row[0] for row in describe_settings()} >= {CALLBACK.SWITCH}
    assert CALLBACK.SWITCH in {row[1] for row in describe_launch_settings()}
    assert CALLBACK.SWITCH in {row[0] for row in describe_plugin_settings()}


def test_long_recordings_have_no_plain_penalties() -> None:
    """The proxy and the callback have the same length limit."""
    assert CALLBACK.PENALTIES_SECONDS == LITERAL_SECONDS
    assert pinned_decoding(LITERAL_SECONDS + 1) == CALLBACK.NEUTRAL
    assert pinned_decoding(60, 0.2)["top_p"] == pinned_values(0.2)["top_p"] == WARM_TOP_P


def test_system_prompt_is_the_models(tokenizer: Any) -> None:
    """Both templates, the proxy and the plugin write the same system prompt."""
    head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    assert render_chat(tokenizer, "x").startswith(head)
    assert prompt(1.0).startswith(head)
    assert f"default('{SYSTEM}')" in HF_TEMPLATE
    assert (MODEL / "chat_template.jinja").read_text() == HF_TEMPLATE
    body = json.loads(b"".join(chat_request("m", 1.0, "", "audio/wav", Attempt(9))))
    assert body["messages"][0] == {"role": "system", "content": SYSTEM}


def test_request_is_the_models(tokenizer: Any) -> None:
    """The user prompt is the same with and without words of the caller."""
    request = f"transcribe it with these keys: {KEYS}"
    assert user_text(2.0).endswith(f"please {request}")
    assert CALLBACK.REQUEST == f"Please {request}"
    assert f"'Please {request}'" in TEMPLATE
    assert f"' {request}'" in HF_TEMPLATE
    assert CALLBACK.with_info(user_text(2.0), "words") == user_text(2.0, "words")
    assert render_chat(tokenizer, user_text(2.0, "words")) == prompt(2.0, "words")


def test_duration_is_read_as_it_is_written() -> None:
    """The callback reads the recording's length from the request."""
    message = {"role": "user", "content": [{"type": "text", "text": user_text(312.25, "x")}]}
    assert CALLBACK.duration([message]) == 312.25


@pytest.mark.parametrize("words", WORDS)
def test_words_of_callers_are_cleaned_alike(words: str, tokenizer: Any) -> None:
    """Proxy, plugin and callback produce the same line; the template does not change it."""
    line = clean_words(words)
    assert clean_words(line) == line
    assert CALLBACK.one_line([words]) == line
    form = FormData([("prompt", words)])
    assert TranscriptionOptions.from_form(form, Settings()).info == line
    assert prompt(1.0, words) == render_chat(tokenizer, user_text(1.0, line))


@pytest.mark.parametrize("words", WORDS)
def test_words_of_callers_hold_no_special_token(words: str, tokenizer: Any) -> None:
    """This holds after cleaning, and if a caller of the engine writes the request itself."""
    special = set(tokenizer.get_added_vocab().values())
    assert not special & set(tokenizer(clean_words(words)).input_ids)
    expected = tokenizer(render_chat(tokenizer, "x")).input_ids
    found = tokenizer(render_chat(tokenizer, f"x {words}")).input_ids
    assert [t for t in found if t in special] == [t for t in expected if t in special]


def test_headers_have_one_name() -> None:
    """The header that raises the engine's temperature, and the one that marks a transcript."""
    assert CALLBACK.WARMER_HEADER == headers.TEMPERATURE == "x-vibevoice-temperature"
    assert client.TRUNCATED == ("x-vibevoice-truncated", "llm_provider-x-vibevoice-truncated")
    assert headers.TRUNCATED in client.TRUNCATED


def test_audio_is_the_checkpoints() -> None:
    """The sampling rate and the samples per token are those in the checkpoint's files."""
    extractor = json.loads((MODEL / "processor_config.json").read_text())["feature_extractor"]
    assert extractor["sampling_rate"] == SAMPLE_RATE == 24_000
    encoder = json.loads((MODEL / "config.json").read_text())["acoustic_tokenizer_encoder_config"]
    hop = 1
    for ratio in encoder["downsampling_ratios"]:
        hop *= ratio
    assert hop == TOKEN_SAMPLES == 3200
    assert TOKENS_PER_SECOND == 7.5


def test_speakers_are_labeled_alike() -> None:
    """Labels are A to Z, then AA; there is one word for an unknown speaker."""
    assert [label(index) for index in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
    silent = render(Transcript((Segment(0, 1, None, "[Music]"),), 1.0), "diarized_json")
    assert json.loads(silent.body)["segments"][0]["speaker"] == UNKNOWN == "unknown"


@pytest.mark.parametrize("name", ["srt", "vtt"])
@pytest.mark.parametrize("speakers", [("A", "B"), ("A", None), (None, None)])
def test_subtitles_are_written_alike(name: str, speakers: tuple[str | None, ...]) -> None:
    """The batch client writes the same files from a `diarized_json` response as the proxy would
    send."""
    segments = tuple(
        Segment(3700.5 * number, 3700.5 * number + 1.25, speaker, f"<b> & --> {number}\n\nline")
        for number, speaker in enumerate(speakers)
    )
    transcript = Transcript(segments, 8000.0)
    answer = json.loads(render(transcript, "diarized_json").body)
    assert outputs.FORMATS[name]("call.wav", answer) == render(transcript, name).body


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param(re.escape(SYSTEM[:60]), id="system-prompt"),
        pytest.param(r"these keys: Start", id="keys"),
        pytest.param(r"repetition\w*\W+1\.1", id="repetition-penalty"),
        pytest.param(r"\"x-vibevoice-(temperature|truncated)\"", id="header-names"),
    ],
)
def test_nothing_else_repeats_the_core(fact: str) -> None:
    """Code that needs a shared definition imports it; only the callback repeats it."""
    folders = ("core", "serving", "proxy", "batch", "litellm", "scripts", "training")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    found = {file.name for file in files if re.search(fact, file.read_text())}
    assert found <= {"prompt.py", "penalties.py", "headers.py", "custom_callbacks.py"}
