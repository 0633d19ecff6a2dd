"""docs/realtime.md: its snippets do what it says, and a recorded session has the order it tells."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from scripts.stack import ROOT
from tests.support.live_client import run as run_client
from tests.support.real_voices import Spoken
from tests.support.snippets import PROXY, Snippet, install_node_modules, run, snippets
from tests.support.wording import errors, words

Talk = tuple[bytes, list[Spoken]]
PAGE = "docs/realtime.md"
_TYPES: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
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
"""What a page would do with the snippet for browsers."""


@pytest.mark.parametrize("snippet", snippets(PAGE), ids=str)
def test_a_snippet_prints_what_was_said(
    snippet: Snippet, base: str, sentence: bytes, talk: Talk, tmp_path: Path
) -> None:
    """With its speaker, and it ends by itself."""
    (tmp_path / "speech.pcm").write_bytes(sentence)
    (tmp_path / "node_modules").symlink_to(install_node_modules())
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
    """No snippet is overlooked."""
    languages = [snippet.language for snippet in snippets(PAGE)]
    assert languages == ["python", "javascript", "javascript"]


def documented() -> re.Pattern[str]:
    """The order of a turn's events: a pattern of types, each followed by a blank."""
    _, _, text = (ROOT / PAGE).read_text().partition("Each turn has these events")
    _, block, _ = re.split("^```.*\n", text, maxsplit=2, flags=re.M)
    return re.compile("".join(map(_line, block.splitlines())))


def _line(line: str) -> str:
    names = _NAME.findall(line.replace(" or ", " "))
    stem = names[0].rpartition(".")[0]
    types = [f"{stem}{name}" if name.startswith(".") else name for name in names]
    choice = "|".join(re.escape(f"{name} ") for name in types)
    return f"(?:{choice}){'*' if '…' in line else ''}"


def test_a_recorded_session_has_the_documented_order(base: str, recording: Path) -> None:
    """Every event is of OpenAI's types, and each turn's come as the page says."""
    events = [
        json.loads(line)
        for line in run_client(base, recording, "--json", "--fast").stdout.splitlines()
    ]
    for event in events:
        _TYPES.validate_python(event)
    types = [event["type"] for event in events]
    assert types[0] == "session.created"
    ids = [event.get("item_id") or event.get("item", {}).get("id") for event in events]
    turns = [
        "".join(f"{type} " for type, id in zip(types, ids, strict=True) if id == turn)
        for turn in dict.fromkeys(filter(None, ids))
    ]
    assert len(turns) >= 4
    for turn in turns[:4]:
        assert documented().fullmatch(turn), turn
    # The client commits what is left: no silence ends that turn.
    assert "speech_stopped" not in "".join(turns[4:])
    last = types.index("input_audio_buffer.cleared")
    assert "input_audio_buffer.committed" not in types[last:]
