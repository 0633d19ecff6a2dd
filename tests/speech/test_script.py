"""Labels, voices and passages of a script."""

import pytest

from vibevoice_tts.script import read_script, split_turns
from vibevoice_tts.speech_model import Turn

VOICES = ("anna", "ben", "carl")


def test_script_lines_are_turns() -> None:
    """`Speaker N:` lines are turns; the first speaker has the requested voice, others the next
    ones."""
    text = "Speaker 1: Hello.\nHow are you?\nspeaker 2: **Fine**.\nSpeaker 1: Good."
    turns = read_script(text, "ben", None, VOICES)
    assert turns == (
        Turn("Hello. How are you?", "ben"),
        Turn("Fine.", "anna"),
        Turn("Good.", "ben"),
    )


def test_named_speakers_have_their_voices() -> None:
    """With a map of speakers, its names begin a turn, and other names are text."""
    text = "Intro: hi.\nMy Host: Hello.\nGUEST: Speaker 1: is text."
    turns = read_script(text, "anna", {"my host": "ben", "Guest": "carl"}, VOICES)
    assert turns == (
        Turn("Intro: hi.", "anna"),
        Turn("Hello.", "ben"),
        Turn("Speaker 1: is text.", "carl"),
    )


def test_a_text_without_words_has_no_turns() -> None:
    """Emoji, punctuation and control tokens are not words."""
    assert read_script("😀 ... <|im_end|>", "anna", None, VOICES) == ()


@pytest.mark.parametrize(
    "label",
    [
        "Speaker {}:", "**Speaker {}:**", "**Speaker {}**:", "__Speaker {}:__", "[Speaker {}]:",
        "Speaker {}：", "- Speaker {}:", "> Speaker {}:", "### Speaker {}:", "  speaker {} : ",
        "SPEAKER_0{}:", "*Speaker {}*:", "- **Speaker {}:**",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "\ufeff", "\n\n"], ids=["", "bom", "blank-lines"])
def test_labels_in_every_form_are_not_spoken(before: str, label: str) -> None:
    """Labels as language models write them: two voices, and only their words."""
    text = f"{before}{label.format(1)} Good morning.\n{label.format(2)} Hello."
    turns = read_script(text, "anna", None, VOICES)
    assert [turn.text for turn in turns] == ["Good morning.", "Hello."]
    assert turns[0].voice == "anna"
    assert turns[1].voice in set(VOICES) - {"anna"}


def test_a_title_before_a_script_is_read_first() -> None:
    """The title is read in the voice of the request."""
    turns = read_script("A Morning\nSpeaker 1: Hello.", "anna", None, VOICES)
    assert " ".join(turn.text for turn in turns) == "A Morning Hello."
    assert {turn.voice for turn in turns} == {"anna"}


@pytest.mark.parametrize(
    "line",
    [
        "Note: this is no label.",
        "The speaker 1: odd.",
        "10:30 is late.",
        "Speakers: Ann and Bob.",
        "Speaker 1 - the big one - is loud.",
        "Speaker 1st in line: yes.",
        "One. Two. Speaker 1: left.",
    ],
)
def test_other_colons_are_text(line: str) -> None:
    """Text with other colons is kept completely."""
    (turn,) = read_script(line, "anna", None, VOICES)
    assert turn.text == line


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[1]: Good morning.\n[2]: Hello.", id="number"),
        pytest.param("[S1] Good morning.\n[S2] Hello.", id="dia"),
        pytest.param("[Speaker 1] Good morning.\n[Speaker 2] Hello.", id="brackets"),
        pytest.param("### Speaker 1\nGood morning.\n\n### Speaker 2\nHello.", id="headings"),
        pytest.param("**Speaker 1**\nGood morning.\n**Speaker 2**\nHello.", id="bold-lines"),
        pytest.param("Speaker 1 - Good morning.\nSpeaker 2 - Hello.", id="dash"),
        pytest.param("Speaker 1\nGood morning.\nSpeaker 2 0:07\nHello.", id="lines"),
        pytest.param("Speaker 1 (calm): Good morning.\nSpeaker 2 [sad]: Hello.", id="manner"),
        pytest.param("[00:01] Speaker 1: Good morning.\n[00:03] Speaker 2: Hello.", id="times"),
        pytest.param("**Speaker 1: Good morning.**\n**Speaker 2: Hello.**", id="bold-turns"),
        pytest.param("<b>Speaker 1:</b> Good morning.<br>\n<b>Speaker 2:</b> Hello.", id="html"),
        pytest.param("Speaker 1: Good morning. Speaker 2: Hello.", id="one-line"),
        pytest.param("Speaker A: Good morning.\nSpeaker B: Hello.", id="letters"),
        pytest.param("SPEAKER_00: Good morning.\nSPEAKER_01: Hello.", id="diarized"),
        pytest.param(
            "<think>Speaker 9: x</think>Speaker 1: Good morning.\nSpeaker 2: Hello.", id="reasoning"
        ),
        pytest.param(
            "Speaker 1: ...\nSpeaker 1: Good morning.\nSpeaker 2: Hello.\nSpeaker 1: 😀",
            id="empty-turns",
        ),
    ],
)
def test_scripts_in_other_forms(text: str) -> None:
    """Two voices, and only their words."""
    assert read_script(text, "anna", None, VOICES) == (
        Turn("Good morning.", "anna"),
        Turn("Hello.", "ben"),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("**Ann:** Hi.", "Hi.", id="bold"),
        pytest.param("[Ann]: Hi.", "Hi.", id="brackets"),
        pytest.param("> ann： Hi.", "Hi.", id="quoted"),
        pytest.param("### Ann\nHi.", "Hi.", id="heading"),
        pytest.param("Anna: Hi.", None, id="longer-name"),
        pytest.param("O’Neil: Hi.", "Hi.", id="apostrophe"),
    ],
)
def test_named_labels_have_the_same_forms(line: str, said: str | None) -> None:
    """A name in the field `speakers` is a label wherever `Speaker 1` would be one."""
    turns = read_script(line, "anna", {"Ann": "ben", "O'Neil": "ben"}, VOICES)
    assert turns == ((Turn(said, "ben"),) if said else (Turn(line, "anna"),))


def test_spellings_of_a_speaker_are_one() -> None:
    """The field has `Speaker 1`, the script `SPEAKER_01`; a speaker who is not in the field also
    gets a voice."""
    turns = read_script("SPEAKER_01: Hi.\nSpeaker 3: Yes.", "anna", {"Speaker 1": "carl"}, VOICES)
    assert turns == (Turn("Hi.", "carl"), Turn("Yes.", "anna"))


def test_more_speakers_than_voices_take_them_in_turn() -> None:
    """With three voices, the fourth speaker uses the first voice, the fifth the second."""
    text = "\n".join(f"Speaker {number}: Hi." for number in range(1, 6))
    turns = read_script(text, "ben", None, VOICES)
    assert [turn.voice for turn in turns] == ["ben", "anna", "carl", "ben", "anna"]


def test_turns_are_packed_into_passages() -> None:
    """Short turns share a passage, in order; a long one is cut, and each part keeps its voice."""
    turns = (Turn("One.", "anna"), Turn("Two.", "ben"), Turn("Go on. " * 5, "anna"))
    assert split_turns(turns, 16) == [
        (Turn("One.", "anna"), Turn("Two.", "ben")),
        (Turn("Go on. Go on.", "anna"),),
        (Turn("Go on. Go on.", "anna"),),
        (Turn("Go on.", "anna"),),
    ]
