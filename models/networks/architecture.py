"""What is known of a network beyond its layers: its name, what it takes, and how it is made."""

import dataclasses
import math
import re
from collections.abc import Callable

from torch import nn

from featurestore.errors import TrainingSettingsError
from featurestore.specs.mel import FeatureSpec

MAX_WIDTH = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network, as the registry `models.networks.ARCHITECTURES` lists it.

    Parameters
    ----------
    name : str
        What ``--model``, checkpoints and results files call it: letters, digits, ``-`` and ``_``.
    build : callable
        Makes the network: ``build(spec, n_frames=, n_outputs=, width=)``, where `n_frames` are
        those of a window, and there is a `width` if `has_width`. The network takes float32
        ``(batch, n_mels, n_frames)`` and gives ``(batch, n_outputs)``. It adapts to the spec, or
        raises `TrainingError` with what would fit.
    takes : FeatureSpec or None
        The spec that it was published with; None where there is no single one. It trains on
        others, too.
    window : float or None
        How much of a clip it takes at a time [s]; None is the whole clip.
    has_width : bool
        Whether its filters and units can be scaled. It is made with a width of 1 alone if not.

    Raises
    ------
    TrainingSettingsError
        If the name cannot be, or the window is not above 0.
    """

    name: str
    build: Callable[..., nn.Module]
    takes: FeatureSpec | None = None
    window: float | None = None
    has_width: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise TrainingSettingsError(
                f"invalid network name {self.name!r}: use letters, digits, - and _"
            )
        if self.window is not None and not 0 < self.window < math.inf:
            raise TrainingSettingsError(
                f"invalid window of {self.name}, {self.window} s: must be a length above 0, "
                "or None for the whole clip"
            )

    def window_frames(self, spec: FeatureSpec, n_frames: int) -> int:
        """Frames that the network takes at a time, of a clip of `n_frames`.

        As many as there are whole hops in `window`, at least 1; all of the clip where it has
        fewer, or where the network takes it whole.
        """
        if self.window is None:
            return n_frames
        return max(1, min(n_frames, round(self.window * spec.sr) // spec.hop_length))

    def n_windows(self, spec: FeatureSpec, n_frames: int) -> int:
        """Consecutive windows that a clip of `n_frames` is predicted by; 1 if it is taken whole.

        They begin at the first frame. The frames after the last whole window are left out.
        """
        return n_frames // self.window_frames(spec, n_frames)

    def check_width(self, width: float) -> None:
        """Refuse a width that this network cannot have.

        Raises
        ------
        TrainingSettingsError
        """
        if not 0 < width <= MAX_WIDTH:
            raise TrainingSettingsError(
                f"width is {width}; it must be above 0 and at most {MAX_WIDTH}"
            )
        if not self.has_width and width != 1:
            raise TrainingSettingsError(
                f"invalid width {width}: {self.name} has one width; leave it at 1"
            )

    def new(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> nn.Module:
        """Make the network for clips of ``(spec.n_mels, n_frames)``.

        What it takes is a window of these: ``(batch, n_mels, window_frames(spec, n_frames))``.

        Parameters
        ----------
        n_frames : int
            Frames of a clip.
        n_outputs : int
            What the task says, `models.tasks.task.Task`.
        width : float
            Scales the network's filters and units.

        Raises
        ------
        TrainingError
            If it cannot be made so.
        """
        self.check_width(width)
        for field, value in (("n_frames", n_frames), ("n_outputs", n_outputs)):
            if value < 1:
                raise TrainingSettingsError(f"invalid network: {field}={value}; must be at least 1")
        frames = self.window_frames(spec, n_frames)
        if not self.has_width:
            return self.build(spec, n_frames=frames, n_outputs=n_outputs)
        return self.build(spec, n_frames=frames, n_outputs=n_outputs, width=width)
