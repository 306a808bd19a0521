"""Networks of users' own, from files of theirs: ``my_net.py:MyNet``.

To load one is to run its file. So it is the user who names it, and never another file, such as a
checkpoint: these hold its name alone, ``MyNet-3fa9c2d1``, which ends with a digest of the file. Two
versions of a file are two networks, and where the file lies makes no difference.
"""

import contextlib
import dataclasses
import hashlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType

import torch
from torch import nn

from featurestore.errors import MelgridError, TrainingError, TrainingSettingsError
from featurestore.specs.spec import Spec
from models.networks.architecture import Architecture

_REFERENCE = re.compile(
    r"(?P<path>.+\.py):(?P<called>[A-Za-z_]\w*)(?P<options>(-[a-z]+\d+)*)(@(?P<version>[0-9a-f]{8}))?",
    re.ASCII,
)
_NAME = re.compile(r"(?P<called>[\w-]+)-[0-9a-f]{8}", re.ASCII)


def is_reference(text: object) -> bool:
    """Whether it names a file of code and what in it: ``my_net.py:MyNet``."""
    return isinstance(text, str) and _REFERENCE.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether it is the name of an own network: ``MyNet-3fa9c2d1``, of which file is not said."""
    return _NAME.fullmatch(text) is not None


def load_own(reference: str) -> Architecture:
    """Run a user's file, and find the network in it.

    A version of a file is run once in a process, which stays with it when the file is changed.

    Parameters
    ----------
    reference : str
        ``my_net.py:MyNet``, relative to the working directory: a class, or whatever else makes a
        network when it is called as ``MyNet(spec, n_frames=, n_outputs=)``, and with ``width=`` if
        it has such a parameter; or an `Architecture`, whose options may follow. What
        `Architecture.reference` was: another version of the file is refused.

    Raises
    ------
    TrainingSettingsError
        If there is no such file, if running it fails, or if there is no such network in it.
    """
    found = _REFERENCE.fullmatch(reference)
    assert found is not None
    path, called, options = Path(found["path"]).absolute(), found["called"], found["options"]
    module, version = _run(path, found["version"])
    architecture = _architecture(module, path, called)
    with_options = architecture.with_options(options)
    if with_options is None:
        known = "".join(f"[-{word}N]" for word in architecture.options) or "no options"
        raise TrainingSettingsError(f"{_shown(path)}: {called} has {known}, not {options!r}")
    return dataclasses.replace(
        with_options,
        name=f"{with_options.name}-{version}",
        family=f"{with_options.family}-{version}",
        build=_Build(make=with_options.build, called=called, path=path),
        reference=f"{path}:{called}{options}@{version}",
    )


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Raise what goes wrong in a user's file as an error that names its line; all else passes.

    Raises
    ------
    TrainingError
    """
    try:
        yield
    except MelgridError:
        raise
    except Exception as error:
        if (line := _line_of(error)) is None:
            raise
        raise TrainingError(f"{line}: {_said(error)}") from error


class _Source(importlib.abc.ExecutionLoader):
    """Loads a module from the very bytes that its version is of; keeps no compiled copy."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path, self._source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._source)

    def is_package(self, fullname: str) -> bool:
        return False


def _run(path: Path, version: str | None) -> tuple[ModuleType, str]:
    """Module of the file, and the version that it is."""
    key = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:8]
    if version is not None and (module := sys.modules.get(f"own_{key}_{version}")):
        return module, version
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise TrainingSettingsError(
            f"there is no file {_shown(path)}; a network of your own is --model FILE.py:CLASS, "
            "at the same path on every machine that trains it"
        ) from None
    except OSError as error:
        raise TrainingSettingsError(f"{_shown(path)} cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(source).hexdigest()[:8]
    if version not in (None, digest):
        raise TrainingSettingsError(
            f"{path} is of version {digest} here, and {version} is asked for: is it the same file "
            "on every machine, or was it changed meanwhile? Run again"
        )
    name = f"own_{key}_{digest}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path, loader=_Source(path, source))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where dataclasses look for themselves
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            line = _line_of(error) or _shown(path)
            if isinstance(error, SyntaxError) and error.filename in (None, str(path)):
                line = f"{_shown(path)}:{error.lineno or 1}"
            raise TrainingSettingsError(f"{line}: {_said(error)}") from error
    return sys.modules[name], digest


def _architecture(module: ModuleType, path: Path, called: str) -> Architecture:
    """What the file says of the network that is called so, by the name that it has there."""
    made = getattr(module, called, None)
    if isinstance(made, Architecture):
        return made
    if made is None:
        there = [name for name, value in vars(module).items() if _is_network(value, module)]
        raise TrainingSettingsError(
            f"{_shown(path)} has no {called}; "
            + (f"it has {', '.join(there)}" if there else "there is no network in it")
        )
    if isinstance(made, nn.Module) or not callable(made):
        raise TrainingSettingsError(
            f"{_shown(path)}: {called} is of type {type(made).__name__}; name the class, or a "
            "function that makes the network"
        )
    parameters = inspect.signature(made)
    width = {"width": 1.0} if "width" in parameters.parameters else {}
    try:
        parameters.bind(None, n_frames=1, n_outputs=1, **width)
    except TypeError as error:
        line = _line_in(path, getattr(made, "__init__", None), made)
        raise TrainingSettingsError(
            f"{line}: {called} is not made by {called}(spec, n_frames=…, n_outputs=…), with "
            f"width=… if it has one: {error}"
        ) from None
    return Architecture(name=called, build=made, has_width=bool(width))


def _is_network(value: object, module: ModuleType) -> bool:
    is_class = isinstance(value, type) and issubclass(value, nn.Module)
    return isinstance(value, Architecture) or (is_class and value.__module__ == module.__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Build:
    """Makes a user's network, and looks at what it gives."""

    make: Callable[..., nn.Module]
    called: str
    path: Path

    def __call__(
        self, spec: Spec, *, n_frames: int, n_outputs: int, width: float | None = None
    ) -> nn.Module:
        scaled = {} if width is None else {"width": width}
        try:
            with user_errors():
                network = self.make(spec, n_frames=n_frames, n_outputs=n_outputs, **scaled)
        except MelgridError:
            raise
        except Exception as error:  # in what the file calls, not in the file
            raise TrainingError(
                f"{_shown(self.path)}: {self.called} cannot be made: {_said(error)}"
            ) from error
        if not isinstance(network, nn.Module):
            raise TrainingError(
                f"{_shown(self.path)}: {self.called} makes what is of type "
                f"{type(network).__name__}, not a torch.nn.Module"
            )
        if not any(weights.requires_grad for weights in network.parameters()):
            raise TrainingError(f"{_shown(self.path)}: {self.called} has no weights to learn")

        def check(network: nn.Module, inputs: tuple[torch.Tensor], outputs: object) -> None:
            shape = (inputs[0].shape[0], n_outputs)
            if isinstance(outputs, torch.Tensor) and outputs.shape == shape:
                return
            given = f"what is of type {type(outputs).__name__}"
            if isinstance(outputs, torch.Tensor):
                given = f"a tensor of {tuple(outputs.shape)}"
            raise TrainingError(
                f"{_line_in(self.path, type(network).forward)}: {self.called} gives {given} for "
                f"{shape[0]} windows, not of {shape}: n_outputs for each"
            )

        network.register_forward_hook(check)
        return network


def _line_of(error: BaseException) -> str | None:
    """File and line of the last step in a user's file; None if there is none."""
    line, step = None, error.__traceback__
    while step is not None:
        loader = step.tb_frame.f_globals.get("__loader__")
        if isinstance(loader, _Source):
            line = f"{_shown(loader.path)}:{step.tb_lineno}"
        step = step.tb_next
    return line


def _line_in(path: Path, *functions: object) -> str:
    """File, and line where the first of these begins that is in it."""
    for function in functions:
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        if isinstance(code, CodeType) and code.co_filename == str(path):
            return f"{_shown(path)}:{code.co_firstlineno}"
    return _shown(path)


def _said(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = text.strip().splitlines()[0] if text.strip() else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _shown(path: Path) -> str:
    """Short where it is below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
