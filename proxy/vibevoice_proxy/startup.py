"""What is checked when the process starts, so that it ends at once with the setting's name."""

import tempfile
from pathlib import Path

from pydantic import ValidationError

from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import environment_name


def describe_errors(error: ValidationError) -> str:
    """A line for each wrong setting: its name in the environment and what is wrong with it, never
    its value."""
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        name = f"{environment_name(str(item['loc'][0]))}: " if item["loc"] else ""
        lines.append(f"Invalid settings: {name}{message}")
    return "\n".join(lines)


def check_folders(settings: Settings) -> None:
    """Makes sure that files can be written where the settings say.

    Folders that are filled over time are made when they are not there. A spool is not: it is a
    mount as a rule, and a folder in its place would fill another disk. Raises ValueError that names
    the setting.
    """
    if settings.spool_dir:
        _check("VIBEVOICE_SPOOL_DIR", Path(settings.spool_dir))
    if settings.tts_voice_cache:
        _check("VIBEVOICE_TTS_VOICE_CACHE", Path(settings.tts_voice_cache), make=True)
    if settings.voice_uploads:
        _check("VIBEVOICE_VOICE_DIR", Path(settings.voice_dir), make=True)


def _check(name: str, folder: Path, *, make: bool = False) -> None:
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{name}: {folder} is not a folder that can be written: {error.strerror}"
        ) from error
