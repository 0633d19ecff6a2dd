"""Checkpoints are turned into served folders, and served folders are checked."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support.original_layout import export_original
from transformers import AutoTokenizer

from vibevoice_vllm.checkpoint import AUDIO_TOKENS, CheckpointError, problems
from vibevoice_vllm.prepare import main, prepare

MODEL = Path(__file__).parents[2] / "models" / "tiny-asr"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint in the original layout: two shards, no tokenizer."""
    folder = tmp_path_factory.mktemp("original") / "VibeVoice-ASR"
    export_original(MODEL, folder)
    assert not (folder / "tokenizer.json").exists()
    return folder


@pytest.fixture(scope="module")
def base_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer like Qwen2.5's: without the audio tokens, with a class and a template."""
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = json.loads((MODEL / "tokenizer.json").read_text())
    kept = [t for t in tokenizer["added_tokens"] if t["content"] not in AUDIO_TOKENS]
    tokenizer["added_tokens"] = kept
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "chat_template": "{{ messages[0].content + '' }}",
        "eos_token": "<|endoftext|>",
        "model_max_length": 32768,
        "added_tokens_decoder": {str(t["id"]): {flag: t[flag] for flag in flags} for t in kept},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def served(original: Path, base_tokenizer: Path, tmp_path: Path) -> Path:
    """A prepared folder whose files may be modified."""
    folder = tmp_path / "served"
    prepare(str(original), folder, str(base_tokenizer))
    for shard in folder.glob("*.safetensors"):
        content = shard.read_bytes()
        shard.unlink()
        shard.write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


def test_original_layout_gets_the_models_tokenizer(served: Path) -> None:
    """The audio tokens follow those of the base, and text is split as by the model's tokenizer."""
    made, own = AutoTokenizer.from_pretrained(served), AutoTokenizer.from_pretrained(MODEL)
    text = "<|im_start|>user\n<|AUDIO|>\nThis is zero<|audio_bos|><|audio_eos|><|im_end|>"
    assert made(text).input_ids == own(text).input_ids
    assert made.model_max_length == 131072
    assert made.chat_template is None
    assert problems(served) == []


def test_tokenizer_class_is_removed_and_kept_aside(served: Path) -> None:
    """The original file is kept as .bak."""
    assert "tokenizer_class" not in json.loads((served / "tokenizer_config.json").read_text())
    kept = json.loads((served / "tokenizer_config.json.bak").read_text())
    assert kept["tokenizer_class"] == "Qwen2Tokenizer"


def test_preparing_again_changes_nothing(
    original: Path, base_tokenizer: Path, tmp_path: Path
) -> None:
    """Neither the served folder nor the source changes."""
    source, folder = contents(original), tmp_path / "served"
    prepare(str(original), folder, str(base_tokenizer))
    first = contents(folder)
    times = {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}
    prepare(str(original), folder, str(base_tokenizer))
    prepare(str(folder), folder, str(base_tokenizer))
    assert contents(folder) == first
    assert {f.name: f.stat().st_mtime_ns for f in folder.iterdir()} == times
    assert contents(original) == source


def test_weights_are_linked_not_copied(tmp_path: Path) -> None:
    """The served folder does not contain a second copy of the weights."""
    prepare(str(MODEL), tmp_path / "served")
    assert (tmp_path / "served" / "model.safetensors").samefile(MODEL / "model.safetensors")


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The error includes the reason."""
    (tmp_path / "file").touch()
    assert main([str(MODEL), str(tmp_path / "file" / "served")]) == 1
    assert "Not a directory" in capsys.readouterr().err


def test_a_folder_is_prepared_in_place(tmp_path: Path) -> None:
    """transformers' layout only needs its tokenizer_class removed."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    before = (folder / "tokenizer_config.json").read_bytes()
    assert main([str(folder)]) == 0
    assert (folder / "tokenizer_config.json.bak").read_bytes() == before
    assert AutoTokenizer.from_pretrained(folder)("zero").input_ids


def test_audio_tokens_are_added_to_transformers_layout(
    base_tokenizer: Path, tmp_path: Path
) -> None:
    """microsoft/VibeVoice-ASR-HF has Qwen2.5's unmodified tokenizer, which lacks them."""
    source, folder = tmp_path / "source", tmp_path / "served"
    shutil.copytree(MODEL, source)
    shutil.copytree(base_tokenizer, source, dirs_exist_ok=True)
    prepare(str(source), folder)
    made, own = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(MODEL)
    text = "<|im_start|><|AUDIO|>zero<|audio_eos|>"
    assert made(text).input_ids == own(text).input_ids
    before = contents(folder)
    prepare(str(source), folder)
    assert contents(folder) == before


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(
            lambda f: (f / "model-00002-of-00002.safetensors").unlink(),
            "model-00002-of-00002.safetensors is missing",
            id="deleted-shard",
        ),
        pytest.param(
            lambda f: cut_short(f / "model-00001-of-00002.safetensors"),
            "model-00001-of-00002.safetensors has ",
            id="truncated-shard",
        ),
        pytest.param(
            lambda f: (f / "model-00001-of-00002.safetensors").write_bytes(b"version https://git"),
            "model-00001-of-00002.safetensors is not a safetensors file",
            id="pointer-file",
        ),
        pytest.param(
            lambda f: shutil.copy(
                f / "model-00001-of-00002.safetensors", f / "model-00002-of-00002.safetensors"
            ),
            "tensors of the index (first: ",
            id="wrong-shard",
        ),
        pytest.param(
            lambda f: (f / "model.safetensors.index.json").write_text("{}"),
            "model.safetensors.index.json has no weight_map",
            id="empty-index",
        ),
        pytest.param(
            lambda f: (f / "model.safetensors.index.json").unlink(),
            "model.safetensors is missing",
            id="deleted-index",
        ),
        pytest.param(
            lambda f: (f / "config.json").unlink(), "config.json is missing", id="no-config"
        ),
        pytest.param(
            lambda f: (f / "config.json").write_text("{"),
            "config.json cannot be read",
            id="broken-config",
        ),
        pytest.param(
            lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing", id="tokenizer"
        ),
        pytest.param(
            lambda f: change(f / "tokenizer.json", added_tokens=[]),
            "tokenizer.json lacks the token <|AUDIO|>",
            id="no-audio-token",
        ),
        pytest.param(
            lambda f: change(f / "tokenizer_config.json", tokenizer_class="Other"),
            "tokenizer_config.json still has a tokenizer_class",
            id="tokenizer-class",
        ),
        pytest.param(
            lambda f: change(f / "config.json", decoder_config={"vocab_size": 152064}),
            "token <|AUDIO|> has id {id}; expected 151665",
            id="other-ids-than-published",
        ),
        pytest.param(
            lambda f: change(f / "config.json", decoder_config={"vocab_size": 400}),
            "token <|AUDIO|> has id {id}, but the vocabulary size is 400",
            id="ids-beyond-the-model",
        ),
    ],
)
def test_check_names_what_is_wrong(
    damage, problem: str, served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` exits with 1 and prints one problem per line."""
    assert main(["--check", str(served)]) == 0
    assert capsys.readouterr().out == f"{served} is ready to be served\n"
    own_id = AutoTokenizer.from_pretrained(MODEL).convert_tokens_to_ids("<|AUDIO|>")
    damage(served)
    assert main(["--check", str(served)]) == 1
    assert problem.replace("{id}", str(own_id)) in capsys.readouterr().out


def test_check_finds_weights_that_are_gone(served: Path, tmp_path: Path) -> None:
    """A link whose target was deleted, for instance from a cache, is reported as such."""
    shard = served / "model-00001-of-00002.safetensors"
    shard.unlink()
    shard.symlink_to(tmp_path / "gone")
    assert problems(served) == [f"{shard.name} is missing (broken link)"]


@pytest.mark.parametrize(
    ("architecture", "model_type", "named"),
    [
        ("VibeVoiceForConditionalGeneration", "vibevoice", "text-to-speech"),
        ("VibeVoiceStreamingForConditionalGenerationInference", None, "VibeVoice-Realtime"),
        ("VibeVoiceForASRStreamingTraining", "vibevoice", "VibeVoice-ASR-Streaming"),
        ("Qwen2ForCausalLM", "qwen2", "Qwen2ForCausalLM"),
        (None, None, "no architecture"),
    ],
)
def test_another_model_is_refused(
    architecture: str | None, model_type: str | None, named: str, tmp_path: Path
) -> None:
    """The message says which model it is and which models were expected."""
    source = tmp_path / "source"
    source.mkdir()
    config = {"architectures": [architecture] if architecture else None, "model_type": model_type}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"expected a VibeVoice-ASR checkpoint .*{named}"):
        prepare(str(source), tmp_path / "served")
    assert not (tmp_path / "served").exists()


class Hub:
    """A hub on a socket, with the files of some folders as repositories."""

    def __init__(self, repositories: dict[str, Path], declared_size: int | None = None) -> None:
        hub = self
        self.downloads: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(head=True)

            def do_GET(self) -> None:
                self.answer(head=False)

            def answer(self, head: bool) -> None:
                path = self.path.split("?")[0].removeprefix("/")
                owner, name, *rest = path.removeprefix("api/models/").split("/")
                folder = repositories.get(f"{owner}/{name}")
                commit = {"X-Repo-Commit": "c" * 40}
                if folder is None:
                    self.reply(404, b"", {"X-Error-Code": "RepoNotFound"}, head)
                elif path.startswith("api/models/") and rest[0] == "tree":
                    files = [hub.entry(f) for f in sorted(folder.iterdir())]
                    self.reply(200, json.dumps(files).encode(), commit, head)
                elif path.startswith("api/models/"):
                    files = [{"rfilename": f.name} for f in sorted(folder.iterdir())]
                    info = {"id": f"{owner}/{name}", "sha": "c" * 40, "siblings": files}
                    self.reply(200, json.dumps(info).encode(), commit, head)
                elif not (file := folder / rest[-1]).exists():
                    self.reply(404, b"", {"X-Error-Code": "EntryNotFound", **commit}, head)
                else:
                    etag = {"ETag": f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"'}
                    if not head:
                        hub.downloads.append(file.name)
                    size = {}
                    if head and declared_size and file.suffix == ".safetensors":
                        size["Content-Length"] = str(declared_size)
                    self.reply(200, file.read_bytes(), {**etag, **commit, **size}, head)

            def reply(self, status: int, body: bytes, headers: dict[str, str], head: bool) -> None:
                headers = {"Content-Length": str(len(body)), **headers}
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                if not head:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def entry(file: Path) -> dict[str, object]:
        oid = hashlib.sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid}

    def __enter__(self) -> "Hub":
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator:
    """The script in its own process: the hub's address is read when its client is imported."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        cache = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
        script = Path(__file__).parents[2] / "scripts" / "prepare_model.py"
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            env={**os.environ, **cache, **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    yield run


def test_a_hub_id_is_downloaded_once(
    run, original: Path, base_tokenizer: Path, tmp_path: Path
) -> None:
    """Checkpoint and tokenizer are downloaded from the hub; its cache is not modified."""
    with Hub({"microsoft/VibeVoice-ASR": original, "Qwen/Qwen2.5-7B": base_tokenizer}) as hub:
        result = run("microsoft/VibeVoice-ASR", HF_ENDPOINT=hub.url)
        assert result.returncode == 0, result.stderr
        folder = tmp_path / "models" / "VibeVoice-ASR"
        assert problems(folder) == []
        downloads = list(hub.downloads)
        assert "model-00001-of-00002.safetensors" in downloads
        (shard,) = (tmp_path / "cache").rglob("model-00001-of-00002.safetensors")
        assert shard.samefile(folder / shard.name)
        assert run("microsoft/VibeVoice-ASR", HF_ENDPOINT=hub.url).returncode == 0
        assert hub.downloads == downloads


def test_another_model_is_not_downloaded(run, tmp_path: Path) -> None:
    """The model's config shows this before gigabytes are downloaded."""
    source = tmp_path / "tts"
    source.mkdir()
    (source / "config.json").write_text(
        json.dumps({"architectures": ["VibeVoiceForConditionalGeneration"]})
    )
    (source / "model.safetensors").write_bytes(b"weights")
    with Hub({"microsoft/VibeVoice-1.5B": source}) as hub:
        result = run("microsoft/VibeVoice-1.5B", HF_ENDPOINT=hub.url)
    assert result.returncode == 1
    assert "got a VibeVoice text-to-speech model" in result.stderr
    assert hub.downloads == ["config.json"]


def test_no_disk_space_is_said_before_the_download(run, original: Path) -> None:
    """No disk has room for a petabyte."""
    with Hub({"microsoft/VibeVoice-ASR": original}, declared_size=10**15) as hub:
        result = run("microsoft/VibeVoice-ASR", HF_ENDPOINT=hub.url)
    assert result.returncode == 1
    assert "not enough disk space: 2000000.0 GB to download" in result.stderr
    assert hub.downloads == ["config.json"]


@pytest.mark.parametrize(
    ("source", "environ", "message"),
    [
        pytest.param("a/b", {"HF_HUB_OFFLINE": "1"}, "cannot reach the hub at ", id="no-network"),
        pytest.param("nowhere", {}, "neither a folder nor a hub id like owner/name", id="no-id"),
    ],
)
def test_what_cannot_be_fetched(run, source: str, environ: dict[str, str], message: str) -> None:
    """One line says what was attempted, without a stack trace."""
    result = run(source, **environ)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_repository(run, original: Path) -> None:
    """The hub's 404 becomes a message that names the repository."""
    with Hub({"microsoft/VibeVoice-ASR": original}) as hub:
        result = run("microsoft/VibeVoice-ASSR", HF_ENDPOINT=hub.url)
    assert result.returncode == 1
    assert "microsoft/VibeVoice-ASSR (revision main) is not on the hub" in result.stderr
