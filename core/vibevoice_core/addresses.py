"""How this machine reaches a server of its own."""

_EVERYWHERE = ("", "0.0.0.0", "::")
"""Hosts that stand for all interfaces. A server listens on them, but no client connects to them."""


def reachable(host: str) -> str:
    """The name or address at which this machine reaches a server that listens on `host`."""
    return "127.0.0.1" if host in _EVERYWHERE else host


def local_url(host: str, port: int) -> str:
    """The URL at which this machine reaches a server that listens on `host`."""
    name = reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
