"""Nothing about users leaves the machine."""

import os


def disable_onnxruntime_telemetry() -> None:
    """Keeps onnxruntime from sending usage data. Call it before onnxruntime is imported.

    Since 1.29 its wheels for Linux send events to Microsoft by default, with names and hashes of
    models and a device id that they store in the home folder. `ORT_DISABLE_TELEMETRY=1` prevents
    all of it (docs/Privacy.md in its repository); its API does so only after the first event.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
