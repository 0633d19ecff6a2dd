"""Opens model files for inference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from vibevoice_core.telemetry import disable_onnxruntime_telemetry

Array = NDArray[Any]


class Port(Protocol):
    """An input or output of a model."""

    name: str
    shape: Sequence[int | str | None]


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used."""

    def get_inputs(self) -> Sequence[Port]: ...

    def get_outputs(self) -> Sequence[Port]: ...

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Array]
    ) -> list[Array]: ...


def open_session(file: Path, threads: int = 1) -> Session:
    """Open the model in `file` (`.onnx` or `.ort`) on the CPU with `threads` threads."""
    disable_onnxruntime_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take CPU time from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Recordings vary in length, and the arena would never release the memory of the longest one.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    session: Any = onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"]
    )
    return session
