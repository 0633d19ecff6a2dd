"""Settings that are valid but probably not what the operator intended."""

from collections.abc import Iterable
from difflib import get_close_matches

from vibevoice_proxy.origins import is_loopback
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings

_PREFIX = "VIBEVOICE_"
_CLIENTS_KEY = "VIBEVOICE_API_KEY"
"""Read by the clients, so it may be set on a server that has keys of its own."""
_SIMILARITY = 0.88
"""Minimum difflib ratio: allows one or two wrong letters. The names of the engine's settings, which
may be in the same environment, are less similar to the proxy's; a test compares them."""


def warnings(settings: Settings, names: Iterable[str]) -> list[str]:
    """A message for each suspicious setting.

    Args:
        settings: the settings in use.
        names: names of all variables in the environment and in `.env`.
    """
    found = _misspelled(names, has_keys=_has_keys(settings))
    hosts = (settings.api_host, settings.api_bind or settings.api_host)
    if not _has_keys(settings) and not any(map(is_loopback, hosts)):
        found.append(
            "VIBEVOICE_API_KEYS is not set: anyone who can reach this server over the network can "
            "use it"
        )
    return found


def _has_keys(settings: Settings) -> bool:
    return bool(settings.api_keys or settings.api_keys_file)


def _misspelled(names: Iterable[str], *, has_keys: bool) -> list[str]:
    known = {name.removeprefix(_PREFIX) for name, *_ in describe_settings() if _PREFIX in name}
    found: list[str] = []
    for name in sorted({name.upper() for name in names}):
        short = name.removeprefix(_PREFIX)
        if short == name or short in known or (name == _CLIENTS_KEY and has_keys):
            continue
        for match in get_close_matches(short, known, n=1, cutoff=_SIMILARITY):
            found.append(f"{name} is not a setting of the proxy; did you mean {_PREFIX}{match}?")
    return found
