"""What is learnt, one file a task, by the names that settings and checkpoints use."""

from featurestore.errors import TrainingSettingsError
from models.tasks.classification import Classification
from models.tasks.tagging import Tagging
from models.tasks.task import MakeTask

TASKS: dict[str, MakeTask] = {
    "tagging": Tagging,
    "classification": Classification,
}
"""All that can be learnt; a new task is a line above."""


def parse_task(name: str) -> MakeTask:
    """Find the task that a user or a file names.

    Raises
    ------
    TrainingSettingsError
        If there is no such task.
    """
    if name not in TASKS:
        raise TrainingSettingsError(f"task is {name!r}; it must be one of {', '.join(TASKS)}")
    return TASKS[name]
