"""LaTeX as words: simple formulas as people say them in English; of others, only the contents."""

import re

MAX_NESTED = 12
"""Levels of nested braces that are interpreted; beyond that, only their content is kept."""

_DELIMITED = re.compile(
    r"(?<!\\)\$\$(?P<block>[^$]+)\$\$"
    r"|\\\[(?P<display>(?:[^\\]|\\[^()\[\]]){0,1000}+)\\\]"
    r"|\\\((?P<inline>(?:[^\\]|\\[^()\[\]]){0,1000}+)\\\)"
    r"|(?<![\\\w$])\$(?=[^\s$])(?P<dollars>[^$\n]+)(?<![\s\\])\$(?![\w$])"
)
_MATH = re.compile(r"[\\^_{}=+<>]|\A[\w.,/'-]{1,20}\Z")
"""Matches text between single dollar signs that is a formula rather than a price."""
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega"
).split()
_NAMES = {
    **{name: name for name in _GREEK},
    **{name.capitalize(): name for name in _GREEK},
    **{f"var{name}": name for name in _GREEK},
    **{name: name for name in ("sin", "cos", "tan", "log", "min", "max", "mod", "exp", "det")},
    **dict.fromkeys(("times", "cdot", "ast"), "times"),
    **dict.fromkeys(("leq", "le", "leqslant"), "is at most"),
    **dict.fromkeys(("geq", "ge", "geqslant"), "is at least"),
    **dict.fromkeys(("neq", "ne"), "is not"),
    **dict.fromkeys(("to", "rightarrow", "longrightarrow"), "to"),
    **dict.fromkeys(("Rightarrow", "implies"), "implies"),
    **dict.fromkeys(("ldots", "dots", "cdots", "quad", "qquad", "displaystyle", "limits"), ""),
    **dict.fromkeys(("left", "right", "big", "Big", "bigl", "bigr", "hline", "nonumber"), ""),
    "lt": "is less than",
    "gt": "is greater than",
    "approx": "is about",
    "equiv": "is equivalent to",
    "sim": "is similar to",
    "div": "divided by",
    "pm": "plus or minus",
    "infty": "infinity",
    "sum": "the sum of",
    "prod": "the product of",
    "int": "the integral of",
    "lim": "the limit of",
    "ln": "ln",
    "partial": "partial",
    "nabla": "nabla",
    "in": "in",
    "forall": "for all",
    "exists": "there is",
    "cup": "union",
    "cap": "intersection",
    "subset": "subset of",
    "circ": "degrees",
    "degree": "degrees",
    "percent": "percent",
}
_SIGNS = {
    "=": "equals",
    "+": "plus",
    "-": "minus",
    "−": "minus",
    "<": "is less than",
    ">": "is greater than",
    "/": "over",
    "*": "times",
    "%": "percent",
}
_SIGN = re.compile("|".join(map(re.escape, _SIGNS)))
_POWERS = {"2": "squared", "3": "cubed", "degrees": "degrees", "'": "prime"}

_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-zA-Z]{1,20}\*?\}(?:\{[clr|]{1,20}\})?")
_FRACTION = re.compile(r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SHORT_FRACTION = re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)")
_ROOT = re.compile(r"\\sqrt\s*+(?:\[([^\[\]{}]*)\]\s*+)?\{([^{}]*)\}")
_SCRIPT = re.compile(r"(?<!\s)\s*+([\^_])\s*+\{([^{}]*)\}")
_DEGREES = re.compile(r"\^\s*\\circ\b")
_SHORT_SCRIPT = re.compile(r"(?<!\s)\s*+([\^_])\s*+([\w'*+-])")
_STYLE = re.compile(r"\\(?![dtc]?frac\b|sqrt\b)([A-Za-z]{1,20})\s*\{([^{}]*)\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)")


def spell_formulas(text: str) -> str:
    """`text` with its formulas spelled out as words and the LaTeX commands between them removed."""
    text = _DELIMITED.sub(_formula, text)
    if "\\" not in text:
        return text
    text = _ENVIRONMENT.sub(" ", text)
    text = _nested(text, scripts=False)
    return _COMMAND.sub(lambda match: _said(match) if match[1] in _NAMES else match[0], text)


def _formula(match: re.Match[str]) -> str:
    prices = match["dollars"]
    if prices is not None and not _MATH.search(prices):
        return match[0]
    text = match["block"] or match["display"] or match["inline"] or prices or ""
    text = _ENVIRONMENT.sub(" ", text)
    text = re.sub(r"\\\\|\\[,;:! ]|&|~", " ", text)
    text = re.sub(r"\\([{}%$#_&|])", lambda sign: " percent" if sign[1] == "%" else " ", text)
    text = _nested(text, scripts=True)
    text = _SHORT_SCRIPT.sub(_script, _DEGREES.sub(" degrees ", text))
    text = _COMMAND.sub(_said, text)
    text = _SIGN.sub(lambda sign: f" {_SIGNS[sign[0]]} ", text)
    text = re.sub(r"[\\^_{}|$\s]+", " ", text).strip()
    return f"\n\n{text}\n\n" if match["block"] and match[0].count("\n") > 1 else text


def _nested(text: str, scripts: bool) -> str:
    """Resolve nested braces, innermost first."""
    for _ in range(MAX_NESTED):
        before = text
        text = _SHORT_FRACTION.sub(r"{\1 over \2}", text)
        text = _FRACTION.sub(r" \1 over \2 ", text)
        text = _ROOT.sub(_root, text)
        if scripts:
            text = _SCRIPT.sub(_script, text)
        text = _STYLE.sub(lambda m: f"{_said(m)} {m[2]} " if m[1] in _NAMES else m[2], text)
        if text == before:
            break
    return text


def _root(match: re.Match[str]) -> str:
    degree = {None: "square root", "2": "square root", "3": "cube root"}
    return f" the {degree.get(match[1], f'root {match[1]}')} of {match[2]} "


def _script(match: re.Match[str]) -> str:
    kind, text = match[1], match[2].replace("\\circ", "degrees").strip()
    if kind == "_":
        return f" sub {text} "
    return f" {_POWERS[text]} " if text in _POWERS else f" to the power of {text} "


def _said(match: re.Match[str]) -> str:
    """The words for a command; an unknown command is read as its own name."""
    return f" {_NAMES.get(match[1], match[1])} "
