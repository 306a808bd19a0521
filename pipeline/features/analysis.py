"""What a kind of spec brings to a plan."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from featurestore.format.statistics import Statistics
from featurestore.specs.encoding import Encoding
from featurestore.specs.spec import Spec
from pipeline.features.backends import BackendName
from pipeline.features.signal import Signal

Made = tuple[Spec, npt.NDArray[Any], Statistics]
"""A spec, its values of one clip, encoded, ``(n_bands, n_frames)``, and their statistics."""


class Analysis(Protocol):
    """What some specs of the same rate and condition share."""

    @property
    def specs(self) -> Sequence[Spec]:
        """What it computes."""

    def compute(
        self, signal: Signal, backend: BackendName, encodings: Mapping[Spec, Encoding]
    ) -> Iterator[Made]:
        """Values of every spec for one clip.

        Raises
        ------
        AudioError
            ``NonFinite``, if the samples are so large that their power overflows.
        """

    def lines(self) -> list[str]:
        """The steps as lines of text, indented below those they share."""
