"""Checks at startup, so that the process exits at once and names the invalid setting."""

import tempfile
from pathlib import Path

from pydantic import ValidationError

from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import environment_name


def describe_errors(error: ValidationError) -> str:
    """One line for each invalid setting: its environment variable and what is wrong with it, never
    its value."""
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        name = f"{environment_name(str(item['loc'][0]))}: " if item["loc"] else ""
        lines.append(f"Invalid settings: {name}{message}")
    return "\n".join(lines)


def check_folders(settings: Settings) -> None:
    """Check that the configured folders are writable.

    Folders for persistent files are created if they do not exist. A spool folder is not: it is
    usually a mount, and a folder in its place would fill another disk. Raises ValueError, which
    names the setting.
    """
    if settings.spool_dir:
        _check("VIBEVOICE_SPOOL_DIR", Path(settings.spool_dir))
    if settings.tts_voice_cache:
        _check("VIBEVOICE_TTS_VOICE_CACHE", Path(settings.tts_voice_cache), make=True)
    if settings.voice_uploads:
        _check("VIBEVOICE_VOICE_DIR", Path(settings.voice_dir), make=True)
    if settings.speaker_enrollment:
        _check("VIBEVOICE_SPEAKER_DIR", Path(settings.speaker_dir), make=True)


def _check(name: str, folder: Path, *, make: bool = False) -> None:
    try:
        if make:
            # Voices are personal data.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{name}: {folder} is not a writable folder: {error.strerror}") from error
