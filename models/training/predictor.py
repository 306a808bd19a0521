"""A checkpoint's network at work on values that are in no store."""

import contextlib
import copy
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.data import Clip
from models.training.checkpoint import Checkpoint
from models.training.predict import predict_batch, predict_windows

_ON_CPU, _ELSEWHERE = 8, 64


class Predictor:
    """Predictions of a checkpoint's network for values.

    They are those of `models.training.predict.predict` but for the last digits, as batch norms are
    folded into the convolutions before them.

    Parameters
    ----------
    checkpoint : Checkpoint
        Its network stays as it is.
    device : str
        As `models.training.settings.TrainSettings` has it.
    batch_size : int, optional
        Clips or windows that the network is given at a time. None is 8 on a CPU and 64 elsewhere:
        in batches of 32, the maps of a VGG of width 0.125 at 48 bands x2 leave a CPU's caches, and
        a clip takes 1.7 times as long.

    Attributes
    ----------
    batch_size : int
    window : int
        Frames that the network takes at a time.

    Raises
    ------
    TrainingSettingsError
        If there is no such device.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        settings = dataclasses.replace(checkpoint.settings, device=device)
        self._device = settings.torch_device()
        self._in_bfloat16 = settings.autocast()
        # bfloat16 would round the folded weights otherwise than the network's own.
        network = checkpoint.network if self._in_bfloat16 else folded(checkpoint.network)
        self._network = network.to(self._device).eval()
        self._task = checkpoint.task
        self._recipe = settings.schedule
        self.batch_size = batch_size or (_ON_CPU if self._device.type == "cpu" else _ELSEWHERE)
        self.begin()
        self.window = settings.architecture.window_frames(checkpoint.spec, checkpoint.n_frames)

    def begin(self, *, shares_cores: bool = False) -> None:
        """Say that the first of many values are about to come.

        Parameters
        ----------
        shares_cores : bool
            Whether processes that make the values work on the same cores. The network then takes
            one thread until it has worked twice as long as it has waited: several wait for each
            other by turning in loops, which was measured to take 2 ms of CPU a clip beside the 7
            that it costs. The number of threads may show in a prediction's last digits.
        """
        self._shares_cores = shares_cores
        self._ended = time.perf_counter()
        self._waited = self._worked = 0.0

    def clips(
        self, values: npt.NDArray[np.float32], n_valid: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Predictions for clips, ``(n, n_outputs)``, each by the windows that the recipe says.

        Parameters
        ----------
        values : np.ndarray [shape=(n, n_bands, n_frames), dtype=float32]
            As long as the clips that the network was trained on.
        n_valid : np.ndarray [shape=(n,), dtype=int64]
            Frames of each that are audio; padding is left out, unless a clip is shorter than a
            window.
        """

        def predict(part: torch.Tensor, first: int) -> torch.Tensor:
            of_part = torch.from_numpy(n_valid[first : first + len(part)])
            batch = Clip(part, torch.empty(len(part), 0), of_part)  # type: ignore[arg-type]
            return predict_batch(
                self._network, batch, task=self._task, recipe=self._recipe, window=self.window
            )

        return self._in_batches(values, predict)

    def windows(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Predictions for windows, ``(n, n_outputs)``.

        Parameters
        ----------
        values : np.ndarray [shape=(n, n_bands, window), dtype=float32]
        """

        def predict(part: torch.Tensor, first: int) -> torch.Tensor:
            return torch.cat(
                predict_windows(
                    self._network, part, [[0]] * len(part), task=self._task, window=self.window
                )
            )

        return self._in_batches(values, predict)

    def _in_batches(
        self, values: npt.NDArray[np.float32], predict: Callable[[torch.Tensor, int], torch.Tensor]
    ) -> npt.NDArray[np.float32]:
        began = time.perf_counter()
        self._waited += began - self._ended
        n_threads = 1 if self._shares_cores and self._worked <= 2 * self._waited else None
        found = []
        with (
            _threads(n_threads),
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, self._in_bfloat16),
        ):
            for first in range(0, len(values), self.batch_size):
                part = torch.from_numpy(values[first : first + self.batch_size])
                found.append(predict(part.to(self._device), first).cpu())
        self._ended = time.perf_counter()
        self._worked += self._ended - began
        return torch.cat(found).numpy()


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Have PyTorch take so many threads for a while; None for as many as it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network, ready to evaluate, without the batch norms that follow convolutions.

    A convolution's weights and bias become those of both. Layers in an ``nn.Sequential`` follow one
    another; others stay as they are.
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if not isinstance(module, nn.Sequential) or type(module).forward != nn.Sequential.forward:
            continue
        names = list(module._modules)
        for first, second in itertools.pairwise(names):
            convolution, norm = module.get_submodule(first), module.get_submodule(second)
            if isinstance(convolution, nn.Conv1d | nn.Conv2d) and isinstance(
                norm, nn.BatchNorm1d | nn.BatchNorm2d
            ):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())
    return network
