"""The chat templates turn content of any form into the prompt on which the model was trained."""

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, VibeVoiceAsrProcessor
from transformers.models.vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerFeatureExtractor,
)
from vllm.renderers.hf import resolve_chat_template_content_format

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "tiny-asr"
TEMPLATE = (ROOT / "chat_templates" / "vibevoice_asr.jinja").read_text()
HF_TEMPLATE = (ROOT / "chat_templates" / "vibevoice_asr_hf.jinja").read_text()

SYSTEM = "You are a helpful assistant that transcribes audio input into text output in JSON format."
KEYS = "transcribe it with these keys: Start time, End time, Speaker ID, Content"
REQUEST = f"This is a 0.29 seconds audio, please {KEYS}"
HEAD = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
ASKED = "<|im_end|>\n<|im_start|>assistant\n"
AUDIO = {"type": "audio"}
TEXT = {"type": "text", "text": REQUEST}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


def render(tokenizer, messages: list[dict], **options) -> str:
    options = {"add_generation_prompt": True, **options}
    return tokenizer.apply_chat_template(
        messages, chat_template=TEMPLATE, tokenize=False, **options
    )


@pytest.mark.parametrize(
    ("content", "user"),
    [
        pytest.param([AUDIO, TEXT], f"<|AUDIO|>\n{REQUEST}", id="audio-text"),
        pytest.param([TEXT, AUDIO], f"<|AUDIO|>\n{REQUEST}", id="text-audio"),
        pytest.param(
            [{"type": "audio_url", "audio_url": {"url": "data:,"}}, TEXT],
            f"<|AUDIO|>\n{REQUEST}",
            id="audio-url",
        ),
        pytest.param(
            [TEXT, {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
            f"<|AUDIO|>\n{REQUEST}",
            id="input-audio",
        ),
        pytest.param(
            [{"type": "text", "text": "one"}, AUDIO, {"type": "text", "text": "two"}],
            "<|AUDIO|>\none\ntwo",
            id="texts-around",
        ),
        pytest.param([AUDIO], f"<|AUDIO|>\nPlease {KEYS}", id="audio-alone"),
        pytest.param([TEXT], REQUEST, id="text-alone"),
        pytest.param(REQUEST, REQUEST, id="string"),
        pytest.param([AUDIO, AUDIO, TEXT], f"<|AUDIO|>\n<|AUDIO|>\n{REQUEST}", id="two-audios"),
    ],
)
def test_content_of_any_shape(tokenizer, content: list | str, user: str) -> None:
    """The audio comes first, on a separate line, then all text."""
    assert render(tokenizer, [{"role": "user", "content": content}]) == HEAD + user + ASKED


@pytest.mark.parametrize("content", ["Other.", [{"type": "text", "text": "Other."}]])
def test_own_system_message(tokenizer, content: list | str) -> None:
    """A caller's system message replaces the model's."""
    messages = [{"role": "system", "content": content}, {"role": "user", "content": [AUDIO, TEXT]}]
    assert render(tokenizer, messages) == (
        f"<|im_start|>system\nOther.<|im_end|>\n<|im_start|>user\n<|AUDIO|>\n{REQUEST}{ASKED}"
    )


@pytest.mark.parametrize(
    "text", ["<|AUDIO|>", "<|im_end|>", "<<||AUDIO|>", "<|<|AUDIO|>", "<|box_start|>"]
)
def test_text_cannot_spell_special_tokens(tokenizer, text: str) -> None:
    """A caller's text stays text, in every role."""
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}]},
        {"role": "assistant", "content": text},
    ]
    ids = tokenizer(render(tokenizer, messages)).input_ids
    special = [tokenizer.decode([i]) for i in ids if i in tokenizer.added_tokens_decoder]
    assert special == ["<|im_start|>", "<|im_end|>"] * 3 + ["<|im_start|>"]


@pytest.mark.parametrize("kept", ['[{"Start":0.0,"End":1.5,"Speaker":0,"Content":"a"},', "[ "])
@pytest.mark.parametrize("as_parts", [False, True])
def test_an_answer_is_continued_to_the_letter(tokenizer, kept: str, as_parts: bool) -> None:
    """`continue_final_message` leaves the assistant's turn open, including the last space."""
    answer = [{"type": "text", "text": kept}] if as_parts else kept
    messages = [
        {"role": "user", "content": [AUDIO, TEXT]},
        {"role": "assistant", "content": answer},
    ]
    prompt = render(tokenizer, messages, add_generation_prompt=False, continue_final_message=True)
    assert prompt == f"{HEAD}<|AUDIO|>\n{REQUEST}{ASKED}{kept}"


@pytest.mark.parametrize("hotwords", [None, "Zoë, nine\nlives"])
def test_ids_are_those_of_the_models_own_processor(tokenizer, hotwords: str | None) -> None:
    """With the plugin's expansion of the audio, the ids are identical to those of transformers."""
    processor = VibeVoiceAsrProcessor(
        VibeVoiceAcousticTokenizerFeatureExtractor(), tokenizer, HF_TEMPLATE
    )
    audio = np.zeros(7000, np.float32)
    expected = processor.apply_transcription_request(audio, prompt=hotwords)["input_ids"][0]
    extra = f"with extra info: {hotwords}\n\nPlease" if hotwords else "please"
    text = {"type": "text", "text": f"This is a 0.29 seconds audio, {extra} {KEYS}"}
    prompt = render(tokenizer, [{"role": "user", "content": [text, AUDIO]}])
    token = tokenizer.convert_tokens_to_ids
    expansion = ["<|object_ref_start|>", *["<|box_start|>"] * 3, "<|object_ref_end|>"]
    ids: list[int] = []
    for i in tokenizer(prompt).input_ids:
        ids += token(expansion) if i == token("<|AUDIO|>") else [i]
    assert ids == expected.tolist()


def test_microsofts_plugin_writes_the_line_break_itself(tokenizer) -> None:
    """The plugin's expansion ends with a line break, so its chats are rendered without one."""
    prompt = render(
        tokenizer, [{"role": "user", "content": [AUDIO, TEXT]}], newline_after_audio=False
    )
    assert prompt == f"{HEAD}<|AUDIO|>{REQUEST}{ASKED}"


def test_vllm_takes_content_as_parts(tokenizer) -> None:
    """vLLM detects the format that the start script sets by a flag, so it logs no warning."""

    class Config:
        revision = code_revision = None
        trust_remote_code = False

    detected = resolve_chat_template_content_format(
        TEMPLATE,
        None,
        "auto",
        tokenizer,
        model_config=Config(),  # type: ignore[arg-type]
    )
    assert detected == "openai"
