"""What a teacher says of clips without labels: an array in files, written part by part.

The teacher hears each clip as it is and is judged as it always is, by its recipe's windows: a
clip's label is the mean of what it says of them, from 0 to 1. A part is the labels of some hundred
clips, one file, written whole or not at all, which says whose labels of what they are: the
teacher's weights, the spec, and the ids and audio of the clips. Computing them again computes the
parts that are not there, or that are of anything else.
"""

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save

from featurestore.errors import TrainingError
from featurestore.process.progress import Progress
from featurestore.storage.atomic import atomic_write, output_errors
from models.data import CACHE_LIMIT, Unlabelled
from models.training import distributed
from models.training.checkpoint import Checkpoint
from models.training.evaluate import weights_digest
from models.training.predict import predict

_FORMAT = "melgrid-soft-labels-1"

PART = 256
"""Clips in a file: what a kill costs at most."""


def soft_labels(
    folder: str | os.PathLike[str],
    teacher: Checkpoint,
    clips: Unlabelled,
    *,
    device: str = "auto",
    progress: bool = True,
) -> npt.NDArray[np.float32]:
    """Compute a teacher's labels of clips, or those that are not in `folder` yet.

    Parameters
    ----------
    folder : path
        For ``part-00000.safetensors`` and so on; parts that are none of these labels' are replaced
        or deleted. Under torchrun, all processes compute, and the first one writes.
    teacher : Checkpoint
        Stays as it is.
    clips : Unlabelled
    device : str
        As `models.training.settings.TrainSettings` has it.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    array of float32, shape (n_clips, n_tags)
        Probabilities, of the teacher's tags.

    Raises
    ------
    OutputError
        If a file cannot be written.
    TrainingError
        If the teacher's probabilities are not finite.
    """
    folder = Path(folder)
    with output_errors(folder, what="the teacher's labels"):
        folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(clips), PART)
    whose = provenance(teacher, clips)
    said = [whose | _clips(clips, start) for start in starts]
    paths = [folder / f"part-{number:05}.safetensors" for number in range(len(starts))]
    # All are looked at before the first is written, so that all processes find the same.
    parts = [_read(path, of) for path, of in zip(paths, said, strict=True)]
    settings = dataclasses.replace(teacher.settings, device=device)
    quiet = not (progress and distributed.rank() == 0)
    with Progress(len(clips), unit="clips", what="teacher", quiet=quiet, stays=False) as bar:
        for number, start in enumerate(starts):
            found = parts[number]
            if found is None:
                heard = clips.heard(slice(start, start + PART))
                if heard.nbytes <= CACHE_LIMIT:
                    heard.preload()  # so that no processes are started to read ahead
                found = predict(teacher.network, heard, teacher.task, settings)
                if not np.isfinite(found).all():
                    raise TrainingError(
                        "the teacher gives probabilities that are not finite; train it again with "
                        "a lower learning_rate"
                    )
                if distributed.rank() == 0:
                    _write(paths[number], found, said[number])
                parts[number] = found
            bar.update(len(found))
    if distributed.rank() == 0:
        for path in folder.iterdir():
            if re.fullmatch(r"part-\d{5,}\.safetensors", path.name) and path not in paths:
                path.unlink()
    return np.concatenate([part for part in parts if part is not None])


def provenance(teacher: Checkpoint, clips: Unlabelled) -> dict[str, Any]:
    """Whose labels these are, and of what, without the clips themselves: JSON values."""
    settings = teacher.settings
    return {
        "teacher": weights_digest(teacher.network),
        "model": settings.architecture.name,
        "recipe": settings.recipe,
        "spec": teacher.spec.name,
        "computed": dict(clips.computed),
        "tags": list(teacher.tags),
    }


def labels_digest(clips: Unlabelled, labels: npt.NDArray[np.float32]) -> str:
    """12 hex digits of clips and their labels."""
    digest = hashlib.sha256(json.dumps([clips.clip_id, clips.audio]).encode())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()[:12]


def _clips(clips: Unlabelled, start: int) -> dict[str, Any]:
    part = slice(start, start + PART)
    return {"clip_id": list(clips.clip_id[part]), "audio": list(clips.audio[part])}


def _write(path: Path, labels: npt.NDArray[np.float32], said: dict[str, Any]) -> None:
    labels = np.ascontiguousarray(labels)
    header = {"format": _FORMAT, "of": said, "sha256": _sha256(labels)}
    # Under one key: several would be in another order each time.
    written = save({"labels": torch.from_numpy(labels)}, {"provenance": json.dumps(header)})
    with (
        atomic_write(path, what="the teacher's labels", alone=True) as partial,
        partial.open("wb") as file,
    ):
        file.write(written)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, said: dict[str, Any]) -> npt.NDArray[np.float32] | None:
    """Labels of a part; None if they are not there, not whole, or not these."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["provenance"])
            labels: npt.NDArray[np.float32] = file.get_tensor("labels").numpy()
    except Exception:  # whatever is wrong with it, it is computed again
        return None
    expected = {"format": _FORMAT, "of": said, "sha256": _sha256(labels)}
    return labels if header == expected else None


def _sha256(labels: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(labels.tobytes()).hexdigest()
