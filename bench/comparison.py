"""Compares the tokens that an engine chose with a reference's probabilities."""

from dataclasses import dataclass

NEAR = 0.125
"""Log-probabilities that differ by at most this are a tie: four steps of a bfloat16 logit between 4
and 8, the range of the highest of 152,064 random ones."""


@dataclass
class Comparison:
    """An engine's answer, evaluated with the reference."""

    tokens: int
    same: int
    """Number of tokens that the reference would have chosen too."""
    ties: int
    """Number of other tokens at most `NEAR` below the reference's choice."""
    behind: float
    """How far the worst of the engine's tokens is below the reference's choice."""
    difference: float
    """Maximum difference of log-probabilities, over the 20 highest for each token."""
    mean_difference: float
    other_audio: float | None
    """The same mean with the recording played backwards to the reference, if requested: it shows
    that the audio affects the output."""
    seconds: float

    @property
    def agrees(self) -> bool:
        return self.same + self.ties == self.tokens

    def __str__(self) -> str:
        backwards = ""
        if self.other_audio is not None:
            backwards = f" (with the recording backwards, by {self.other_audio:.2f} on average)"
        return (
            f"{self.same} of {self.tokens} tokens are the reference's first choice, {self.ties} "
            f"near ties (the worst {self.behind:.3f} below); log-probabilities differ by "
            f"{self.mean_difference:.4f} on average, {self.difference:.4f} at most"
            f"{backwards}; {self.seconds:.0f} s"
        )
