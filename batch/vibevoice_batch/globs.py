"""Matches paths against globs: `*`, `?`, and `[…]` within a name, `**` for any folders."""

import fnmatch
from collections.abc import Sequence


def matches(parts: Sequence[str], wildcards: Sequence[str]) -> bool:
    """Whether the parts of a path match a pattern."""
    if not wildcards:
        return not parts
    if wildcards[0] == "**" and matches(parts, wildcards[1:]):
        return True
    if not parts or not _fits(parts[0], wildcards[0]):
        return False
    return matches(parts[1:], wildcards if wildcards[0] == "**" else wildcards[1:])


def leads(parts: Sequence[str], wildcards: Sequence[str]) -> bool:
    """Whether a folder may contain matching paths."""
    for part, wildcard in zip(parts, wildcards, strict=False):
        if not _fits(part, wildcard):
            return False
        if wildcard == "**":
            return not any(part.startswith(".") for part in parts)
    return len(parts) < len(wildcards)


def _fits(part: str, wildcard: str) -> bool:
    """As in shells, a name that begins with a dot only matches a pattern that does."""
    if part.startswith(".") and not wildcard.startswith("."):
        return False
    return wildcard == "**" or fnmatch.fnmatchcase(part, wildcard)
