"""The decoding parameters pinned for every caller, and how a request passes them to the engine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Switch = Literal["on", "off"]
"""Values of the operator's setting `VIBEVOICE_PENALTIES`."""

TEMPERATURE = 0.0
"""The pinned temperature: greedy decoding."""
WARM_TOP_P = 0.95
"""`top_p` for leaving a loop at a temperature above 0, as in Microsoft's client
(microsoft/VibeVoice, `vllm_plugin/tests/test_api_auto_recover.py`)."""
LITERAL_SECONDS = 300
"""Maximum length of a recording for which penalties can be sent as vLLM's own parameters. Those
also count the JSON around the words, and would break it over a longer recording."""


@dataclass(frozen=True)
class Penalties:
    """How much less likely a token becomes once it has been written (vLLM's definitions)."""

    frequency: float = 0.0
    """Subtracted from the logit for every occurrence, -2 … 2."""
    presence: float = 0.0
    """Subtracted from the logit once, -2 … 2."""
    repetition: float = 1.0
    """Divides positive logits and multiplies negative ones; greater than 0, at most 2."""

    @classmethod
    def from_xargs(cls, xargs: Mapping[str, Any] | None) -> "Penalties | None":
        """The penalties requested by a request's `vllm_xargs`; None if it requests none.

        Raises:
            ValueError: a value is not a number within its range.
        """
        values: dict[str, float] = {}
        for name, low, high in (("frequency", -2, 2), ("presence", -2, 2), ("repetition", 0, 2)):
            key = f"vibevoice_{name}_penalty"
            if (value := (xargs or {}).get(key)) is None:
                continue
            number = isinstance(value, int | float) and math.isfinite(value)
            if not number or not low <= value <= high or (name == "repetition" and value == 0):
                above = "above 0 up to 2" if name == "repetition" else f"from {low} to {high}"
                raise ValueError(f"{key} must be a number {above}, got {value!r}.")
            values[name] = float(value)
        penalties = cls(**values)
        return None if penalties == cls() else penalties

    def as_xargs(self) -> dict[str, float]:
        """The `vllm_xargs` that `from_xargs` reads."""
        return {
            "vibevoice_frequency_penalty": self.frequency,
            "vibevoice_presence_penalty": self.presence,
            "vibevoice_repetition_penalty": self.repetition,
        }


PINNED = Penalties(frequency=0.5, presence=0.0, repetition=1.1)
"""Found by their author to suppress loops at the end of recordings of about three minutes. Here
they apply to the words of the segment being written (see `vibevoice_vllm.segment_penalty`)."""


def pinned_penalties(switch: str) -> Penalties:
    """`PINNED`, or neutral penalties if the operator has turned them off.

    Raises:
        ValueError: `switch` is neither on nor off.
    """
    if switch not in ("on", "off"):
        raise ValueError(f"VIBEVOICE_PENALTIES must be on or off, got {switch!r}.")
    return PINNED if switch == "on" else Penalties()
