"""How a network is trained: settings that validate themselves."""

import dataclasses
import math
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch

from featurestore.errors import TrainingSettingsError
from models.data import TrainingData
from models.data.augment import AUGMENTS, Augment
from models.networks import parse_architecture
from models.networks.adapters import Adapter
from models.networks.architecture import Architecture
from models.networks.own import is_name, is_reference
from models.tasks import parse_task
from models.tasks.classification import Classification
from models.tasks.task import Task
from models.training.recipes import RECIPES, Recipe

Amp = Literal["auto", "bf16", "off"]
ClassWeights = Literal["none", "balanced"]

_OF_RECIPE: Any = None
_MAX_SEED = 2**63 - 1  # torch's generators take no more

_CHOICES = {
    "recipe": tuple(RECIPES),
    "augment": AUGMENTS,
    "amp": get_args(Amp),
    "class_weights": get_args(ClassWeights),
}

_OF_RECIPES = ("epochs", "batch_size", "learning_rate", "weight_decay", "warm_up")
"""Settings that a recipe has numbers for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of a training.

    Parameters
    ----------
    model : str
        A name in `models.networks.ARCHITECTURES`, or a class in a file of one's own,
        ``my_net.py:MyNet``, which is run. It is replaced by `Architecture.reference` then: in
        another process, it is this version of the file or an error.
    task : str
        What is learnt: a name in `models.tasks.TASKS`.
    class_weights : {'none', 'balanced'}
        Of a classification alone: ``balanced`` weighs each class's clips in the loss by the inverse
        of how many there are in the training split.
    width : float
        Scales the network's filters; 1 is the study's network, 0.125 trains on a laptop.
    recipe : {'ferraro2020', 'modern'}
        A key of `models.training.recipes.RECIPES`.
    augment : {'none', 'specaugment', 'mixup'}
        See `models.data.augment`.
    draws : bool
        Whether training clips are read from random draws of them, stored or made each time, see
        `models.data.training_data`; `augment` changes what was read.
    epochs : int
        Passes over the training split. None, here and in the next four, is the recipe's own, and
        is replaced by it: settings that mean the same are equal.
    batch_size : int
        Clips in a batch at most, over all processes; 2 or more, as batch norm needs them.
    learning_rate : float
        The highest one.
    weight_decay : float
        From 0.
    warm_up : float
        Share of all steps over which the learning rate rises, from 0 to 1.
    seed : int
        Of the first weights and the order of the clips. On a CPU, the same seed gives the same
        numbers on the same machine with the same number of threads.
    device : str
        ``auto`` is ``cuda`` where there is one, else ``cpu``; or any device that torch knows.
    adapter : Adapter or None
        What alone is learnt, besides the network's head: `models.networks.adapters`. None is all.
    amp : {'auto', 'bf16', 'off'}
        bfloat16 autocast. ``auto`` is on where the device computes in bfloat16: such GPUs, and
        CPUs with AVX512-BF16 or AMX, where a step was measured to take half the time or less.

    Raises
    ------
    TrainingSettingsError
        If a value cannot be, or a key is unknown (`from_json`).
    """

    model: str = "vgg"
    task: str = "tagging"
    class_weights: ClassWeights = "none"
    width: float = 1.0
    recipe: str = "ferraro2020"
    augment: Augment = "none"
    draws: bool = False
    epochs: int = _OF_RECIPE
    batch_size: int = _OF_RECIPE
    learning_rate: float = _OF_RECIPE
    weight_decay: float = _OF_RECIPE
    warm_up: float = _OF_RECIPE
    seed: int = 0
    device: str = "auto"
    amp: Amp = "auto"
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        architecture = parse_architecture(self.model)
        object.__setattr__(self, "model", architecture.reference or architecture.name)
        parse_task(self.task)
        for field, choices in _CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise TrainingSettingsError(
                    f"{field} is {value!r}; it must be one of {', '.join(choices)}"
                )
        recipe = RECIPES[self.recipe]
        for field in _OF_RECIPES:
            if getattr(self, field) is None:
                object.__setattr__(self, field, getattr(recipe, field))
        for field, low in (("epochs", 1), ("batch_size", 2), ("seed", 0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise TrainingSettingsError(
                    f"{field} is {value!r}; it must be a whole number from {low}"
                )
        if not isinstance(self.adapter, Adapter | None):
            raise TrainingSettingsError(
                f"adapter is {self.adapter!r}; it must be an Adapter, or None"
            )
        if not isinstance(self.draws, bool):
            raise TrainingSettingsError(f"draws is {self.draws!r}; it must be true or false")
        if self.seed > _MAX_SEED:
            raise TrainingSettingsError(f"seed is {self.seed}; it must be at most {_MAX_SEED}")
        for field in ("width", "learning_rate", "weight_decay", "warm_up"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TrainingSettingsError(f"{field} is {value!r}; it must be a number")
            object.__setattr__(self, field, float(value))
        architecture.check_width(self.width)
        if not 0 < self.learning_rate <= 1:
            raise TrainingSettingsError(
                f"learning_rate is {self.learning_rate}; it must be above 0 and at most 1"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise TrainingSettingsError(
                f"weight_decay is {self.weight_decay}; it must be 0 or more"
            )
        if not 0 <= self.warm_up <= 1:
            raise TrainingSettingsError(
                f"warm_up is {self.warm_up}; it must be a share of all steps, from 0 to 1"
            )
        if self.class_weights != "none" and self.task != "classification":
            raise TrainingSettingsError(
                f"class_weights is {self.class_weights!r}, and the task {self.task}; only a "
                "classification has classes: leave it out, or take that task"
            )
        self.torch_device()

    @property
    def schedule(self) -> Recipe:
        """The recipe, with these settings in place of its own numbers."""
        numbers = {field: getattr(self, field) for field in _OF_RECIPES}
        return dataclasses.replace(RECIPES[self.recipe], **numbers)

    @property
    def architecture(self) -> Architecture:
        """The network that `model` names."""
        return parse_architecture(self.model)

    @property
    def normalises(self) -> bool:
        """Whether bands are brought to mean 0 and standard deviation 1 before the network."""
        return RECIPES[self.recipe].normalise and not self.architecture.needs_unit

    def new_task(
        self, tags: tuple[str, ...], labels: npt.NDArray[np.float32] | None = None
    ) -> Task:
        """Make the task that `task` names, for these tags.

        Parameters
        ----------
        tags : tuple of str
        labels : array, shape (n_clips, n_tags), optional
            Those of the training split, which `class_weights` are counted from: the loss needs
            them, predictions and scores do not.
        """
        task = parse_task(self.task)(tags=tags)
        if self.class_weights == "balanced" and labels is not None:
            assert isinstance(task, Classification)
            return task.balanced(labels)
        return task

    def require_learnable(self, data: TrainingData) -> None:
        """Refuse data that the task cannot learn, before anything is trained.

        Raises
        ------
        TrainingError
            If a clip has not exactly one class, where a classification is to be learnt.
        """
        task = parse_task(self.task)(tags=data.tags)
        if isinstance(task, Classification):
            for split in (data.train, data.validation, data.test):
                task.require(split.labels, split.clip_ids)

    def torch_device(self) -> torch.device:
        """Name the device to train on, once torch has found it."""
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            device = torch.device(name)
            torch.empty(0, device=device)  # takes no memory, which a busy GPU might lack
        # No such device, one that torch was built without, another package's, or no name.
        except (RuntimeError, AssertionError, ImportError, TypeError):
            device = None
        if device is None or device.type == "meta":  # which computes nothing
            raise TrainingSettingsError(
                f"device is {name!r}, which torch does not find here; use auto or cpu"
            )
        return device

    def autocast(self) -> bool:
        """Context that computes in bfloat16 where that is safe, if asked for."""
        if self.amp != "auto":
            return self.amp == "bf16"
        if self.torch_device().type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        # Older torch does not tell what the CPU can do: float32 then.
        if self.torch_device().type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
            features = torch.cpu.get_capabilities()
            return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
        return False

    def json(self) -> dict[str, Any]:
        """All fields; of an own network, its name, and not the file that it is from."""
        return dataclasses.asdict(self) | {"model": self.architecture.name}

    @classmethod
    def from_json(cls, fields: dict[str, Any], *, model: str | None = None) -> Self:
        """Read what `json` gave; unknown keys are refused by name.

        Parameters
        ----------
        fields : dict
            They never name a file that is run.
        model : str, optional
            The network that they name; needed where it is from a file of a user's, to say which.

        Raises
        ------
        TrainingSettingsError
            Also if `model` is another network, or another version of it.
        """
        unknown = fields.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise TrainingSettingsError(f"unknown training settings: {', '.join(sorted(unknown))}")
        named = fields.get("model", cls.model)
        if is_reference(named):
            raise TrainingSettingsError(
                f"model is {named!r}: what is read from a file never names another one to run"
            )
        if model is not None:
            given = parse_architecture(model).name
            if given != named:
                raise TrainingSettingsError(
                    f"{model} is {given}, and {named} is needed"
                    + (": the file was changed since" if is_name(given) else "")
                )
            fields = fields | {"model": model}
        if fields.get("adapter") is not None:
            fields = fields | {"adapter": Adapter.from_json(fields["adapter"])}
        return cls(**fields)
