"""Disables telemetry of libraries, so that no usage data leaves the machine."""

import os


def disable_onnxruntime_telemetry() -> None:
    """Keep onnxruntime from sending usage data. Call it before importing onnxruntime.

    Since 1.29, its Linux wheels send events to Microsoft by default, with names and hashes of
    models and a device id that they store in the home folder. `ORT_DISABLE_TELEMETRY=1` prevents
    all of it (docs/Privacy.md in its repository); its API can do so only after the first event.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
