"""Train a network on one spec: a short loop to be read from top to bottom.

Adam, binary cross-entropy on logits, constant learning rate, as in Ferraro et al. 2020. Kept is
the epoch with the best macro PR AUC on the validation split (the first of equals); it alone is
judged on the test split.
"""

import copy
import dataclasses
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from featurestore.errors import TrainingError
from featurestore.spec import FeatureSpec
from models.data import HOLD_BYTES, ClipDataset, TrainingData, loader
from models.metrics import Scores, evaluate
from models.networks import NETWORKS, build

Amp = Literal["auto", "bf16", "off"]

_FORMAT = "melgrid-checkpoint-1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a network is trained.

    Parameters
    ----------
    model : str
        A key of `models.networks.NETWORKS`.
    width : float
        Scales the network's filters; 1 is the study's network, 0.125 trains on a laptop.
    epochs : int
        Passes over the training split; the study made 13.
    batch_size : int
        Clips in a batch.
    learning_rate : float
        Adam's.
    seed : int
        Of the first weights and the order of the clips. On a CPU, the same seed gives the same
        numbers on the same machine with the same number of threads.
    device : str
        ``auto`` is ``cuda`` where there is one, else ``cpu``; or any device that torch knows.
    amp : {'auto', 'bf16', 'off'}
        bfloat16 autocast. ``auto`` is on where the device computes in bfloat16: such GPUs, and
        CPUs with AVX512-BF16 or AMX, where a step was measured to take half the time or less.

    Raises
    ------
    TrainingError
        If a value cannot be, or a key is unknown (`from_json`).
    """

    model: str = "vgg"
    width: float = 1.0
    epochs: int = 13
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    device: str = "auto"
    amp: Amp = "auto"

    def __post_init__(self) -> None:
        if self.model not in NETWORKS:
            raise TrainingError(f"model is {self.model!r}; it must be one of {', '.join(NETWORKS)}")
        for field, low in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise TrainingError(f"{field} is {value!r}; it must be a whole number from {low}")
        for field, high in (("width", 16), ("learning_rate", 1)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TrainingError(f"{field} is {value!r}; it must be a number")
            if not 0 < value <= high:
                raise TrainingError(f"{field} is {value}; it must be above 0 and at most {high}")
            object.__setattr__(self, field, float(value))
        if self.amp not in get_args(Amp):
            raise TrainingError(
                f"amp is {self.amp!r}; it must be one of {', '.join(get_args(Amp))}"
            )
        self.torch_device()

    def torch_device(self) -> torch.device:
        """Name the device to train on, once torch has found it."""
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=name)
            return torch.device(name)
        except (RuntimeError, AssertionError, NotImplementedError, TypeError):
            raise TrainingError(
                f"device is {name!r}, which torch does not find here; use auto or cpu"
            ) from None

    def autocast(self) -> bool:
        """Whether to compute in bfloat16 where that is safe."""
        if self.amp != "auto":
            return self.amp == "bf16"
        if self.torch_device().type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        # Older torch does not tell what the CPU can do: float32 then.
        if self.torch_device().type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
            features = torch.cpu.get_capabilities()
            return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
        return False

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; unknown keys are refused by name."""
        unknown = fields.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise TrainingError(f"unknown training settings: {', '.join(sorted(unknown))}")
        return cls(**fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network and how good it is: what a checkpoint holds.

    Attributes
    ----------
    network : nn.Module
        Of the best epoch, on the CPU, ready to evaluate: clips ``(batch, n_mels, n_frames)`` to
        logits ``(batch, n_tags)``.
    spec : FeatureSpec
        What its input is.
    n_frames : int
        Frames in a clip.
    tags : tuple of str
        What its outputs are.
    fold : int or None
        The fold it was tested on.
    settings : TrainSettings
    best_epoch : int
        From 1.
    losses : tuple of float
        Mean training loss of each epoch.
    validation, test : Scores
        Of the best epoch.
    seconds : float
        Time the epochs took [s], validation included.
    """

    network: nn.Module
    spec: FeatureSpec
    n_frames: int
    tags: tuple[str, ...]
    fold: int | None
    settings: TrainSettings
    best_epoch: int
    losses: tuple[float, ...]
    validation: Scores
    test: Scores
    seconds: float


def train(data: TrainingData, settings: TrainSettings, *, progress: bool = True) -> Trained:
    """Train a network on `data`, choose the best epoch, judge it.

    Parameters
    ----------
    data : TrainingData
        Splits of at most `models.data.HOLD_BYTES` are held in memory from here on.
    settings : TrainSettings
    progress : bool
        Show a bar on stderr.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    """
    for dataset in (data.train, data.validation, data.test):
        if dataset.nbytes <= HOLD_BYTES:
            dataset.hold()
    device = settings.torch_device()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # the caller's random numbers stay as they were
        torch.manual_seed(settings.seed)
        network = build(
            settings.model,
            data.spec,
            n_frames=data.n_frames,
            n_tags=len(data.tags),
            width=settings.width,
        )
        network = _channels_last(network.to(device))
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        batches = loader(
            data.train, batch_size=settings.batch_size, shuffle=True, seed=settings.seed
        )
        began = time.perf_counter()
        losses: list[float] = []
        best_epoch, best_scores, best_weights = 0, None, network.state_dict()
        with tqdm(
            total=settings.epochs * len(batches),
            desc=data.spec.name,
            unit="batch",
            disable=not progress,
            file=sys.stderr,
            leave=False,
        ) as bar:
            for epoch in range(1, settings.epochs + 1):
                network.train()
                total = torch.zeros((), device=device)
                for values, labels in batches:
                    values, labels = values.to(device), labels.to(device)
                    with torch.autocast(device.type, torch.bfloat16, settings.autocast()):
                        logits = network(values)
                    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    total += loss.detach() * len(labels)
                    bar.update()
                losses.append(total.item() / len(data.train))
                if not math.isfinite(losses[-1]):
                    raise TrainingError(
                        f"the loss is {losses[-1]} in epoch {epoch} of {data.spec.name}; train "
                        f"with a learning_rate below {settings.learning_rate:g}"
                    )
                scores = score(network, data.validation, data.tags, settings)
                if best_scores is None or scores.pr_auc > best_scores.pr_auc:
                    best_epoch, best_scores = epoch, scores
                    best_weights = copy.deepcopy(network.state_dict())
                bar.set_postfix(loss=f"{losses[-1]:.3f}", pr_auc=f"{scores.pr_auc:.3f}")
        seconds = time.perf_counter() - began
        network.load_state_dict(best_weights)
        test = score(network, data.test, data.tags, settings)
    assert best_scores is not None
    return Trained(
        network=network.cpu().eval(),
        spec=data.spec,
        n_frames=data.n_frames,
        tags=data.tags,
        fold=data.fold,
        settings=settings,
        best_epoch=best_epoch,
        losses=tuple(losses),
        validation=best_scores,
        test=test,
        seconds=seconds,
    )


def score(
    network: nn.Module, dataset: ClipDataset, tags: tuple[str, ...], settings: TrainSettings
) -> Scores:
    """Judge `network` on `dataset`."""
    return evaluate(dataset.labels, predict(network, dataset, settings), tags)


def predict(
    network: nn.Module, dataset: ClipDataset, settings: TrainSettings
) -> npt.NDArray[np.float32]:
    """Probability of each tag for each clip, ``(n_clips, n_tags)``, clips in their order."""
    device = settings.torch_device()
    network = network.to(device).eval()
    outputs = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, settings.autocast()):
        for values, _ in loader(dataset, batch_size=settings.batch_size):
            outputs.append(network(values.to(device)).float().sigmoid().cpu())
    return torch.cat(outputs).numpy()


def _channels_last(network: nn.Module) -> nn.Module:
    """Lay the weights out as convolutions like them: a step measured 1.7 times as fast on a CPU.

    The layout shows in the last bits of the outputs.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def save_checkpoint(path: str | os.PathLike[str], trained: Trained) -> None:
    """Write `trained` to a file of tensors and JSON text; nothing in it is code.

    Written beside its place and moved there, so that the file is whole or is not.

    Raises
    ------
    TrainingError
        If it cannot be written there.
    """
    path = Path(path)
    metadata = {
        field.name: getattr(trained, field.name)
        for field in dataclasses.fields(trained)
        if field.name != "network"
    }
    metadata |= {
        "spec": trained.spec.name,
        "settings": dataclasses.asdict(trained.settings),
        "validation": dataclasses.asdict(trained.validation),
        "test": dataclasses.asdict(trained.test),
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    weights = {name: v.contiguous() for name, v in trained.network.state_dict().items()}
    saved = {"format": _FORMAT, "metadata": json.dumps(metadata), "weights": weights}
    try:
        with partial.open("wb") as file:
            torch.save(saved, file)
        partial.replace(path)
    except OSError as error:
        raise TrainingError(
            f"the checkpoint {path} cannot be written: {error.strerror}; name another place"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike[str]) -> Trained:
    """Rebuild what `save_checkpoint` wrote.

    Raises
    ------
    TrainingError
        If there is no such file, or if it is not a checkpoint of this version; code in it is not
        run.
    """
    path = Path(path)
    if not path.is_file():
        raise TrainingError(f"there is no checkpoint at {path}; melgrid train writes one")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format"] != _FORMAT:
            raise TrainingError(
                f"{path} is a checkpoint of format {saved['format']!r}, this melgrid reads "
                f"{_FORMAT!r}; train again"
            )
        fields = json.loads(saved["metadata"])
        fields["spec"] = FeatureSpec.parse(fields["spec"])
        fields["settings"] = TrainSettings.from_json(fields["settings"] | {"device": "auto"})
        for split in ("validation", "test"):
            scores = fields[split]
            fields[split] = Scores(**scores | {"tags_left_out": tuple(scores["tags_left_out"])})
        for name in ("tags", "losses"):
            fields[name] = tuple(fields[name])
        network = build(
            fields["settings"].model,
            fields["spec"],
            n_frames=fields["n_frames"],
            n_tags=len(fields["tags"]),
            width=fields["settings"].width,
        )
        network.load_state_dict(saved["weights"])
        return Trained(network=_channels_last(network).eval(), **fields)
    except TrainingError:
        raise
    except Exception as error:  # torch.load alone raises half a dozen kinds
        raise TrainingError(
            f"{path} is not a melgrid checkpoint, or is damaged: {error}"
        ) from error
