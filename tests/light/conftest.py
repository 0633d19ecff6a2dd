"""The light recognizer, loaded once."""

import os

import pytest

from vibevoice_light import LightRecognizer, ModelFilesMissing, find_moonshine


@pytest.fixture(scope="session")
def recognizer() -> LightRecognizer:
    """The recognizer with the model that set-up has fetched, or that the setting names."""
    try:
        return LightRecognizer.load(find_moonshine(os.environ.get("VIBEVOICE_LIGHT_MODELS", "")))
    except ModelFilesMissing as error:
        pytest.skip(str(error))
