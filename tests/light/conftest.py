"""The light recognizer, loaded once."""

import os
from pathlib import Path

import pytest

from vibevoice_light import LightRecognizer, ModelFilesMissing, find_moonshine


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The folder of Moonshine's files, downloaded at setup or given by the setting."""
    try:
        return find_moonshine(os.environ.get("VIBEVOICE_LIGHT_MODELS", ""))
    except ModelFilesMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def recognizer(model_folder: Path) -> LightRecognizer:
    """The recognizer in this process."""
    return LightRecognizer.load(model_folder)
