"""docs/reference/errors.md has every error code that the proxy can return, with its status."""

import ast
import json
import re
from collections.abc import Iterator
from itertools import chain

from scripts.stack import ROOT

from vibevoice_core.errors import undecodable
from vibevoice_proxy import errors

PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text()
_ROW = re.compile(r"^\| (`[^|]+) \| (\d{3})? ?", re.M)


def sources() -> Iterator[ast.Module]:
    """The modules whose errors reach clients."""
    for folder in ("proxy/vibevoice_proxy", "core/vibevoice_core"):
        for path in (ROOT / folder).rglob("*.py"):
            yield ast.parse(path.read_text())


def codes(module: ast.Module) -> Iterator[str]:
    """The codes in a module: as an argument or a variable named `code`, or as a class attribute."""
    functions = {node.name: node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(module):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(str(code))):
                yield code
            case ast.Call(func=ast.Name(name), args=args) if name in functions:
                names = [argument.arg for argument in functions[name].args.args]
                for parameter, value in zip(names, args, strict=False):
                    if parameter == "code" and isinstance(value, ast.Constant):
                        yield str(value.value)
            case ast.Assign(targets=[ast.Name("code" | "default_code")], value=ast.Constant(code)):
                yield str(code)
            case ast.Assign(targets=[ast.Tuple(elts)], value=ast.Tuple(values)):
                for target, value in zip(elts, values, strict=True):
                    if isinstance(target, ast.Name) and target.id == "code":
                        assert isinstance(value, ast.Constant)
                        yield str(value.value)
            case _:
                pass


def test_every_code_is_on_the_page() -> None:
    """The page has exactly the codes of the proxy."""
    listed = chain.from_iterable(re.findall(r"`(\w+)`", cell) for cell, _ in _ROW.findall(PAGE))
    assert sorted(listed) == sorted(set(chain.from_iterable(map(codes, sources()))))


def test_statuses_are_those_of_the_code() -> None:
    """Every error class has the status that the page lists for its code."""
    listed = {cell.strip("`"): status for cell, status in _ROW.findall(PAGE)}
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    own = {
        kind.default_code: str(kind.status)
        for kind in classes
        if issubclass(kind, errors.ProxyError) and kind.default_code
    }
    assert own.items() <= listed.items()


def test_the_example_is_real() -> None:
    """The body on the page is the response to a file that is not audio."""
    error = errors.InvalidAudio(str(undecodable()))
    body = errors.error_body(str(error), type=error.type, param=error.param, code=error.code)
    assert f"```json\n{json.dumps(body, indent=2)}\n```" in PAGE
