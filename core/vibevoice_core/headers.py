"""HTTP headers used between parts of this project, and between the proxy and clients."""

TEMPERATURE = "x-vibevoice-temperature"
"""Proxy → engine: temperature for an attempt to leave a loop; otherwise the engine pins it."""
TRUNCATED = "x-vibevoice-truncated"
"""Proxy → clients: why a transcript is incomplete, such as `loop`; a comma-separated list."""
MISSING = "x-vibevoice-missing"
"""Proxy → clients: parts without a transcript, such as `60.000-120.000 upstream_timeout`."""
