"""HTTP headers that one part of this project sends and another one reads."""

TEMPERATURE = "x-vibevoice-temperature"
"""Proxy → engine: the temperature of an attempt to leave a loop; the engine pins it otherwise."""
TRUNCATED = "x-vibevoice-truncated"
"""Proxy → clients: why a transcript is incomplete, such as `loop`; several are joined by commas."""
MISSING = "x-vibevoice-missing"
"""Proxy → clients: the parts without a transcript, such as `60.000-120.000 upstream_timeout`."""
