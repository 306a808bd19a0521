"""The state of a training between two epochs, in a file from which it goes on."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from featurestore.errors import TrainingError
from featurestore.storage.atomic import atomic_write

_FORMAT = "melgrid-training-2"


def save_state(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write tensors, numbers and texts to `path`, whole or not at all.

    Parameters
    ----------
    path : Path
    identity : dict
        Settings and data; JSON. `load_state` gives the state back to these alone.
    state : dict
        What changes with each epoch.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    saved = {"format": _FORMAT, "identity": json.dumps(identity), "state": state}
    with (
        atomic_write(path, what="the training state", alone=True) as partial,
        partial.open("wb") as file,
    ):
        torch.save(saved, file)
        file.flush()
        os.fsync(file.fileno())


def load_state(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Read what `save_state` wrote; None where there is nothing.

    Raises
    ------
    TrainingError
        If it is the state of another training, or is not a state.
    """
    if not path.exists():
        return None
    start_anew = "delete it to start anew, or name another checkpoint"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format"] != _FORMAT:
            raise TrainingError(
                f"{path} is of format {saved['format']!r}, this melgrid goes on from {_FORMAT!r}; "
                + start_anew
            )
        theirs: dict[str, Any] = json.loads(saved["identity"])
        state: dict[str, Any] = saved["state"]
    except TrainingError:
        raise
    except Exception as error:  # torch.load alone raises half a dozen kinds
        raise TrainingError(
            f"{path} is not the state of a training, or is damaged; {start_anew}"
        ) from error
    ours = json.loads(json.dumps(identity))
    differing = [
        f"{field} {theirs.get(field)}, now {ours.get(field)}"
        for field in {**ours, **theirs}
        if ours.get(field) != theirs.get(field)
    ]
    if differing:
        raise TrainingError(
            f"{path} is the state of an unfinished training that differs ({'; '.join(differing)}); "
            + start_anew
        )
    return state
