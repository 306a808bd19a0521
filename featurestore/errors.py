"""Every error that a user can cause, under one root.

Each also derives from the fitting built-in, so that ``except ValueError`` and friends work as
expected. A message says what is wrong, which value, where, and what to do about it.
"""


class MelgridError(Exception):
    """Root of all errors that melgrid raises on purpose."""


class SpecError(MelgridError, ValueError):
    """Invalid parameters of a spec, or a name that does not parse to one."""


class SettingsError(MelgridError, ValueError):
    """Invalid setting other than a spec's, or an unknown key in stored settings."""


class CatalogError(MelgridError, ValueError):
    """A collection that cannot be listed as given: no audio, duplicate ids, missing columns."""


class StoreNotFoundError(MelgridError, FileNotFoundError):
    """There is no store at that path."""


class StorageError(MelgridError, OSError):
    """Object storage that cannot be reached, or refuses what is asked of it."""


class StoreFormatError(MelgridError, ValueError):
    """A store that cannot be understood: another version, foreign, or damaged metadata."""


class StoreMismatchError(MelgridError, ValueError):
    """A store exists there, and was made with other settings."""


class StoreLockedError(MelgridError, BlockingIOError):
    """Another run is writing to the store."""


class UnknownSpecError(MelgridError, KeyError):
    """The store neither holds that spec nor can derive it."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message in quotes


class UnknownClipError(MelgridError, LookupError):
    """The store has no clip of that id, or no such row."""


class RowNotReadyError(MelgridError, LookupError):
    """The row exists, but holds no values: its clip failed or is pending."""


class CorruptDataError(MelgridError, OSError):
    """Stored bytes are missing, truncated or do not match their checksum.

    Attributes
    ----------
    detail : str
        What is wrong with them.
    key : str
        Of the file below the store's root; empty where what raises this cannot know.
    position : int or None
        Of the one clip in the shard that it is about; None for all of the file.
    """

    def __init__(self, detail: str, *, key: str = "", position: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.key = key
        self.position = position

    def __str__(self) -> str:
        clip = "" if self.position is None else f", clip {self.position}"
        where = f"{self.key}{clip}: " if self.key else ""
        return f"{where}{self.detail}; run melgrid verify --repair, then featurize again"


class AudioError(MelgridError, OSError):
    """One track cannot become a row. ``reason`` is one of `AUDIO_REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in AUDIO_REASONS:
            raise ValueError(f"reason {reason!r} is not one of {', '.join(AUDIO_REASONS)}")
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["AudioError"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class OutputError(MelgridError, OSError):
    """A file or folder, other than a store, that cannot be written where it was asked for."""


class RunError(MelgridError, RuntimeError):
    """A run that could not do what it was asked: too many failures, no workers, no space."""


class TrainingError(MelgridError, ValueError):
    """Data that a model cannot be trained or judged on."""


class TrainingSettingsError(TrainingError, SettingsError):
    """Invalid setting of a network, a training or a study."""


AUDIO_REASONS = (
    "EmptyFile",
    "DecodeError",
    "TruncatedAudio",
    "TooShort",
    "NonFinite",
    "Unreadable",
)
