"""What is known of a network beyond its layers: its name, what it takes, and how it is made."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Self

from torch import nn

from featurestore.errors import SpecError, TrainingSettingsError
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec

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
        those of a window, there is a `width` if `has_width`, and the `options` follow by name. The
        network takes float32 ``(batch, n_bands, n_frames)``, waveforms ``(batch, 1, n_samples)``,
        and gives ``(batch, n_outputs)``. It adapts to the spec, or raises `TrainingError` with what
        would fit.
    accepts : type
        Kind of spec that it takes.
    takes : Spec or None
        The spec that it was published with; None where there is no single one. It trains on
        others of its kind, too.
    window : float or None
        How much of a clip it takes at a time [s]; None is the whole clip.
    is_centred : bool
        Whether a window has as many frames as a clip of that length, the one that is centred on
        its end among them: as published networks have that cut windows from the waveform. Else it
        has whole hops, so that windows follow each other without a frame in two.
    needs_unit : bool
        Whether it computes with what the values mean, such as decibels. No recipe normalises them
        before it then.
    has_width : bool
        Whether its filters and units can be scaled. It is made with a width of 1 alone if not.
    options : mapping of str to tuple of int
        Choices of how the network is made beyond its width, such as its depth, by a word of
        letters: the values that there are, the default first. A name says those off their default,
        in the order here: ``fcn1d-depth3-hidden128``.
    head : str
        The module that makes outputs of what the rest has found: a network that starts from
        another one's weights has a new one where outputs mean something else.
    adapts : str
        Which dense layers an adapter goes to unless told otherwise, as
        `models.networks.adapters.Adapter` has it.
    family : str
        Name without options, which options leave as it is. Left out where that is the name.
    reference : str
        Of a network from a user's file: what `models.networks.parse_architecture` finds it by
        again, in another process too. Empty where that is the name.

    Raises
    ------
    TrainingSettingsError
        If the name cannot be, or the window is not above 0.
    """

    name: str
    build: Callable[..., nn.Module]
    accepts: type[Spec] = FeatureSpec
    takes: Spec | None = None
    window: float | None = None
    is_centred: bool = False
    needs_unit: bool = False
    has_width: bool = True
    options: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict, hash=False)
    head: str = "dense"
    adapts: str = "*"
    family: str = ""
    reference: str = ""

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
        object.__setattr__(self, "family", self.family or self.name)

    def with_options(self, suffixes: str) -> Self | None:
        """The network that ``name + suffixes`` names: with options off their default.

        None if there is no such one; each network has one name.
        """
        if not suffixes:
            return self
        chosen: dict[str, int] = {}
        canonical = ""
        for word, values in self.options.items():
            found = re.search(rf"-{word}(\d+)", suffixes, re.ASCII)
            value = int(found[1]) if found else values[0]
            if value not in values:
                return None
            if value != values[0]:
                canonical += f"-{word}{value}"
                chosen[word] = value
        if canonical != suffixes:
            return None
        return dataclasses.replace(
            self, name=self.name + suffixes, build=partial(self.build, **chosen), options={}
        )

    def require(self, spec: Spec) -> None:
        """Refuse a spec of a kind that this network does not take.

        Raises
        ------
        SpecError
        """
        if not isinstance(spec, self.accepts):
            raise SpecError(
                f"{self.name} takes specs of the kind {self.accepts.kind!r}, and {spec.name} is of "
                f"the kind {spec.kind!r}; choose another --model or another spec"
            )

    def window_frames(self, spec: Spec, n_frames: int) -> int:
        """Frames that the network takes at a time, of a clip of `n_frames`; of waveforms, samples.

        As many as there are whole hops in `window`, or the spec has in a clip of that length where
        the network `is_centred`; at least 1, and all of the clip where it has fewer, or where the
        network takes it whole.
        """
        if self.window is None:
            return n_frames
        n_samples = round(self.window * spec.sr)
        if self.is_centred:
            frames = spec.n_frames(n_samples)
        else:
            frames = math.floor(n_samples / (spec.frame_step * spec.sr))
        return max(1, min(n_frames, frames))

    def n_windows(self, spec: Spec, n_frames: int) -> int:
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

    def new(self, spec: Spec, *, n_frames: int, n_outputs: int, width: float = 1.0) -> nn.Module:
        """Make the network for clips of ``(spec.n_bands, n_frames)``.

        What it takes is a window of these: ``(batch, n_bands, window_frames(spec, n_frames))``.

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
        SpecError
            If it does not take this kind of spec.
        TrainingError
            If it cannot be made so.
        """
        self.require(spec)
        self.check_width(width)
        for field, value in (("n_frames", n_frames), ("n_outputs", n_outputs)):
            if value < 1:
                raise TrainingSettingsError(f"invalid network: {field}={value}; must be at least 1")
        frames = self.window_frames(spec, n_frames)
        if not self.has_width:
            return self.build(spec, n_frames=frames, n_outputs=n_outputs)
        return self.build(spec, n_frames=frames, n_outputs=n_outputs, width=width)
