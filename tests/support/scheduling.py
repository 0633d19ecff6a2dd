"""How pytest-xdist distributes the tests."""

from functools import cache
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadFileScheduling

_ROOT = Path(__file__).parents[2]


class OneEngine(LoadFileScheduling):
    """The tests of a file run in one process, and those of all files that need an engine in the
    same one: an engine takes 4 GB."""

    def _split_scope(self, nodeid: str) -> Any:
        file = nodeid.partition("::")[0]
        return "engine" if _needs_engine(file) else file


@cache
def _needs_engine(file: str) -> bool:
    return "pytest.mark.engine" in (_ROOT / file).read_text()
