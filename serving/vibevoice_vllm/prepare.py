"""Turns a published VibeVoice-ASR checkpoint into a folder that the engine can serve.

    vibevoice-prepare microsoft/VibeVoice-ASR models/VibeVoice-ASR
    vibevoice-prepare --check models/VibeVoice-ASR

A hub id is downloaded into the hub's own cache, and interrupted downloads resume. Weights are
hard-linked from the cache, or symlinked where the file system requires it, so nothing large is
copied and the cache is not modified. Small files are copied. The original layout has no tokenizer
and gets Qwen2.5's; in both layouts, missing audio tokens are added to the tokenizer. Running it
again changes nothing. Before a file is modified, its original is saved as `.bak`.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tokenizers import AddedToken, Tokenizer

from vibevoice_core.distribution import add_version_option
from vibevoice_vllm.checkpoint import (
    AUDIO_TOKENS,
    HUB_ID,
    ORIGINAL,
    CheckpointError,
    architecture,
    problems,
    read_json,
)

TOKENIZER = "Qwen/Qwen2.5-7B"
"""The tokenizer given to the original layout."""

_SMALL = ("*.json", "*.jinja", "*.txt", "LICENSE*")
_WEIGHTS = "*.safetensors"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
_UNREACHABLE = (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, DryRunError)


def prepare(source: str, folder: Path, tokenizer: str = TOKENIZER, revision: str = "main") -> None:
    """Prepare `folder` for serving from `source`, which is a local folder or a hub id.

    Raises:
        CheckpointError: wrong model, no network, no disk space, or missing files.
    """
    origin = Path(source) if Path(source).is_dir() else _download(source, revision)
    config = read_json(origin / "config.json")
    original = architecture(config) == ORIGINAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if origin.resolve() != folder.resolve():
            _bring(origin, folder)
        if original and not (folder / "tokenizer.json").exists():
            _bring_tokenizer(tokenizer, folder)
        if (folder / "tokenizer.json").exists():
            _complete_tokenizer(folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {origin} to {folder}: {error}") from error
    if found := problems(folder):
        raise CheckpointError("; ".join(found))


def _download(source: str, revision: str, patterns: tuple[str, ...] = (*_SMALL, _WEIGHTS)) -> Path:
    """Download a hub repository, the weights only if it is a VibeVoice-ASR; return the folder."""
    if not HUB_ID.fullmatch(source):
        raise CheckpointError(f"{source} is neither a folder nor a hub id like owner/name")
    try:
        if _WEIGHTS in patterns:
            config = hf_hub_download(source, "config.json", revision=revision)
            architecture(read_json(Path(config)))
        asked = snapshot_download(
            source, revision=revision, allow_patterns=list(patterns), dry_run=True
        )
        assert isinstance(asked, list)
        _require_space(sum(f.file_size or 0 for f in asked if f.will_download))
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        message = f"{source} needs an access token: accept its terms and set HF_TOKEN"
        raise CheckpointError(message) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointError(f"{source} (revision {revision}) is not on the hub") from error
    except RemoteEntryNotFoundError as error:
        raise CheckpointError(f"{source} is not a model repository: no config.json") from error
    except _UNREACHABLE as error:
        raise CheckpointError(
            f"cannot reach the hub at {constants.ENDPOINT} for {source}: check the network, "
            f"or give a local folder ({type(error).__name__})"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot write the download of {source}: {error.strerror}") from error


def _require_space(needed: int) -> None:
    """Raise an error before a download if `needed` bytes do not fit on the disk."""
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise CheckpointError(
            f"not enough disk space: {needed / 1e9:.1f} GB to download, {free / 1e9:.1f} GB free "
            f"under {existing}; set HF_HOME to download elsewhere"
        )


def _bring(origin: Path, folder: Path) -> None:
    """Copy the small files of a checkpoint and link its weights."""
    for pattern in _SMALL:
        for file in origin.glob(pattern):
            kept = (folder / f"{file.name}.bak").exists()
            if not kept and not _same(file, folder / file.name):
                shutil.copyfile(file, folder / file.name)
    for file in origin.glob(_WEIGHTS):
        target, weights = folder / file.name, file.resolve()
        if _same(weights, target):
            continue
        target.unlink(missing_ok=True)
        try:
            os.link(weights, target)
        except OSError:
            target.symlink_to(weights)


def _same(file: Path, target: Path) -> bool:
    return target.exists() and (
        target.samefile(file)
        or file.suffix != ".safetensors"
        and target.read_bytes() == file.read_bytes()
    )


def _bring_tokenizer(source: str, folder: Path) -> None:
    """Add the tokenizer that the original layout lacks: Qwen2.5's, or the one from `source`."""
    base = Path(source) if Path(source).is_dir() else _download(source, "main", _TOKENIZER_FILES)
    settings = read_json(base / "tokenizer_config.json")
    if not (base / "tokenizer.json").is_file():
        raise CheckpointError(f"the tokenizer {source} has no tokenizer.json")
    # Qwen's own template fails on multi-part content; the engine gets the project's by a flag.
    settings.pop("chat_template", None)
    settings["model_max_length"] = 131072
    _replace(folder / "tokenizer_config.json", _as_text(settings))
    shutil.copyfile(base / "tokenizer.json", folder / "tokenizer.json")


def _complete_tokenizer(folder: Path) -> None:
    """Add the audio tokens, which Qwen2.5 lacks, and remove `tokenizer_class`.

    Without that key, every version of transformers uses tokenizer.json as it is.
    """
    settings = read_json(folder / "tokenizer_config.json")
    read_json(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if any(tokenizer.token_to_id(token) is None for token in AUDIO_TOKENS):
        tokenizer.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in AUDIO_TOKENS]
        )
        _change(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    changed = {key: value for key, value in settings.items() if key != "tokenizer_class"}
    if "added_tokens_decoder" in changed:
        # This list overrides tokenizer.json, so it must be complete.
        changed["added_tokens_decoder"] = {
            str(number): {
                "content": token.content,
                "lstrip": token.lstrip,
                "normalized": token.normalized,
                "rstrip": token.rstrip,
                "single_word": token.single_word,
                "special": token.special,
            }
            for number, token in sorted(tokenizer.get_added_tokens_decoder().items())
        }
    if changed != settings:
        _change(folder / "tokenizer_config.json", _as_text(changed))


def _as_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _change(path: Path, text: str) -> None:
    """Replace a file after saving the original next to it."""
    backup = path.with_name(f"{path.name}.bak")
    if not backup.exists():
        shutil.copyfile(path, backup)
    _replace(path, text)


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically, so that neither a reader nor a crash leaves half of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="vibevoice-prepare", description="Prepare a VibeVoice-ASR checkpoint for serving."
    )
    parser.add_argument("source", help="local folder, or hub id such as microsoft/VibeVoice-ASR")
    parser.add_argument(
        "folder", nargs="?", help="served folder (default: models/NAME, or in place)"
    )
    parser.add_argument("--tokenizer", default=TOKENIZER, help="folder or hub id (%(default)s)")
    parser.add_argument("--revision", default="main", help="revision of the hub id (%(default)s)")
    parser.add_argument("--check", action="store_true", help="only report what SOURCE lacks")
    add_version_option(parser)
    args = parser.parse_args(arguments)
    local = Path(args.source).is_dir()
    if args.check:
        found = problems(Path(args.source)) if local else [f"{args.source} is not a folder"]
        print("\n".join(found) or f"{args.source} is ready to be served", flush=True)
        return 1 if found else 0
    name = Path(args.source).name
    folder = Path(args.folder or (args.source if local else f"models/{name}"))
    try:
        prepare(args.source, folder, args.tokenizer, args.revision)
    except CheckpointError as error:
        print(f"cannot prepare {args.source}: {error}", file=sys.stderr)
        return 1
    print(f"{folder} is ready to be served")
    return 0


if __name__ == "__main__":
    sys.exit(main())
