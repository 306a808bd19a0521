"""A checkpoint as ONNX: windows of a spec's values in, predictions out.

What turns audio into values is outside: the model's metadata say the spec.
"""

import dataclasses
import importlib.util
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.result import count, size
from featurestore.storage.atomic import atomic_write
from models.networks.own import user_errors
from models.tasks.task import Task
from models.training.checkpoint import Checkpoint, load_checkpoint

TOLERANCE = 1e-5
"""How far predictions by onnxruntime may be from PyTorch's."""

_EXTRA = ("onnx", "onnxruntime", "onnxscript")  # the last is what torch.onnx writes with

_INPUT, _OUTPUT = "windows", "predictions"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """An ONNX model that was written.

    Attributes
    ----------
    path : str
    model, spec : str
    input_shape : tuple of int
        Of one window, ``(n_bands, window_frames)``.
    n_outputs : int
    nbytes : int
    max_error : float
        Largest difference of a prediction by onnxruntime from PyTorch's, of the windows tried.
    """

    path: str
    model: str
    spec: str
    input_shape: tuple[int, int]
    n_outputs: int
    nbytes: int
    max_error: float

    def json(self) -> dict[str, Any]:
        """As one JSON object."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """What it takes and gives, and where it is."""
        n_bands, n_frames = self.input_shape
        return [
            f"{self.model}: {_INPUT} (batch, {n_bands}, {n_frames}) of {self.spec} to {_OUTPUT} "
            f"(batch, {self.n_outputs})",
            f"within {self.max_error:.1e} of PyTorch",
            f"{size(self.nbytes)}, {count(len(METADATA), 'line')} of metadata, in {self.path}",
        ]


METADATA = ("model", "task", "tags", "spec", "unit", "sr", "hop", "window", "n_windows", "source")
"""What `metadata_of` gives."""


def metadata_of(checkpoint: Checkpoint) -> dict[str, str]:
    """What the model says of itself: texts, numbers among them.

    ``tags`` are JSON, in the order of the outputs. ``sr`` is in Hz; ``hop``, the step from frame to
    frame, and ``window``, what is from the first frame of a window to the first behind it, in
    samples. ``n_windows`` is how many windows a clip is judged by, evenly spaced; 0 is all that
    follow each other. A clip's prediction is their mean.
    """
    spec, settings = checkpoint.spec, checkpoint.settings
    hop = spec.frame_step * spec.sr
    n_frames = settings.architecture.window_frames(spec, checkpoint.n_frames)
    return {
        "model": settings.architecture.name,
        "task": settings.task,
        "tags": json.dumps(checkpoint.tags, ensure_ascii=False),
        "spec": spec.name,
        "unit": spec.unit,
        "sr": str(spec.sr),
        "hop": str(hop),
        "window": str(hop * n_frames),
        "n_windows": str(settings.schedule.n_windows or 0),
        "source": checkpoint.source,
    }


@user_errors()
def export_onnx(
    checkpoint: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
) -> ExportedModel:
    """Write a checkpoint's network, with its task's last step, as an ONNX model.

    Its input is ``windows``, float32 ``(batch, n_bands, window_frames)``, its output
    ``predictions``, float32 ``(batch, n_outputs)``, for any batch. It is run before it is written.

    Parameters
    ----------
    checkpoint : path
    path : path
        The model's.
    model : str, optional
        As `models.training.checkpoint.load_checkpoint` takes it.

    Raises
    ------
    TrainingError
        If ONNX is not installed, there is no such checkpoint, its network has what ONNX has not,
        or onnxruntime predicts otherwise than PyTorch.
    OutputError
        If it cannot be written there.
    """
    _require_onnx()
    trained = load_checkpoint(checkpoint, model=model)
    spec, architecture = trained.spec, trained.settings.architecture
    shape = spec.n_bands, architecture.window_frames(spec, trained.n_frames)
    predictor = _Predictor(trained.network, trained.task).eval()
    written = _converted(predictor, shape, architecture.name, metadata_of(trained))
    low, high = spec.value_range
    error = _error(predictor, written, shape, architecture.name, float(low), float(high))
    with atomic_write(Path(path), what="the model") as partial:
        partial.write_bytes(written)
    return ExportedModel(
        path=os.fspath(path),
        model=architecture.name,
        spec=spec.name,
        input_shape=shape,
        n_outputs=trained.task.n_outputs,
        nbytes=len(written),
        max_error=error,
    )


class _Predictor(nn.Module):
    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self._network, self._task = network, task

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self._task.predict(self._network(windows))


def _require_onnx() -> None:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"{', '.join(missing)} not installed; pip install 'melgrid[onnx]', or go without ONNX"
        )


def _converted(
    predictor: nn.Module, shape: tuple[int, int], name: str, metadata: dict[str, str]
) -> bytes:
    """The model's bytes."""
    from onnx import helper

    # Two windows: a size of 1 would be taken for fixed.
    example = torch.zeros(2, *shape)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it speaks of packages that are not there
    try:
        with warnings.catch_warnings(action="ignore"):  # of PyTorch about itself
            program = torch.onnx.export(
                predictor,
                (example,),
                dynamo=True,
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # as many kinds as there are things that ONNX has not
        said = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(f"{name} cannot be written as ONNX: {said[0]}") from error
    finally:
        log.setLevel(level)
    assert program is not None
    proto = program.model_proto
    helper.set_model_props(proto, metadata)
    written: bytes = proto.SerializeToString()
    return written


def _error(
    predictor: nn.Module,
    written: bytes,
    shape: tuple[int, int],
    name: str,
    low: float,
    high: float,
) -> float:
    """Largest difference of its predictions from PyTorch's, for batches of one and of three."""
    import onnxruntime

    generator = np.random.default_rng(0)
    largest = 0.0
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised
        session = onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
        for n in (1, 3):
            windows = generator.uniform(low, high, (n, *shape)).astype(np.float32)
            (found,) = session.run([_OUTPUT], {_INPUT: windows})
            with torch.inference_mode():
                expected = predictor(torch.from_numpy(windows)).numpy()
            largest = max(largest, float(np.abs(found - expected).max()))
    except Exception as error:  # onnxruntime's own kinds
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(
            f"{name} as ONNX does not run for another number of windows than 2: {said[0]}; take "
            "sizes from shapes (x.shape[0], not len(x)) in its forward"
        ) from error
    if not largest <= TOLERANCE:
        raise TrainingError(
            f"{name} as ONNX predicts otherwise than PyTorch, by {largest:.1e}, more than "
            f"{TOLERANCE:g}; it is not written"
        )
    return largest
