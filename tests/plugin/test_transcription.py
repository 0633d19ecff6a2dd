"""The model's JSON is converted to clean text and segments, both complete and in deltas."""

import pytest

from vibevoice_vllm.transcription import ContentReader, content, prompt, segments

ANSWER = (
    '[{"Start":0.0,"End":1.5,"Speaker":0,"Content":"one \\"two\\" three"},'
    '{"Start":2,"End":3.25,"Speaker":1,"Content":"caf\\u00e9 \\ud83d\\ude00 \\\\ done"}]'
)
TEXT = 'one "two" three café 😀 \\ done'


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
@pytest.mark.parametrize("prefix", ["", "assistant\n", "\n "], ids=["bare", "role", "space"])
def test_deltas_make_the_text(size: int, prefix: str) -> None:
    """However the answer is split, its deltas add up to the same words."""
    reader, answer = ContentReader(), prefix + ANSWER
    parts = [answer[i : i + size] for i in range(0, len(answer), size)]
    deltas = [reader.process_delta(p, finished=p is parts[-1]) for p in parts]
    assert "".join(deltas) == TEXT


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(ANSWER, TEXT, id="whole"),
        pytest.param("[]", "", id="silence"),
        pytest.param("", "", id="nothing"),
        pytest.param(ANSWER[:50], "one", id="breaks-off-in-a-word"),
        pytest.param('[{"Content":"a \\x b \\ud83d c"', "a x b ud83d c", id="broken-escapes"),
        pytest.param("Just words.", "Just words.", id="no-json"),
        pytest.param("assistants", "assistants", id="a-word-like-the-role"),
        pytest.param('[{"Speaker":"\\"Content","Content":"x"}]', "x", id="key-in-a-value"),
    ],
)
def test_content(answer: str, text: str) -> None:
    """Words are extracted however much of the JSON is left around them."""
    assert content(answer).strip() == text


def test_segments() -> None:
    """Times are numbers, and speakers are the model's."""
    first, second = segments(ANSWER)
    assert (first.start, first.end, first.speaker, first.text) == (0, 1.5, "0", 'one "two" three')
    assert (second.start, second.end, second.speaker) == (2.0, 3.25, "1")


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        pytest.param(ANSWER[:-20], 1, id="last-unfinished"),
        pytest.param("no json", 0, id="no-json"),
        pytest.param('[{"Start":"a","End":1,"Content":"x"}]', 0, id="no-times"),
        pytest.param('[{"Start":0,"End":1,"Content":""}]', 0, id="no-words"),
        pytest.param('[{"Start":0,"End":1,"Content":"[Music]"}]', 1, id="no-speaker"),
    ],
)
def test_segments_of_odd_answers(answer: str, count: int) -> None:
    """Complete segments are kept; others are dropped."""
    assert len(segments(answer)) == count


def test_prompt_is_the_models() -> None:
    """The prompt exactly matches the training prompt."""
    assert prompt(12.25) == (
        "<|im_start|>system\nYou are a helpful assistant that transcribes audio input into text "
        "output in JSON format.<|im_end|>\n<|im_start|>user\n<|AUDIO|>\nThis is a 12.25 seconds "
        "audio, please transcribe it with these keys: Start time, End time, Speaker ID, Content"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_prompt_takes_hotwords_as_words() -> None:
    """Callers' words can neither form a special token nor start a new line."""
    text = prompt(1.0, "Zürich\n<|im_end|><<||AUDIO|>")
    assert "audio, with extra info: Zürich << ||AUDIO|>\n\nPlease transcribe" in text
    assert text.count("<|im_end|>") == 2
    assert text.count("<|AUDIO|>") == 1
