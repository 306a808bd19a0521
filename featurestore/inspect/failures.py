"""Clips that failed, and why."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore.store import FeatureStore


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailedClip:
    """A clip that has no values.

    Attributes
    ----------
    clip_id, path : str
    reason, detail : str
        As `featurestore.errors.AudioError` has them.
    """

    clip_id: str
    path: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailureList:
    """The clips of a store that failed.

    Attributes
    ----------
    failures : tuple of FailedClip
        In the order of the rows.
    n_clips : int
        Clips of the store.
    """

    failures: tuple[FailedClip, ...]
    n_clips: int

    def json(self) -> list[dict[str, Any]]:
        """Return the fields as plain values."""
        return [dataclasses.asdict(failure) for failure in self.failures]

    def lines(self) -> list[str]:
        """A line per clip."""
        return [f"{clip.clip_id}: {clip.reason}: {clip.detail}" for clip in self.failures]

    def __str__(self) -> str:
        return f"{len(self.failures):,} of {self.n_clips:,} clips failed"


def list_failures(store: "FeatureStore") -> FailureList:
    """Read which clips of a store failed."""
    clips = store.clips
    failed = clips.loc[clips["status"] == "failed", ["clip_id", "path", "reason", "detail"]]
    failures = (
        FailedClip(clip_id=clip_id, path=path, reason=reason, detail=detail)
        for clip_id, path, reason, detail in failed.itertuples(index=False)
    )
    return FailureList(failures=tuple(failures), n_clips=len(clips))
