"""A model file ready to run."""

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
    """What is used of `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> Sequence[Port]: ...

    def get_outputs(self) -> Sequence[Port]: ...

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Array]
    ) -> list[Array]: ...


def open_session(file: Path, threads: int = 1) -> Session:
    """The model in `file`, `.onnx` or `.ort`, on the CPU with so many threads."""
    disable_onnxruntime_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning would take the cores of other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Recordings have every length: memory kept for the largest would stay for good.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    session: Any = onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"]
    )
    return session
