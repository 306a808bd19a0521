"""The log of a training: what each epoch came to, as JSON lines and for TensorBoard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from featurestore.errors import TrainingError
from featurestore.storage.atomic import output_errors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Epoch = dict[str, Any]
"""``epoch``, from 1, and numbers by their names; the same ones each time."""


class EpochLog:
    """A log, open for adding epochs.

    Parameters
    ----------
    path : Path or None
        JSON lines, one an epoch.
    tensorboard : Path or None
        Folder for TensorBoard's files.
    epochs : sequence of dict
        What has been before: the log is made to hold just these, whatever a run that was killed
        has left there.

    Raises
    ------
    OutputError
        If it cannot be written.
    TrainingError
        If TensorBoard is asked for and not installed.
    """

    def __init__(
        self, path: Path | None, tensorboard: Path | None, epochs: Sequence[Epoch] = ()
    ) -> None:
        self._board = None if tensorboard is None else _board(tensorboard, len(epochs))
        self._file = None
        if path is not None:
            with output_errors(path, what="the log"):
                self._file = path.open("w", encoding="utf-8")
        for epoch in epochs:
            self._write(epoch)

    def add(self, epoch: Epoch) -> None:
        """Add an epoch; it can be read at once."""
        self._write(epoch)
        if self._board is not None:
            for name, value in epoch.items():
                if name != "epoch":
                    self._board.add_scalar(name, value, epoch["epoch"])
            self._board.flush()

    def _write(self, epoch: Epoch) -> None:
        if self._file is not None:
            self._file.write(json.dumps(epoch) + "\n")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _board(folder: Path, n_epochs: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError(
            "TensorBoard is not installed; pip install 'melgrid[tensorboard]', or leave it out"
        ) from None
    return SummaryWriter(folder, purge_step=n_epochs + 1)
