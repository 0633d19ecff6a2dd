"""The snippets of docs/guides/live.md work, and a recorded session has the order documented in
docs/reference/realtime.md."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from scripts.stack import ROOT
from tests.support.installing import require_npm
from tests.support.live_client import run as run_client
from tests.support.real_voices import Spoken
from tests.support.snippets import (
    NODE,
    NPM,
    PROXY,
    SECONDS,
    Snippet,
    run,
    snippets,
)
from tests.support.wording import errors, words

Talk = tuple[bytes, list[Spoken]]
PAGE = "docs/guides/live.md"
_TYPES: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_UNTYPED = {"id", "object", "expires_at"}
_NAME = re.compile(r"[a-z_.]+")

SPEAK = """
socket.onopen = async () => {
  const { readFile } = await import("node:fs/promises");
  const pcm = new Int16Array((await readFile("speech.pcm")).buffer);
  for (let at = 0; at < pcm.length; at += 2400)
    send(Float32Array.from(pcm.slice(at, at + 2400), (sample) => sample / 32768));
  socket.send(JSON.stringify({ type: "input_audio_buffer.commit" }));
};
socket.addEventListener("message", ({ data }) => {
  if (JSON.parse(data).type.endsWith(".completed")) socket.close();
});
"""
"""What a web page would do with the snippet for browsers."""


@pytest.mark.parametrize("snippet", snippets(PAGE), ids=str)
def test_a_snippet_prints_what_was_said(
    snippet: Snippet, base: str, sentence: bytes, talk: Talk, tmp_path: Path
) -> None:
    """The snippet prints the words with their speaker and ends by itself."""
    (tmp_path / "speech.pcm").write_bytes(sentence)
    (tmp_path / "node_modules").symlink_to(require_npm(NPM))
    code = snippet.code.replace(PROXY, base).replace(
        "ws://127.0.0.1:8899", base.replace("http", "ws")
    )
    if "WebSocket(" in code:
        code += SPEAK
    done = run(snippet, code, tmp_path)
    assert done.returncode == 0, done.stderr
    match = re.fullmatch(r"(?:\d+\.\d )?A: (.*)\n", done.stdout)
    assert match, done.stdout + done.stderr
    spoken = min(talk[1], key=lambda turn: turn.end - turn.start)
    assert errors(words(spoken.text), words(match[1])) <= 3


def test_every_language_is_found() -> None:
    """The snippets of all languages are found."""
    languages = [snippet.language for snippet in snippets(PAGE)]
    assert languages == ["python", "javascript", "javascript"]


def documented() -> re.Pattern[str]:
    """The documented order of a turn's events, as a pattern of types, each followed by a space."""
    text = (ROOT / "docs" / "reference" / "realtime.md").read_text()
    _, _, text = text.partition("Each turn has the following events")
    _, block, _ = re.split("^```.*\n", text, maxsplit=2, flags=re.M)
    return re.compile("".join(map(_line, block.splitlines())))


def _line(line: str) -> str:
    names = _NAME.findall(line.replace(" or ", " "))
    stem = names[0].rpartition(".")[0]
    types = [f"{stem}{name}" if name.startswith(".") else name for name in names]
    choice = "|".join(re.escape(f"{name} ") for name in types)
    return f"(?:{choice}){'*' if '…' in line else ''}"


@pytest.fixture(scope="module")
def recorded(base: str, recording: Path) -> list[dict[str, Any]]:
    """The events of a session of four turns."""
    lines = run_client(base, recording, "--json", "--fast").stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_a_recorded_session_has_the_documented_order(recorded: list[dict[str, Any]]) -> None:
    """Every event validates with the types of OpenAI's Python client, and turns have the documented
    order."""
    for event in recorded:
        _TYPES.validate_python(event)
    types = [event["type"] for event in recorded]
    assert types[0] == "session.created"
    ids = [event.get("item_id") or event.get("item", {}).get("id") for event in recorded]
    turns = [
        "".join(f"{type} " for type, id in zip(types, ids, strict=True) if id == turn)
        for turn in dict.fromkeys(filter(None, ids))
    ]
    assert len(turns) >= 4
    for turn in turns[:4]:
        assert documented().fullmatch(turn), turn
    # The client commits the last turn, which no silence ends.
    assert "speech_stopped" not in "".join(turns[4:])
    last = types.index("input_audio_buffer.cleared")
    assert "input_audio_buffer.committed" not in types[last:]


def test_events_have_the_types_of_the_npm_client(
    recorded: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The TypeScript compiler accepts the events with the client's types."""
    modules = require_npm(NPM)
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "events.ts").write_text(_typed(recorded))
    wrong = [{**event, "type": "no.such.type"} for event in recorded[:1]]
    (tmp_path / "wrong.ts").write_text(_typed(wrong))
    compiler = [NODE, modules / "typescript" / "bin" / "tsc", "--noEmit", "--strict"]
    options = ["--skipLibCheck", "--module", "nodenext", "--target", "es2023"]
    done = subprocess.run(
        [*compiler, *options, "events.ts", "wrong.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "wrong.ts" in done.stdout  # the compiler does check types
    assert [line for line in done.stdout.splitlines() if line.startswith("events.ts")] == []


def _typed(events: list[dict[str, Any]]) -> str:
    """TypeScript source with `events`, without session fields that OpenAI's server sends but its
    types lack."""
    listed = [
        {**event, "session": {k: v for k, v in event["session"].items() if k not in _UNTYPED}}
        if "session" in event
        else event
        for event in events
    ]
    kind = 'import type { RealtimeServerEvent } from "openai/resources/realtime/realtime";'
    return f"{kind}\nexport const events: RealtimeServerEvent[] = {json.dumps(listed)};\n"
