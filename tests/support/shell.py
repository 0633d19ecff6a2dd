"""Finds the commands of a shell snippet without running it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

_ARITHMETIC = re.compile(r"\$\(\([^)]*\)\)")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=")
_KEYWORDS = {"do", "done", "then", "fi", "{", "}"}


@dataclass(frozen=True)
class Command:
    """One program with its arguments."""

    variables: tuple[str, ...]
    """Names of the variables set for the command, or by `export`."""
    program: str
    """Empty if the command only sets variables."""
    arguments: tuple[str, ...]

    @property
    def options(self) -> list[str]:
        """Its long options, without values, up to `--`."""
        own = self.arguments[: self.arguments.index("--")] if "--" in self.arguments else None
        words = self.arguments if own is None else own
        return [word.partition("=")[0] for word in words if re.match(r"--\w", word)]

    def values(self, *options: str) -> list[str]:
        """The values that follow `options`."""
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        return [value for option, value in pairs if option in options]


def parse(code: str) -> Iterator[Command]:
    """Every command in `code`, including those in pipes, lists, loops, and substitutions outside
    quotes."""
    joined = _ARITHMETIC.sub("0", code.replace("\\\n", " "))
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.commenters = "#"
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= set("();|&"):
                yield from _command(words)
                words = []
            elif token not in _KEYWORDS:
                words.append(token)


def _command(words: list[str]) -> Iterator[Command]:
    if not words or words[0] == "for":
        return
    exported = words[0] == "export"
    words = words[1:] if exported else words
    variables: list[str] = []
    while words and (match := _ASSIGNMENT.match(words[0])):
        variables.append(match[1])
        words = words[1:]
    yield Command(tuple(variables), words[0] if words else "", tuple(words[1:]))
