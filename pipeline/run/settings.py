"""Settings of a run, apart from the specs."""

import dataclasses
from typing import TYPE_CHECKING

from featurestore.errors import SettingsError
from featurestore.specs.augmentation import Augmentation
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.spec import Spec

if TYPE_CHECKING:
    from pipeline.features.backends import BackendName


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of a run, apart from the specs.

    Parameters
    ----------
    window : Excerpt
    encoding : Encoding, optional
        Of specs whose kind may be stored so; None, and others, is their kind's usual one.
    codec : Codec
    backend : {'native', 'librosa', 'essentia'}
    workers : int
        Worker processes of the local cluster, one thread each; None for one a core.
    scheduler : str
        Address of a running Dask scheduler to use instead; None for a local cluster.
    seed : int
        What perturbations draw from, with the clips' ids.
    augmentation : Augmentation, optional
        What draws are made by, where specs are asked for under such conditions.
    timeout : float
        How long one clip may take [s].
    views : bool
        Whether specs that can be derived from others asked for, or from stored ones, are not
        stored, see `featurestore.specs.views`.
    prune : bool
        Whether clips whose tracks the catalog no longer has are no longer to be read.

    Raises
    ------
    SettingsError
        If a value is out of range.
    """

    window: Excerpt = Excerpt()
    encoding: Encoding | None = None
    codec: Codec = Codec()
    backend: "BackendName" = "native"
    workers: int | None = None
    scheduler: str | None = None
    seed: int = 0
    augmentation: Augmentation | None = None
    timeout: float = 300.0
    views: bool = False
    prune: bool = False

    def encoding_of(self, spec: Spec) -> Encoding:
        """How the values of a spec are stored."""
        if self.encoding is not None and self.encoding.name in spec.encodings:
            return self.encoding
        return Encoding(name=spec.encodings[0])

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise SettingsError(f"workers is {self.workers}; it must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"seed is {self.seed}; it must be from 0 to 2**63 - 1")
        if not 0 < self.timeout <= 1e9:  # the system's timers know no more
            raise SettingsError(
                f"timeout is {self.timeout:g} s; it must be more than 0 s, and 1e9 s at most"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailureLimit:
    """Number or share of clips that may fail before a run counts as failed.

    Parameters
    ----------
    share : float
        Of the catalog's clips, from 0 to 1.
    count : int
        Used instead of the share, if given.
    """

    share: float = 0.05
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> "FailureLimit":
        """Read ``5%`` or ``100``.

        Raises
        ------
        SettingsError
            If it is neither.
        """
        try:
            limit = (
                cls(share=float(text.removesuffix("%")) / 100)
                if text.endswith("%")
                else cls(count=int(text))
            )
        except ValueError:
            limit = cls(share=-1)
        if not 0 <= limit.share <= 1 or (limit.count or 0) < 0:
            raise SettingsError(
                f"max-failures is {text!r}; it must be a share or a number: 5%, 100"
            )
        return limit

    def __str__(self) -> str:
        return f"{100 * self.share:g}%" if self.count is None else str(self.count)

    def allows(self, n_failed: int, n_clips: int) -> bool:
        """Return whether a run of `n_clips` clips counts as done with so many failures."""
        return n_failed <= (self.share * n_clips if self.count is None else self.count)
