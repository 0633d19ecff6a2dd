"""The scores of bench.light_accuracy, with examples that can be counted by hand."""

import numpy as np
import pytest
from bench.hearing import Heard
from bench.scoring import (
    bridged,
    diarization_errors,
    name_speakers,
    near_borders,
    right_speakers,
    word_errors,
)

TRUTH = [
    Heard(0.0, 4.0, "ann", "one two three"),
    Heard(4.2, 6.0, "ann", "four"),
    Heard(7.0, 10.0, "bob", "five six"),
    Heard(11.0, 12.0, "ann", "seven"),
]
"""Ten seconds of speech, including the 0.2 s pause in which nobody else speaks."""


def relabeled(**changes: str) -> list[Heard]:
    return [Heard(one.start, one.end, changes[one.speaker], one.text) for one in TRUTH]


def test_words() -> None:
    """One word each is substituted, inserted and deleted; the spelling of numbers does not
    count."""
    assert word_errors("press 2 to go on now", "press two to go off now") == (1, 6)
    assert word_errors("it's the end", "it is the very end") == (1, 4)
    assert word_errors("go on", "go") == (1, 2)
    assert word_errors("go on", "") == (2, 2)
    assert word_errors("", "you") == (1, 0)


def test_a_right_transcript_has_no_errors() -> None:
    """This holds whatever its labels are."""
    heard = relabeled(ann="7", bob="x")
    errors = diarization_errors(TRUTH, heard)
    assert (errors.missed, errors.confused) == (0, 0)
    assert errors.spoken == pytest.approx(10.0)
    names = name_speakers(TRUTH, heard)
    assert names == {"7": "ann", "x": "bob"}
    assert right_speakers(TRUTH, heard, names) == (7, 7)
    assert near_borders(TRUTH, heard) == (6, 6)


@pytest.mark.parametrize(
    ("heard", "missed", "false_alarm", "confused"),
    [
        pytest.param([], 10, 0, 0, id="nothing"),
        pytest.param([Heard(0, 12, "0", "")], 0, 2, 3, id="one-speaker-all-the-time"),
        pytest.param([Heard(0, 6, "0", ""), Heard(7, 10, "0", "")], 1, 0, 3, id="one-label"),
        pytest.param([Heard(0, 6, "0", ""), Heard(0, 6, "1", "")], 4, 6, 0, id="two-at-once"),
        pytest.param(
            [Heard(0, 3, "0", ""), Heard(3, 6, "1", ""), Heard(7, 10, "1", "")],
            *(1, 0, 3),
            id="late-change",
        ),
        pytest.param(
            [Heard(0, 6, "0", ""), Heard(7, 10, "1", ""), Heard(11, 12, "2", "")],
            *(0, 0, 1),
            id="one-speaker-too-many",
        ),
    ],
)
def test_diarization(
    heard: list[Heard], missed: float, false_alarm: float, confused: float
) -> None:
    """Seconds of each kind of error."""
    errors = diarization_errors(TRUTH, heard)
    found = (errors.missed, errors.false_alarm, errors.confused)
    assert found == pytest.approx((missed, false_alarm, confused), abs=0.03)
    assert errors.rate.part == pytest.approx(sum(found))


def test_a_collar_forgives_what_is_near_a_border() -> None:
    """Each segment is 0.2 s late; the collar removes twelve quarters of a second of speech."""
    late = [Heard(one.start + 0.2, one.end + 0.2, one.speaker, "") for one in TRUTH]
    assert diarization_errors(TRUTH, late).rate.part > 1
    forgiving = diarization_errors(TRUTH, late, collar=0.25)
    assert forgiving.rate.part == pytest.approx(0)
    assert forgiving.spoken == pytest.approx(10 - 6 * 0.25)


def test_words_with_the_right_speaker() -> None:
    """Missing words do not count, misheard words do, and words with an extra label are wrong."""
    heard = [
        Heard(0.0, 6.0, "0", "one two three"),
        Heard(7.0, 10.0, "1", "five sick"),
        Heard(11.0, 12.0, "2", "seven"),
    ]
    assert right_speakers(TRUTH, heard, name_speakers(TRUTH, heard)) == (5, 6)


def test_borders() -> None:
    """Borders match within 0.3 s, and only with the same speaker."""
    heard = [Heard(0.2, 6.4, "0", ""), Heard(6.8, 12.0, "1", "")]
    # ann's first turn starts correctly and ends 0.4 s late; bob's starts correctly; no others match
    assert near_borders(TRUTH, heard) == (2, 6)


def test_labels_get_the_names_that_fit_best_together() -> None:
    """The label that fits ann best is not assigned to ann if the others then fit better."""
    truth = [Heard(0, 10, "ann", ""), Heard(10, 19, "bob", "")]
    heard = [Heard(0, 4, "0", ""), Heard(4, 19, "1", "")]
    assert name_speakers(truth, heard) == {"0": "ann", "1": "bob"}


def test_the_best_names_of_all_are_found() -> None:
    """The result is compared with all possible assignments."""
    from itertools import permutations

    from bench.scoring import _assign

    rng = np.random.default_rng(1)
    for _ in range(50):
        common = rng.integers(0, 20, (5, 3))
        most = max(
            sum(common[row, column] for column, row in enumerate(rows))
            for rows in permutations(range(5), 3)
        )
        assert sum(common[pair] for pair in _assign(common)) == most


def test_pauses_are_bridged_within_one_speaker() -> None:
    """A pause of 0.2 s is not a break; bob's second of silence and another person's turn are."""
    assert [(turn.start, turn.end) for turn in bridged(TRUTH, 0.3)] == [
        (0.0, 6.0),
        (7.0, 10.0),
        (11.0, 12.0),
    ]
    assert bridged(TRUTH, 0.3)[0].text == "one two three four"
    assert len(bridged(TRUTH, 0.1)) == 4
