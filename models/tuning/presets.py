"""Named sets of spaces, as a publication searched them."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.errors import TrainingSettingsError
from models.tuning.space import Space, settings_with

PRESETS = {
    "ast-dora": (
        "learning_rate=log:5e-6:5e-4",
        "batch_size=2,4,8,16",
        "warm_up=0.01:0.1",
        "weight_decay=0:0.15",
        "epochs=int:7:20",
        "adapter.layers=10-11,11-11",
        "adapter.rank=int:1:3",
        "adapter.alpha=log:0.1:10",
        "model=ast-hidden50,ast-hidden100,ast-hidden200",
    ),
}
"""By the names that ``--preset`` takes. ``ast-dora``: the nine of a study of AST and DoRA on GTZAN,
in 36 trials by Optuna's TPE."""


def searched(
    texts: Sequence[str], preset: str | None, given: Mapping[str, Any]
) -> tuple[list[Space], list[str]]:
    """List the spaces to search: those that are said, and a preset's.

    Parameters
    ----------
    texts : sequence of str
        As `Space.parse` reads them; they take the place of the preset's of the same name.
    preset : str or None
        A key of `PRESETS`. Of its spaces, those that settings cannot have are left out: of an
        adapter where there is none, of a network that is not known here.
    given : mapping of str to object
        Settings that all trials share.

    Returns
    -------
    spaces : list of Space
    notes : list of str
        What to tell the user of those that were left out.

    Raises
    ------
    TrainingSettingsError
        If a text is no space, or there is no such preset.
    """
    said = [Space.parse(text) for text in texts]
    if preset is None:
        return said, []
    if preset not in PRESETS:
        raise TrainingSettingsError(
            f"there is no preset {preset!r}; there are {', '.join(PRESETS)}"
        )
    spaces, notes = [], []
    names = {space.name for space in said}
    for space in map(Space.parse, PRESETS[preset]):
        if space.name in names:
            continue
        try:
            for value in space.ends:
                settings_with(given, {space.name: value})
        except TrainingSettingsError as error:
            notes.append(f"left out, {space}: {str(error).partition(';')[0]}")
        else:
            spaces.append(space)
    return [*spaces, *said], notes
