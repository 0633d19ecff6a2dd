"""How the tokens that an engine chose compare with what a reference says about them."""

from dataclasses import dataclass

NEAR = 0.125
"""Log-probabilities that differ by no more are a tie: four steps of a bfloat16 logit between 4 and
8, where the highest of 152,064 random ones lie."""


@dataclass
class Comparison:
    """An engine's answer by the reference."""

    tokens: int
    same: int
    """Tokens that the reference would have chosen too."""
    ties: int
    """Others, behind the reference's choice by `NEAR` at most."""
    behind: float
    """By how much the worst of the engine's tokens is behind the reference's choice."""
    difference: float
    """Largest difference of log-probabilities, of the 20 highest for each token."""
    mean_difference: float
    other_audio: float | None
    """The same mean when the reference hears the recording backwards, where this was asked for: it
    shows that the audio counts."""
    seconds: float

    @property
    def agrees(self) -> bool:
        return self.same + self.ties == self.tokens

    def __str__(self) -> str:
        backwards = ""
        if self.other_audio is not None:
            backwards = f" (with the recording backwards by {self.other_audio:.2f} in the mean)"
        return (
            f"{self.same} of {self.tokens} tokens are the reference's first choice, {self.ties} "
            f"a near tie (the worst {self.behind:.3f} behind); log-probabilities differ by "
            f"{self.mean_difference:.4f} in the mean, {self.difference:.4f} at most"
            f"{backwards}; {self.seconds:.0f} s"
        )
