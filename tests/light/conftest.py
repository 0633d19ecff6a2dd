"""The light recognizer, loaded once."""

import os
from pathlib import Path

import pytest

from vibevoice_light import LightRecognizer, ModelFilesMissing, find_moonshine


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """Moonshine's files, which set-up has fetched or the setting names."""
    try:
        return find_moonshine(os.environ.get("VIBEVOICE_LIGHT_MODELS", ""))
    except ModelFilesMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def recognizer(model_folder: Path) -> LightRecognizer:
    """The recognizer in this process."""
    return LightRecognizer.load(model_folder)
