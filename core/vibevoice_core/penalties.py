"""The decoding that is pinned for every caller, and how a request carries it to the engine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Switch = Literal["on", "off"]
"""The operator's setting `VIBEVOICE_PENALTIES`."""

TEMPERATURE = 0.0
"""The pinned temperature: always the likeliest token."""
WARM_TOP_P = 0.95
"""The `top_p` of an attempt to leave a loop at a temperature above 0, as in Microsoft's client
(microsoft/VibeVoice, `vllm_plugin/tests/test_api_auto_recover.py`)."""
LITERAL_SECONDS = 300
"""Up to this length of a recording the penalties can be sent as vLLM's own parameters. Those count
the JSON around the words too and would break it over a longer recording."""


@dataclass(frozen=True)
class Penalties:
    """How much less likely a token gets for having been written before (vLLM's definitions)."""

    frequency: float = 0.0
    """Taken off the logit for every occurrence, -2 … 2."""
    presence: float = 0.0
    """Taken off the logit once, -2 … 2."""
    repetition: float = 1.0
    """Divides a positive logit and multiplies a negative one, above 0 up to 2."""

    @classmethod
    def from_xargs(cls, xargs: Mapping[str, Any] | None) -> "Penalties | None":
        """The penalties that a request's `vllm_xargs` ask for; None if they ask for none.

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
"""Measured by their author to suppress loops at the end of recordings of about three minutes. Here
they hold for the words of the segment being written (see `vibevoice_vllm.segment_penalty`)."""


def pinned_penalties(switch: str) -> Penalties:
    """`PINNED`, or neutral ones where the operator has switched them off.

    Raises:
        ValueError: `switch` is neither on nor off.
    """
    if switch not in ("on", "off"):
        raise ValueError(f"VIBEVOICE_PENALTIES must be on or off, got {switch!r}.")
    return PINNED if switch == "on" else Penalties()
