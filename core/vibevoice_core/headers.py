"""HTTP headers that one part of this project sends and another one reads."""

TEMPERATURE = "x-vibevoice-temperature"
"""Proxy → engine: the temperature of an attempt to leave a loop; the engine pins it otherwise."""
TRUNCATED = "x-vibevoice-truncated"
"""Proxy → clients: why a transcript is incomplete (`loop`, `length`)."""
