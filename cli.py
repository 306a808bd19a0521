"""Command line: each command parses its options, calls one function and prints what it gives."""

import contextlib
import dataclasses
import functools
import inspect
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from pipeline.features.backends import BackendName

if TYPE_CHECKING:
    from fractions import Fraction

    from featurestore.process.profile import Profile
    from featurestore.result import Result
    from featurestore.specs.augmentation import Augmentation
    from featurestore.specs.perturbation import Condition
    from featurestore.specs.spec import Spec
    from featurestore.store import FeatureStore
    from models.networks.adapters import Adapter
    from models.student.student import TeacherSettings
    from models.study.runs import Vary
    from models.training.settings import TrainSettings
    from pipeline.catalogs import Split, TableSettings
    from pipeline.perturber import Perturber
    from pipeline.run.settings import FailureLimit, RunSettings
    from pipeline.run.summary import RunSummary
    from pipeline.sonify.listening import ListeningPage

# Heavy imports live inside the commands, so that --help answers at once.

DEMO_FOLDER = "melgrid-demo"


def _open_descriptors() -> None:
    """Open standard input, output and error where the caller has closed them, on nothing.

    Else the next file that is opened gets such a number, and what is printed goes into it.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the least number that is free: this one
            os.set_inheritable(opened, True)
            setattr(sys, name, os.fdopen(opened, mode, encoding="utf-8", closefd=False))


def _speak_utf8() -> None:
    """Start over in Python's UTF-8 mode where the locale has another encoding.

    A store's text is UTF-8, and names of files are: read in another encoding, a name with an
    accent is not that of any file once it has been through the store. In this mode all that is
    printed is UTF-8 too. What cannot be printed even so (``PYTHONIOENCODING``, names of files
    that are not UTF-8) is printed as escapes.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode and sys.executable:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Program(click.Command):
    """A command that can be a program of its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, in a process that is put in order first; `main` runs in a process as it is."""
        _open_descriptors()
        _speak_utf8()
        return super().__call__(*args, **kwargs)


class Command(Program):
    """A command that turns what a user can cause into one line and an exit code."""

    interrupted = "interrupted; what is done is kept: run again to continue"

    def invoke(self, ctx: click.Context) -> Any:
        """Run; exit with 1 if it failed, 2 on wrong usage, 130 if interrupted."""
        from featurestore.errors import (
            CatalogError,
            MelgridError,
            SettingsError,
            SpecError,
            StoreMismatchError,
        )

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(f"\n{self.interrupted}", err=True)
            ctx.exit(130)
        except MelgridError as error:
            click.echo(f"Error: {_one_line(str(error))}", err=True)
            usage = (CatalogError, SettingsError, SpecError, StoreMismatchError)
            ctx.exit(2 if isinstance(error, usage) else 1)
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "safetensors", "sklearn"):
                raise
            click.echo(f"Error: {ctx.command_path} needs PyTorch, which is not installed: "
                       "pip install 'melgrid[train]'", err=True)  # fmt: skip
            ctx.exit(1)
        except BrokenPipeError:  # click ends in silence when nobody reads on
            raise
        except OSError as error:  # what the machine refuses: permission, space, a lost disk
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {_one_line(f'{where}{error.strerror or error}')}", err=True)
            ctx.exit(1)


class Whole(Command):
    """A command that keeps nothing unless it comes to its end."""

    interrupted = "interrupted; nothing is written"


class Group(Program, click.Group):
    """Commands under one name."""

    command_class = Command


# Printing


def emit(result: "Result", as_json: bool) -> None:
    """Print a result on stdout: one JSON value, or lines of text."""
    if as_json:
        _print_json(result.json())
    else:
        print_lines(result.lines())


def print_lines(lines: Iterable[str], *, err: bool = False) -> None:
    """Print lines of text."""
    for line in lines:
        click.echo(_one_line(line), err=err)


def _print_json(value: object) -> None:
    # What is not known is nan, which JSON has no word for but null.
    plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
    text = json.dumps(plain, ensure_ascii=(sys.stdout.encoding or "").lower() != "utf-8")
    click.echo(_STEERING.sub(lambda found: json.dumps(found[0])[1:-1], text))


_STEERING = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What names of files may do to a terminal: line breaks, escape sequences, other directions of
writing, letters that are not seen, halves of letters. (Joiners, U+200C and U+200D, are spelling.)
"""


def _one_line(text: str) -> str:
    """Text from files, with control characters escaped."""
    return _STEERING.sub("\ufffd", text)


@contextlib.contextmanager
def _progress(
    what: str, *, quiet: bool, unit: str = "clips"
) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, and what moves it: called with clips done and their total."""
    from featurestore.process.progress import Progress

    with contextlib.ExitStack() as stack:
        shown: list[Progress] = []
        n_done = 0

        def progress(done: int, total: int) -> None:
            nonlocal n_done
            if not shown:  # there is something to count
                bar = Progress(total, unit=unit, what=what, quiet=quiet)
                shown.append(stack.enter_context(bar))
            shown[0].update(done - n_done)
            n_done = done

        yield progress


# Options

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def together(*decorators: Decorator) -> Decorator:
    """Several decorators as one; options are in the help in this order."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def gathered(name: str, make: Callable[..., object], *others: str) -> Decorator:
    """Hand a command one argument, `name`, in place of options: what `make` makes of them.

    They are those that are called like the parameters of `make`, and `others`, as far as the
    command has them.
    """
    parameters = {*inspect.signature(make).parameters, *others}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)  # and what Click has noted on the function: its options
        def called(*args: Any, **values: Any) -> None:
            made = make(**{key: values.pop(key) for key in parameters & values.keys()})
            command(*args, **values, **{name: made})

        return called

    return decorate


class Several(click.ParamType[list[object]]):
    """One or several values, separated by commas."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[object]:
        """Parse ``96,48``."""
        try:
            return [self._parse(part.strip()) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not {self.name}", param, ctx)


def several(
    name: str,
    metavar: str,
    what: str,
    parse: Callable[[str], object],
    text: str,
    *,
    multiple: bool = True,
) -> Decorator:
    """An option that takes one or several values; with `multiple`, repeated too."""

    def flat(_: click.Context, __: click.Parameter, values: Any) -> Any:
        return [value for part in values for value in part] if multiple else values

    kind = Several(what, parse)
    return click.option(
        name, multiple=multiple, type=kind, metavar=f"{metavar},...", callback=flat, help=text
    )


def _parse_hop(text: str) -> "int | Fraction":
    from fractions import Fraction

    return int(text[1:]) if text.startswith("x") else Fraction(int(text), 256)


def _parse_log(text: str) -> str:
    if text not in ("db", "log"):
        raise ValueError(text)
    return text


def _grid(feature: str, grid_name: str | None, mels: Any, **options: Any) -> "tuple[Spec, ...]":
    from featurestore.specs.grid import GRIDS, every
    from featurestore.specs.kinds import KINDS
    from featurestore.specs.presets import specs_for

    networks = options.pop("for", None)
    named = {name: value for name, value in options.items() if value not in (None, (), [])}
    given = {name: value if isinstance(value, list) else [value] for name, value in named.items()}
    given |= {"n_mels": mels} if mels else {}
    if networks:
        if given or grid_name or feature != "mel":
            raise click.UsageError("--for says which specs; leave out all other options of specs")
        return specs_for(networks)
    if grid_name is None:
        return every(KINDS["wave" if feature == "waveform" else feature], given)
    if given.keys() - {"window"} or feature != "mel":
        raise click.UsageError("--grid says which specs; leave out all but --window")
    return GRIDS[grid_name](named.get("window", "hann"))


def _parse_norm(context: click.Context, parameter: click.Parameter, norm: bool | None) -> Any:
    return None if norm is None else "slaney" if norm else "none"


spec_options = together(
    click.option("--feature", type=click.Choice(["mel", "stft", "fbank", "waveform"]),
                 default="mel", show_default=True,
                 help="Mel-spectrograms, power of all bins, Kaldi's filter bank, or samples."),
    several("--for", "NAME", "a name", str,
            "What networks take: fcn, short_res, ast, …; melgrid ls --presets lists all."),
    several("--sr", "HZ", "a sample rate in Hz", int, "Sample rates [Hz].  [16000]"),
    several("--mels", "N", "a number of bands", int,
            "Numbers of mel bands.  [96; fbank 128]"),
    several("--hop", "HOP", "a hop such as x2, or samples", _parse_hop,
            "Hops: x2 is 2 x 256 samples; or samples.  [x1; fbank 160]"),
    several("--log", "SCALING", "db or log", _parse_log, "Amplitude scaling: db, log.  [db]"),
    click.option("--grid", "grid_name", type=click.Choice(["ferraro2020"]),
                 help="A named grid instead: ferraro2020 is the study's 88 specs."),
    click.option("--n-fft", type=int, help="Frame length [samples].  [512]"),
    click.option("--fmin", type=float, help="Lowest frequency [Hz].  [0; fbank 20]"),
    click.option("--fmax", type=float, help="Highest frequency [Hz].  [sr / 2]"),
    click.option("--window", type=click.Choice(["hann", "hann-symmetric"]),
                 help="hann-symmetric gives the study's own numbers.  [hann]"),
    click.option("--win-length", type=int,
                 help="Length of the window [samples].  [n_fft; fbank 400]"),
    click.option("--htk", is_flag=True, default=None, help="HTK's mel scale, not Slaney's."),
    click.option("--norm/--no-norm", default=None, callback=_parse_norm,
                 help="Mel filters of the same area, or of height 1.  [norm]"),
    gathered("grid", _grid, "for", "sr", "hop", "log", "n_fft", "fmin", "fmax", "window",
             "win_length", "htk", "norm"),
)  # fmt: skip
"""Which specs, as `grid`: every combination of the values, or those of a name."""


def _perturbed(perturb: list[str]) -> "tuple[Condition, ...]":
    from featurestore.specs.perturbation import conditions_named

    return tuple(condition for name in perturb for condition in conditions_named(name))


def _conditions(
    perturb: list[str], draws: int | None, aug_prob: float | None
) -> "tuple[tuple[Condition, ...], Augmentation | None]":
    from featurestore.specs.augmentation import MTAT, Augmentation
    from featurestore.specs.perturbation import Condition

    if draws is None:
        if aug_prob is not None:
            raise click.UsageError("--aug-prob is of random draws: give --draws N too")
        return _perturbed(perturb), None
    augmentation = Augmentation.parse(
        ",".join(perturb) or MTAT, 0.5 if aug_prob is None else aug_prob
    )
    return tuple(Condition(draw=number) for number in range(draws)), augmentation


perturb_option = several(
    "--perturb", "CONDITION", "a perturbation", str,
    "Store perturbed audio's values too: noise0.1, pitch-1, lowpass1000~mp3-64 (one "
    "after the other), or smc2020, mtat. melgrid ls --perturbations lists all.",
)  # fmt: skip


def _split(split: str | None, split_seed: int | None) -> "Split | None":
    from pipeline.catalogs import Split

    if split is None:
        if split_seed is not None:
            raise click.UsageError("--split-seed is of --split: give it too")
        return None
    return Split.parse(split, split_seed or 0)


split_options = together(
    click.option("--split", metavar="RATIOS",
                 help="Draw splits for a collection that has none: 8:1:1 is train, validation "
                 "and test; by artist where artists are known, each tag in proportion. The store "
                 "keeps how, and later runs draw the same."),
    click.option("--split-seed", type=int, help="What --split draws from.  [0]"),
    gathered("split", _split),
)  # fmt: skip
"""Splits to draw, as `split`."""

condition_options = together(
    perturb_option,
    click.option("--draws", type=click.IntRange(1, 10_000), metavar="N",
                 help="Store N random draws of each clip that may train: it goes through what "
                 "--perturb says, in order, where ranges are drawn from.  "
                 "[gauss0.005,stretch0.8:1.2,pitch-5:5]"),
    click.option("--aug-prob", type=float,
                 help="Probability of each perturbation in a draw.  [0.5]"),
    click.option("--seed", type=int, default=0, show_default=True,
                 help="What perturbations draw from."),
    gathered("conditions", _conditions),
)  # fmt: skip
"""Under which conditions, as `conditions`: those, and what draws among them are made by."""


def _table_settings(
    path_column: str,
    root: str | None,
    label: Sequence[str] = (),
    tags: Sequence[str] = (),
    meta: Sequence[str] = (),
) -> "TableSettings":
    from pipeline.catalogs import TableSettings

    return TableSettings(label=label, tags=tags, meta=meta, path_column=path_column, root=root)


def _columns_option(name: str, text: str) -> Decorator:
    return several(name, "COLUMN", "a column's name", str, text)


place_options = (
    click.option("--path-column", metavar="COLUMN", default="path", show_default=True,
                 help="Column with the tracks' paths."),
    click.option("--root", metavar="FOLDER",
                 help="Folder that the table's paths are relative to.  [the table's]"),
    gathered("table", _table_settings, "label", "tags", "meta"),
)  # fmt: skip
"""Where a table of tracks has its paths; as `table`, with what else a command has of one."""

table_options = together(
    _columns_option("--label", "Columns in which each value is a tag: genre."),
    _columns_option("--tags", "Columns of lists of tags: rock|pop, or [\"rock\", \"pop\"]."),
    _columns_option("--meta", "Columns to copy into the store: title,tempo,year."),
    *place_options,
)  # fmt: skip
"""How a table of tracks is read, as `table`."""


def _run_settings(encoding: Any, codec: Any, **options: Any) -> "RunSettings":
    from featurestore.specs.encoding import Codec, Encoding
    from featurestore.specs.excerpt import Excerpt
    from pipeline.run.settings import RunSettings

    of_window = options.keys() & {"duration", "take", "short"}
    return RunSettings(
        window=Excerpt(**{key: options.pop(key) for key in of_window}),
        encoding=None if encoding is None else Encoding(name=encoding),
        codec=Codec(name=codec),
        **options,
    )


kept_options = together(
    click.option("--encoding", type=click.Choice(["float32", "float16", "uint8"]),
                 help="How values are stored.  [float16; waveforms int16]"),
    click.option("--codec", type=click.Choice(["zstd", "lz4", "none"]),
                 default="zstd", show_default=True, help="How bytes are compressed."),
    gathered("settings", _run_settings, "duration", "take", "short", "backend", "workers",
             "scheduler", "timeout", "views", "prune", "seed"),
)  # fmt: skip
"""How values are stored; with what else a command has of a run, as `settings`."""

duration_option = click.option(
    "--duration", type=float, default=29.1, show_default=True, help="Length of a clip [s]."
)

audio_options = together(
    click.option("--catalog", metavar="NAME",
                 help="AUDIO is the folder of a known data set: mtat, mtat-clean, "
                 "mtat-all, jamendo, gtzan, gtzan-all, msd, fma-small, …"),
    table_options,
    kept_options,
    duration_option,
    click.option("--backend", type=click.Choice(get_args(BackendName)),
                 default="native", show_default=True, help="What computes the spectra."),
    click.option("--report", metavar="FILE", help="Write Dask's performance report, in HTML."),
)  # fmt: skip
"""What the audio is, and what is made of it."""

timeout_option = click.option(
    "--timeout", type=float, default=300.0, show_default=True, help="Time limit per clip [s]."
)

run_options = together(
    click.option("--take", type=click.Choice(["center", "first", "all"]), default="center",
                 show_default=True,
                 help="Excerpt of a track that is the clip; all cuts it into consecutive clips."),
    click.option("--short", type=click.Choice(["pad", "skip"]), default="pad",
                 show_default=True, help="What to do with tracks shorter than a clip."),
    click.option("--workers", type=int, help="Worker processes.  [one per core]"),
    click.option("--scheduler", metavar="ADDRESS", help="Use a running Dask scheduler: tcp://…"),
    timeout_option,
    click.option("--views", is_flag=True,
                 help="Store only what cannot be derived: hop multiples, and log where db is "
                 "asked for too, are served from what is stored."),
    click.option("--prune", is_flag=True,
                 help="Deactivate clips whose tracks AUDIO no longer has."),
)  # fmt: skip
"""How a run goes about it."""


def _failure_limit(max_failures: str) -> "FailureLimit":
    from pipeline.run.settings import FailureLimit

    return FailureLimit.parse(max_failures)


max_failures_option = together(
    click.option("--max-failures", default="5%", show_default=True,
                 help="How many clips may fail, as a percentage or a number."),
    gathered("limit", _failure_limit),
)  # fmt: skip
"""As `limit`."""


def _open_store(store: str) -> "FeatureStore":
    from featurestore import FeatureStore

    return FeatureStore.open(store)


store_argument = together(click.argument("store"), gathered("store", _open_store))
"""A store to read, opened."""

output_store_option = click.option(
    "-o", "--output", "store", default="features.zarr", show_default=True,
    help="The store: created if it does not exist, else what it lacks is added.",
)  # fmt: skip

quiet_option = click.option("--quiet", is_flag=True, help="Print nothing but errors.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def specs_option(text: str) -> Decorator:
    """``--specs``: which of a store's."""
    kind = Several("a spec's name", str)
    return click.option("--specs", "--spec", "specs", type=kind, metavar="NAME,...", help=text)


compared_option = click.option(
    "--conditions", type=Several("a condition", str), metavar="NAME,...",
    callback=lambda _ctx, _param, names: "all" if names == ["all"] else names,
    help="Conditions of these specs to compare: clean,noise0.1, or all.  [with --specs none but "
    "those named, else all that are stored; fewer where they do not fit]",
)  # fmt: skip


def folder_option(default: str, text: str) -> Decorator:
    """``--output``: a folder."""
    return click.option(
        "-o", "--output", "folder", default=default, show_default=True, metavar="FOLDER", help=text
    )


def seed_option(text: str) -> Decorator:
    """``--seed``."""
    return click.option("--seed", type=int, default=0, show_default=True, help=text)


method_option = click.option(
    "--method", type=click.Choice(["griffin-lim", "noise"]), default="griffin-lim",
    show_default=True, help="Phases that fit the magnitudes, or those of white noise.",
)  # fmt: skip


def models_option(text: str) -> Decorator:
    """``--models``: one or several networks."""
    kind = Several("a network's name", str)
    return click.option(
        "--models", type=kind, default="vgg", metavar="NAME,...", show_default=True, help=text
    )


def _perturber(perturb: list[str], aug_prob: float | None) -> "Perturber | None":
    from featurestore.specs.augmentation import Augmentation
    from pipeline.perturber import Perturber

    if not perturb:
        if aug_prob is not None:
            raise click.UsageError("--aug-prob is of --perturb: give it too")
        return None
    probability = 0.5 if aug_prob is None else aug_prob
    return Perturber(augmentation=Augmentation.parse(",".join(perturb), probability))


def conditions_option(text: str) -> Decorator:
    """``--conditions``: which to test under besides."""
    return several("--conditions", "NAME", "a condition's name", str, text)


model_option = click.option(
    "--model", default="vgg", show_default=True, metavar="NAME",
    help="Network; or a class in a file of your own, which is run: my_net.py:MyNet.",
)  # fmt: skip

own_model_option = click.option(
    "--model", metavar="FILE.py:CLASS",
    help="Where the checkpoint's network is, if it is from a file of your own.",
)  # fmt: skip


def width_option(text: str) -> Decorator:
    """``--width``."""
    return click.option("--width", type=float, default=1.0, show_default=True, help=text)


device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …"
)

step_options = together(
    width_option("Scales the numbers of filters; 0.125 trains on a laptop."),
    click.option("--recipe", type=click.Choice(["ferraro2020", "modern", "won2020", "won2021",
                                                "mtat-report-1", "mtat-report-2",
                                                "ast-dora"]),
                 default="ferraro2020", show_default=True,
                 help="ferraro2020 is the study's: Adam at a constant rate; modern is "
                 "AdamW with warm-up, cosine decay, averaged weights, early stopping; won2020 "
                 "goes from Adam to SGD, and judges a clip by 16 windows; won2021 is "
                 "Adam, and judges by 8; ast-dora is for adapters."),
    click.option("--augment", type=click.Choice(["none", "specaugment", "mixup"]),
                 default="none", show_default=True, help="Augmentation of training clips."),
    click.option("--draws", is_flag=True,
                 help="Read training clips from their random draws, of featurize --draws; "
                 "--augment comes after."),
    click.option("--batch-size", type=int, help="Clips per batch.  [the recipe's]"),
    device_option,
    click.option("--amp", type=click.Choice(["auto", "bf16", "off"]), default="auto",
                 show_default=True, help="bfloat16 where the device has it."),
)  # fmt: skip
"""What a training step costs."""


def _adapter(
    adapter: str | None,
    rank: int | None,
    alpha: float | None,
    adapt_layers: tuple[int, int] | None,
    adapt_modules: str | None,
) -> "Adapter | None":
    from models.networks.adapters import Adapter

    fields = {
        "rank": rank, "alpha": alpha, "layers": adapt_layers, "modules": adapt_modules
    }  # fmt: skip
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if adapter is not None:
        kind: Any = adapter
        return Adapter(kind=kind, **given)
    if given:
        raise click.UsageError("--rank, --alpha and --adapt-… are of --adapter: give it too")
    return None


class LayerRange(click.ParamType[tuple[int, int]]):
    """First and last layer: ``10-11``, or one."""

    name = "layers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse ``10-11``."""
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", value, re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not a range of layers, such as 10-11", param, ctx)
        return int(found[1]), int(found[2] or found[1])


adapter_options = together(
    click.option("--adapter", type=click.Choice(["lora", "dora", "dora-column"]),
                 help="Learn by an adapter and in the head alone. dora is peft's; dora-column "
                 "is that of the study of AST on GTZAN."),
    click.option("--rank", type=int, help="Of the adapter's matrices.  [2]"),
    click.option("--alpha", type=float,
                 help="Scales what it changes, divided by rank; undivided in dora-column.  [8]"),
    click.option("--adapt-layers", type=LayerRange(), metavar="FIRST-LAST",
                 help="Numbered layers that it goes to, from 0: 10-11.  [all]"),
    click.option("--adapt-modules", metavar="PATTERN",
                 help="Dense layers in these, by name: output.dense, *.  [the network's choice]"),
    gathered("adapter", _adapter, "adapter", "rank", "alpha", "adapt_layers", "adapt_modules"),
)  # fmt: skip
"""What alone is learnt, as `adapter`."""

init_option = click.option(
    "--init", metavar="CHECKPOINT",
    help="Start from its weights; the head is new where tags differ.",
)  # fmt: skip

training_options = together(
    click.option("--task", type=click.Choice(["tagging", "classification"]), default="tagging",
                 show_default=True,
                 help="Any number of tags a clip, or one class of several."),
    click.option("--class-weights", type=click.Choice(["none", "balanced"]), default="none",
                 show_default=True, help="Of --task classification: weigh rare classes more."),
    step_options,
    several("--perturb", "CONDITION", "a perturbation", str,
            "Perturb training clips anew each time, waveforms alone: gauss0.005,stretch0.8:1.2 "
            "(ranges are drawn from)."),
    click.option("--aug-prob", type=float,
                 help="Probability of each --perturb.  [0.5]"),
    gathered("perturber", _perturber, "perturb", "aug_prob"),
    click.option("--epochs", type=int, help="Passes over the training split.  [the recipe's]"),
    click.option("--learning-rate", type=float, help="Peak learning rate.  [the recipe's]"),
    click.option("--weight-decay", type=float, help="Of the optimiser.  [the recipe's]"),
    click.option("--warm-up", type=float,
                 help="Share of the steps over which the rate rises.  [the recipe's]"),
    seed_option("Of the initial weights and the order of clips."),
    several("--tags", "TAG", "a tag", str, "Tags to learn.  [all]", multiple=False),
)  # fmt: skip
"""How networks are trained."""


def _teacher(
    teacher: str | None,
    unlabelled: str | None,
    mixing: float | None,
    teacher_model: str | None,
) -> "TeacherSettings | None":
    if teacher is None:
        if (unlabelled, mixing, teacher_model) != (None, None, None):
            raise click.UsageError(
                "--unlabelled, --mixing and --teacher-model are of --teacher: give it too"
            )
        return None
    from models.student.student import TeacherSettings

    return TeacherSettings(
        checkpoint=teacher,
        model=teacher_model,
        unlabelled=None if unlabelled is None else _open_store(unlabelled),
        mixing=1.0 if mixing is None else mixing,
    )


teacher_options = together(
    click.option("--teacher", metavar="CHECKPOINT",
                 help="Learn from what it says of clips without labels, too; half of each batch."),
    click.option("--unlabelled", metavar="STORE",
                 help="Where these are: its rows of the split 'unlabelled' and of none.  [those of "
                 "STORE of the split 'unlabelled', or whose labels are hidden]"),
    click.option("--mixing", type=float, metavar="WEIGHT",
                 help="Weight of what the teacher says; 0 is without it.  [1]"),
    click.option("--teacher-model", metavar="FILE.py:CLASS",
                 help="Where the teacher's network is, if it is from a file of your own."),
    gathered("teacher", _teacher, "teacher"),
)  # fmt: skip
"""Whom a student learns from."""


# Commands


@click.group(cls=Group, context_settings={"max_content_width": 80})
@click.version_option(package_name="melgrid")
def melgrid() -> None:
    """Mel-spectrograms of a music collection at any number of resolutions, in one
    Zarr store, ready to train on.
    """  # noqa: D205


@melgrid.command()
@click.argument("audio", required=False)
@output_store_option
@spec_options
@condition_options
@audio_options
@split_options
@run_options
@max_failures_option
@click.option(
    "--dashboard", is_flag=True, help="Serve Dask's dashboard, to all users of this machine."
)
@click.option("--dry-run", is_flag=True, help="Print shapes, bytes and tasks; do nothing.")
@quiet_option
@json_option
def featurize(
    audio: str | None,
    store: str,
    grid: "tuple[Spec, ...]",
    conditions: "tuple[tuple[Condition, ...], Augmentation | None]",
    catalog: str | None,
    table: "TableSettings",
    split: "Split | None",
    settings: "RunSettings",
    limit: "FailureLimit",
    report: str | None,
    dashboard: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Turn AUDIO into a store of mel-spectrograms, or of other representations.

    AUDIO is a folder, a table of paths and tags (CSV, JSON lines, Parquet), or
    a data set's folder with --catalog. If it is left out, a small labelled demo
    corpus is made and used. Options that take several values, such as --mels 96,48,
    give a grid: every combination, from one decode of each track.

    Run again to continue after an interruption, or to add tracks or specs: only
    what is missing is computed.
    """
    from featurestore.specs.grid import under
    from pipeline.catalogs import drawn_lines, open_catalog
    from pipeline.run.run import preview, run

    specs = under(grid, conditions[0])
    settings = dataclasses.replace(settings, augmentation=conditions[1])
    silent = quiet or as_json
    if audio is None:
        if not silent:
            print_lines(["No AUDIO given: using the demo corpus, made if need be."], err=True)
        audio = _demo_corpus(DEMO_FOLDER, quiet=silent)
    tracks = open_catalog(audio, catalog, table, split)
    if not silent:
        print_lines([*tracks.lines(), *drawn_lines(tracks)], err=True)
    if dry_run:
        emit(preview(tracks, specs, settings), as_json)
        return
    summary = run(tracks, store, specs, settings, quiet=silent, dashboard=dashboard, report=report)
    _emit_run(summary, limit, quiet=quiet, as_json=as_json)


def _emit_run(summary: "RunSummary", limit: "FailureLimit", *, quiet: bool, as_json: bool) -> None:
    """Print what a run did; too many failures are an error."""
    if as_json or not quiet:
        emit(summary, as_json)
    if not (as_json or quiet):
        print_lines(summary.warnings(), err=True)
    if not limit.allows(len(summary.failures), summary.n_clips):
        raise click.ClickException(
            f"{len(summary.failures)} of {summary.n_clips} clips failed, more than "
            f"--max-failures {limit}; melgrid failures {summary.store.path} lists them"
        )


def _demo_corpus(folder: str, *, quiet: bool, **options: int) -> str:
    from pipeline.demo.demo import make_demo

    with _progress(f"demo corpus in {folder}/", quiet=quiet) as progress:
        return str(make_demo(folder, progress=progress, **options))


@melgrid.command()
@click.argument("store", required=False)
@click.option("--presets", is_flag=True, help="List what --for takes instead.")
@click.option("--perturbations", is_flag=True, help="List what --perturb takes instead.")
@json_option
def ls(store: str | None, presets: bool, perturbations: bool, as_json: bool) -> None:
    """List the specs of STORE, and those that it was asked to serve as views."""
    from featurestore.inspect.info import list_specs
    from featurestore.inspect.names import list_perturbations, list_presets

    if presets + perturbations + (store is not None) != 1:
        raise click.UsageError("give STORE, --presets or --perturbations")
    if store is None:
        emit(list_presets() if presets else list_perturbations(), as_json)
        return
    found = list_specs(_open_store(store))
    emit(found, as_json)
    if found.specs and not as_json:
        print_lines(["multiples of these hops, and log of db, can be read as views too"], err=True)


@melgrid.command()
@store_argument
@click.argument("spec", required=False)
@json_option
def info(store: "FeatureStore", spec: str | None, as_json: bool) -> None:
    """Describe STORE, or one SPEC of it."""
    from featurestore.inspect.info import describe, describe_spec

    emit(describe_spec(store, spec, with_values=True) if spec else describe(store), as_json)


@melgrid.command()
@store_argument
@json_option
def failures(store: "FeatureStore", as_json: bool) -> None:
    """List the clips of STORE that failed, and why."""
    from featurestore.inspect.failures import list_failures

    found = list_failures(store)
    emit(found, as_json)
    if not as_json:
        print_lines([str(found)], err=True)


@melgrid.command()
@store_argument
@click.argument("clip")
@specs_option("Specs to draw, as ls lists them.  [all that are stored, 9 at most]")
@compared_option
@click.option(
    "--attention", "checkpoint", metavar="CHECKPOINT",
    help="Draw what CHECKPOINT takes, and the attention that its network pays to each moment.",
)  # fmt: skip
@own_model_option
@click.option("-o", "--output", metavar="FILE", help="The PNG file.  [<clip id>.png]")
@json_option
def show(
    store: "FeatureStore",
    clip: str,
    checkpoint: str | None,
    model: str | None,
    output: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Draw CLIP's specs and conditions side by side.

    CLIP is a clip's id or its row number.
    """
    row = store.table.row_of(clip)
    if model is not None and checkpoint is None:
        raise click.UsageError("--model is of --attention CHECKPOINT: give both")
    if checkpoint is None:
        from featurestore.inspect.picture import draw_clip

        emit(draw_clip(store, row, output, **chosen), as_json)
        return
    if any(chosen.values()):
        raise click.UsageError(
            "--attention draws what its checkpoint takes: leave out --specs and --conditions"
        )
    from featurestore.inspect.captions import file_stem
    from models.report.attention import draw_attention

    output = output or f"{file_stem(store.table.clip_id[row])}.png"
    emit(draw_attention(store, row, checkpoint, output, model=model), as_json)


@melgrid.command()
@store_argument
@click.argument("clip")
@specs_option("Specs to hear, as ls lists them.  [all that are stored, 9 at most]")
@compared_option
@folder_option("sounds", "Where the files go, one per spec and condition.")
@method_option
@click.option(
    "--format", "file_format", type=click.Choice(["wav", "flac", "mp3"]), default="wav",
    show_default=True, help="Of the files.",
)  # fmt: skip
@json_option
def sonify(store: "FeatureStore", clip: str, folder: str, as_json: bool, **options: Any) -> None:
    """Turn CLIP's stored values back into sound.

    CLIP is a clip's id or its row number. What a spec discards, such as phases, is
    synthesised; waveforms are written as stored. All sounds of a call have the same
    gain.
    """
    from pipeline.sonify.sonify import write_sounds

    emit(write_sounds(store, store.table.row_of(clip), folder, **options), as_json)


@melgrid.command()
@click.argument("store")
@specs_option("Specs to hear, as ls lists them.  [all that are stored, 9 at most]")
@compared_option
@folder_option("listening", "Where listen.html goes.")
@click.option("--clips", default=3, show_default=True, help="How many, balanced over the tags.")
@seed_option("Which clips are drawn.")
@method_option
@json_option
def listen(store: str, folder: str, as_json: bool, **options: Any) -> None:
    """Make a page that plays specs and conditions of clips of STORE.

    One self-contained HTML file: players beside their pictures.
    """
    emit(_listening_page(store, folder, quiet=as_json, **options), as_json)


@melgrid.command()
@store_argument
@click.argument("out")
@click.option(
    "--format", "form", type=click.Choice(["hdf5", "npz", "memmap"]), default="hdf5",
    show_default=True,
    help="One file; a folder with one npz per clip, as the study's; or a folder of npy.",
)  # fmt: skip
@specs_option("Specs, or patterns of them: 'sr16000-*'.  [all that are stored]")
@several(
    "--splits", "NAME", "a split's name", str, "Only clips of these splits.  [all clips]",
    multiple=False,
)  # fmt: skip
@click.option(
    "--encoding", type=click.Choice(["float32", "stored"]), default="float32", show_default=True,
    help="stored keeps float16 and uint8 as they are.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what an earlier export left in OUT.")
@quiet_option
@json_option
def export(
    store: "FeatureStore",
    out: str,
    form: Any,
    specs: list[str] | None,
    splits: list[str] | None,
    encoding: Any,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write STORE's values to OUT: HDF5, npz or NumPy files.

    Clips that failed or are pending have no values: they are nan (255 in uint8)
    under a mask, or have no file. docs/export.md describes the formats.
    """
    from featurestore.export import export as write
    from featurestore.export.selection import Selection

    selection = Selection.of(store, specs, splits, encoding)
    written = write(selection, out, form, force=force, quiet=quiet or as_json)
    if as_json or not quiet:
        emit(written, as_json)


@melgrid.command("import")
@click.argument("folder")
@output_store_option
@click.option(
    "--labels", metavar="CSV",
    help="Table of tracks, by the files' paths without .npz; with --catalog a "
    "data set's folder.  [FOLDER's labels.csv, else none]",
)  # fmt: skip
@click.option("--catalog", metavar="NAME", help="Data set that --labels is of: mtat, …")
@table_options
@click.option("--sr", type=int, default=16000, show_default=True,
              help="Sample rate of the audio that was analysed [Hz].")  # fmt: skip
@click.option("--n-fft", type=int, default=512, show_default=True, help="Frame length [samples].")
@click.option("--window", type=click.Choice(["hann", "hann-symmetric"]), default="hann-symmetric",
              show_default=True, help="Window of the frames.")  # fmt: skip
@duration_option
@click.option("--decibels", type=click.Choice(["20", "10"]), default="20", show_default=True,
              help="Factor of log10 of power in decibels: 20 in the study's files.")  # fmt: skip
@specs_option("Specs to import.  [all that the files hold]")
@kept_options
@max_failures_option
@quiet_option
@json_option
def import_(
    folder: str,
    store: str,
    labels: str | None,
    catalog: str | None,
    table: "TableSettings",
    sr: int,
    n_fft: int,
    window: Any,
    decibels: str,
    specs: list[str] | None,
    settings: "RunSettings",
    limit: "FailureLimit",
    quiet: bool,
    as_json: bool,
) -> None:
    """Import FOLDER of npz files, one per clip, into a store.

    The files are the study's (Ferraro et al. 2020), which --sr, --window and so on
    describe, or those of melgrid export, which describe themselves. Run again to
    continue, or to add files.
    """
    from featurestore.specs.mel import FeatureSpec
    from pipeline.npz import import_npz
    from pipeline.npz_folder import NpzFolder

    like = FeatureSpec(sr=sr, n_mels=8, n_fft=n_fft, window=window)
    scale: Any = int(decibels)
    source = NpzFolder.open(
        folder, like, duration=settings.window.duration, decibels=scale, specs=specs
    )
    tracks = source.catalog(labels, catalog, table if table.given() else None)
    summary = import_npz(source, tracks, store, settings, quiet=quiet or as_json)
    _emit_run(summary, limit, quiet=quiet, as_json=as_json)


@melgrid.command()
@store_argument
@click.option(
    "--quick", is_flag=True,
    help="Do not read values: flipped bits in them, and swapped files, are not found.",
)  # fmt: skip
@click.option(
    "--repair", "with_repair", is_flag=True,
    help="Restore what can be derived, and mark the rest as pending: the next "
    "featurize computes only that.",
)  # fmt: skip
@json_option
def verify(store: "FeatureStore", quick: bool, with_repair: bool, as_json: bool) -> None:
    """Check STORE for missing, corrupt and unfinished data.

    Exits with 1 if there is damage; unfinished data are not damage.
    """
    from featurestore.integrity.verify import verify as verify_files
    from featurestore.maintenance.repair import repair

    if with_repair:
        report = repair(store, quick=quick, progress=not as_json)
    else:
        report = verify_files(store.files, store.metadata, quick=quick, progress=not as_json)
    emit(report, as_json)
    if not (report.is_healthy or report.is_repaired):
        click.get_current_context().exit(1)


@melgrid.command()
@click.argument("a")
@click.argument("b")
@json_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Compare stores A and B: clips, labels, specs, values.

    Clips are matched by id, values are compared decoded. Exits with 1 if they
    differ.
    """
    from featurestore.inspect.diff import diff as compare

    found = compare(_open_store(a), _open_store(b), progress=not as_json)
    emit(found, as_json)
    if not found.is_same:
        click.get_current_context().exit(1)


@melgrid.command()
@store_argument
@click.option("--yes", is_flag=True, help="Delete it; else it is only listed.")
@json_option
def gc(store: "FeatureStore", yes: bool, as_json: bool) -> None:
    """List data in STORE that nothing needs, and delete them with --yes.

    These are leftovers of killed runs, values of clips that were pruned, and what
    belongs to no spec. Foreign files are listed and never touched.
    """
    from featurestore.maintenance.garbage import GarbageReport, collect, find_garbage

    found = (collect if yes else find_garbage)(store)
    emit(GarbageReport(garbage=found, is_deleted=yes), as_json)


@melgrid.command()
@spec_options
@models_option("Networks, my_net.py:MyNet among them.")
@width_option("Scales the numbers of filters.")
@click.option("--tags", "n_tags", type=int, default=50, show_default=True, help="Outputs.")
@duration_option
@click.option(
    "--frames", type=click.Choice(["melgrid", "study"]), default="melgrid", show_default=True,
    help="Frames per clip at x1: melgrid's 1 + n // 256, or the study's one more.",
)  # fmt: skip
@click.option("--layers", is_flag=True, help="Count layer by layer.")
@json_option
def macs(grid: "tuple[Spec, ...]", as_json: bool, **options: Any) -> None:
    """Count multiply-accumulates and parameters of networks at specs.

    Convolutions and dense layers count, without biases, and nothing else: as the
    study counts. A network that takes segments is counted for all segments of
    a clip.
    """
    from models.networks import parse_architecture
    from models.networks.cost import macs_table

    architectures = [parse_architecture(name) for name in options.pop("models")]
    emit(macs_table(grid, models=architectures, **options), as_json)


def _train_settings(perturber: "Perturber | None", settings: dict[str, Any]) -> "TrainSettings":
    from models.training.settings import TrainSettings

    if perturber is not None:
        if settings["draws"]:
            raise click.UsageError("--perturb makes draws, --draws reads stored ones: give one")
        settings["draws"] = True
    return TrainSettings(**settings)


@melgrid.command()
@store_argument
@click.option("--spec", help="Its name, as ls lists it.  [the store's only clean one]")
@model_option
@click.option("--fold", type=int, help="Fold to test on.  [the store's own splits]")
@click.option("-o", "--output", default="model.safetensors", show_default=True, help="Checkpoint.")
@init_option
@adapter_options
@click.option(
    "--save-adapter",
    metavar="FILE",
    help="Write what --adapter learnt alone, in place of the checkpoint.",
)
@click.option("--tensorboard", metavar="FOLDER", help="Write TensorBoard's files there.")
@training_options
@click.option(
    "--labelled-share",
    type=float,
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the training clips that keep their labels, drawn by --seed; the "
    "others count as unlabelled.",
)
@teacher_options
@json_option
def train(
    store: "FeatureStore",
    spec: str | None,
    fold: int | None,
    output: str,
    init: str | None,
    save_adapter: str | None,
    tensorboard: str | None,
    tags: list[str] | None,
    perturber: "Perturber | None",
    labelled_share: float,
    teacher: "TeacherSettings | None",
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a network on one spec of STORE, and evaluate it.

    With --init, from the weights of another checkpoint of the same network; with
    --adapter, few weights beside those, which stay as they are. With --teacher it
    learns from clips without labels, too.
    """
    from models.data import clean_specs, training_data
    from models.training.loop import train_to_checkpoint
    from models.transfer.initial import RANDOM_AND_FROZEN, Initial

    how = _train_settings(perturber, settings)
    own_file = how.architecture.reference or None
    initial = None if init is None else Initial.open(init, model=own_file)
    own = clean_specs(store, how.architecture.accepts)
    if spec is None and len(own) != 1:
        raise click.UsageError(f"say which --spec: {', '.join(map(str, own or store.specs))}")
    data = training_data(
        store,
        spec or own[0],
        tags=tags,
        fold=fold,
        draws=perturber or how.draws,
        labelled_share=labelled_share,
        labelled_seed=how.seed,
    )
    if not as_json:
        notes = [data.note] if data.note else []
        if initial is not None:
            notes += initial.notes(how, data.spec, data.tags)
        elif how.adapter is not None:
            notes.append(RANDOM_AND_FROZEN)
        print_lines(notes, err=True)
    output = save_adapter or output
    if teacher is None:
        trained = train_to_checkpoint(
            output,
            data,
            how,
            initial=initial,
            adapter_only=save_adapter is not None,
            tensorboard=tensorboard,
            progress=not as_json,
        )
    else:
        from models.student.student import train_student

        trained = train_student(
            output,
            data,
            how,
            teacher=teacher,
            store=store,
            initial=initial,
            adapter_only=save_adapter is not None,
            perturber=perturber,
            tensorboard=tensorboard,
            say=lambda text: None if as_json else print_lines([text], err=True),
            progress=not as_json,
        )
    if trained is None:  # torchrun's other processes
        return
    training = trained.training
    scores = {"validation": training.validation, "test": training.test}
    if as_json:
        metrics = {name: part.metrics for name, part in scores.items()}
        _print_json({"checkpoint": output, "best_epoch": training.best_epoch, **metrics})
        return
    for name, part in scores.items():
        print_lines([f"{name:<11} {part.line()}"])
    print_lines([f"epoch {training.best_epoch} of {len(training.losses)} saved in {output}"])


@melgrid.command("merge-adapter")
@click.argument("base")
@click.argument("adapter")
@click.option("-o", "--output", default="model.safetensors", show_default=True, help="Checkpoint.")
@own_model_option
@json_option
def merge_adapter(base: str, adapter: str, output: str, model: str | None, as_json: bool) -> None:
    """Make a checkpoint of BASE and ADAPTER, which train --save-adapter wrote.

    BASE is the checkpoint that it started from, --init.
    """
    from models.transfer.merging import merge_adapter as merge

    emit(merge(base, adapter, output, model=model), as_json)


@melgrid.command("export-model")
@click.argument("checkpoint")
@click.option("-o", "--output", default="model.onnx", show_default=True, help="ONNX file.")
@own_model_option
@json_option
def export_model(checkpoint: str, output: str, model: str | None, as_json: bool) -> None:
    """Write the network of CHECKPOINT as an ONNX model.

    It takes windows of the spec's values and gives predictions; its metadata say
    which spec and tags. Needs an extra: pip install 'melgrid[onnx]'.
    """
    from models.training.onnx import export_onnx

    emit(export_onnx(checkpoint, output, model=model), as_json)


@melgrid.command("import-weights")
@click.argument("file", metavar="FILE")
@click.option("--model", required=True, metavar="NAME",
              help="Network that they are of: fcn, crnn, musicnn-smc, ast, mtt.")  # fmt: skip
@click.option("--data", metavar="NAME", help="Data set that it learnt the tags of: mtat.")
@click.option("--tags", "tags_file", metavar="TEXT",
              help="File of its tags instead, a line each, in the order of outputs.")  # fmt: skip
@click.option("-o", "--output", metavar="CHECKPOINT", help="Checkpoint.  [NAME.safetensors]")
@json_option
def import_weights(
    file: str,
    model: str,
    data: str | None,
    tags_file: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Make a checkpoint of published weights: FILE, a state dict.

    As torch.save or safetensors wrote it; code in it is not run. melgrid evaluate
    takes the checkpoint with a store of the spec that the network was published
    with: featurize --for NAME.
    """
    from models.training.weights import import_weights as convert
    from models.training.weights import read_tags
    from pipeline.catalogs import tags_of

    if data is not None and tags_file is None:
        tags = tags_of(data)
    elif tags_file is not None and data is None:
        tags = read_tags(tags_file)
    else:
        raise click.UsageError("give --data NAME or --tags TEXT: what are the outputs?")
    emit(convert(file, model=model, tags=tags, output=output), as_json)


@melgrid.command()
@click.argument("checkpoint")
@store_argument
@own_model_option
@several("--split", "NAME", "a split's name", str, "Clips to test on.  [test]")
@conditions_option("Test under these too: all, smc2020, noise0.1, …")
@click.option(
    "--chunks",
    type=click.IntRange(min=1),
    metavar="N",
    help="Judge each clip by N windows drawn at random from it; a classification takes their "
    "majority.",
)
@seed_option("Which windows are drawn.")
@json_option
def evaluate(
    checkpoint: str,
    store: "FeatureStore",
    model: str | None,
    split: list[str],
    conditions: list[str],
    chunks: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Score CHECKPOINT, which train or import-weights wrote, on clips of STORE.

    With --conditions, also on the same clips as featurize --perturb stored them. The
    network stays as it was trained.
    """
    from models.training.evaluate import evaluate_checkpoint

    found = evaluate_checkpoint(
        checkpoint,
        store,
        model=model,
        splits=split or ["test"],
        conditions=conditions,
        chunks=chunks,
        seed=seed,
    )
    emit(found, as_json)


@melgrid.command(cls=Whole)
@click.argument("checkpoint")
@click.argument("audio", nargs=-1, required=True, metavar="AUDIO...")
@own_model_option
@click.option("-o", "--output", metavar="FILE", help="Write all tags, to a CSV file.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Tags to show of each file, the most probable first.",
)
@click.option(
    "--chunks",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tag by N windows drawn at random from the whole of each file, with the share of "
    "them that have a tag.",
)
@seed_option("Which windows are drawn.")
@together(*place_options)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Clips that the network is given at a time.  [8, on a GPU 64]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that read files; 0 is none.  [one per core]",
)
@timeout_option
@device_option
@max_failures_option
@json_option
def tag(
    checkpoint: str, audio: tuple[str, ...], limit: "FailureLimit", as_json: bool, **options: Any
) -> None:
    """Tag AUDIO with the network of CHECKPOINT, which train or import-weights wrote.

    AUDIO is files, folders, and tables of paths (CSV, JSON lines, Parquet). Each file
    is decoded once and no store is written. Files that cannot be read are listed, and
    the others are tagged.
    """
    from featurestore.result import count
    from tagger import tag_files

    with _progress("tag", quiet=as_json, unit="files") as progress:
        tags = tag_files(checkpoint, audio, progress=progress, **options)
    emit(tags, as_json)
    if not as_json:
        print_lines(tags.warnings(), err=True)
    if not limit.allows(len(tags.failures), len(tags.paths)):
        raise click.ClickException(
            f"{len(tags.failures)} of {count(len(tags.paths), 'file')} could not be tagged, more "
            f"than --max-failures {limit}"
        )


@melgrid.command()
@store_argument
@click.option("--spec", help="Its name, as ls lists it.  [the store's only clean one]")
@model_option
@click.option("--fold", type=int, help="Fold to test on.  [the store's own splits]")
@click.option(
    "-o",
    "--output",
    default="tune.jsonl",
    show_default=True,
    help="File of the trials, added to and shared: run again, or twice at a time.",
)
@click.option(
    "--trials",
    type=int,
    default=20,
    show_default=True,
    help="How many there are to be, those in the file among them.",
)
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="NAME=VALUES",
    help="A setting to search: learning_rate=log:5e-6:5e-4, batch_size=2,4,8, "
    "epochs=int:7:20, weight_decay=0:0.15. Any that train has, with _ for -.",
)
@click.option(
    "--preset",
    type=click.Choice(["ast-dora"]),
    help="Spaces of a publication, those that these settings can have.",
)
@click.option(
    "--metric",
    metavar="NAME",
    help="Of the validation split.  [pr_auc; accuracy of a classification]",
)
@click.option(
    "--prune/--no-prune",
    default=True,
    show_default=True,
    help="Give trials up that are below the median of the others at an epoch.",
)
@init_option
@adapter_options
@training_options
@json_option
def tune(
    store: "FeatureStore",
    spec: str | None,
    fold: int | None,
    output: str,
    trials: int,
    spaces: tuple[str, ...],
    preset: str | None,
    metric: str | None,
    prune: bool,
    init: str | None,
    tags: list[str] | None,
    perturber: "Perturber | None",
    as_json: bool,
    **settings: Any,
) -> None:
    """Search the settings of train that score best on the validation split of STORE.

    By Optuna, an extra: pip install 'melgrid[tune]'. What --space does not search is as
    for train. A page and a picture are written beside the file of trials.
    """
    if os.path.splitext(output)[1] in (".html", ".png"):
        raise click.UsageError(f"{output} is where the page and picture go: name it tune.jsonl")
    from models.data import clean_specs, training_data
    from models.transfer.initial import Initial
    from models.tuning.page import write_page
    from models.tuning.presets import searched
    from models.tuning.tune import tune as search

    how = _train_settings(perturber, settings)
    own_file = how.architecture.reference or None
    initial = None if init is None else Initial.open(init, model=own_file)
    own = clean_specs(store, how.architecture.accepts)
    if spec is None and len(own) != 1:
        raise click.UsageError(f"say which --spec: {', '.join(map(str, own or store.specs))}")
    chosen, notes = searched(spaces, preset, settings)
    print_lines(notes, err=True)
    found = search(
        training_data(store, spec or own[0], tags=tags, fold=fold, draws=perturber or how.draws),
        output,
        spaces=chosen,
        given=settings,
        initial=initial,
        trials=trials,
        metric=metric,
        prune=prune,
        say=lambda line: print_lines([line], err=True),
        progress=not as_json,
    )
    emit(write_page(found), as_json)


@melgrid.command()
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option(
    "-o",
    "--output",
    "results",
    default="results.jsonl",
    show_default=True,
    help="Results file: one JSON line per run is added; runs in it are not repeated.",
)
@specs_option("Specs to train on.  [all that are stored, of clean audio]")
@models_option("Networks to train, my_net.py:MyNet among them.")
@click.option(
    "--runs",
    type=int,
    default=3,
    show_default=True,
    help="Trainings of each, with consecutive seeds.",
)
@click.option(
    "--vary",
    type=click.Choice(["weights", "clips"]),
    help="What differs from run to run: first weights and order alone, or which clips train too. "
    " [clips with folds, weights with splits]",
)
@several(
    "--folds",
    "N",
    "a fold's number",
    int,
    "Folds to test on.  [the store's splits, else all folds, else 5 that are drawn]",
    multiple=False,
)
@conditions_option(
    "Test each network on perturbed clips too: all that are stored, smc2020, noise0.1, … A row "
    "each; weights are not kept, so that runs already in the file are trained again."
)
@click.option(
    "--jobs",
    type=int,
    default=1,
    show_default=True,
    help="Runs at a time, each in a process of its own.",
)
@click.option(
    "--threads",
    type=int,
    help="CPU threads of a run; the same number, the same scores.  [the cores / jobs]",
)
@click.option("--scheduler", metavar="ADDRESS", help="Train on a running Dask cluster.")
@click.option("--dry-run", is_flag=True, help="Show what is left to train, its time, its power.")
@training_options
@json_option
def study(
    stores: tuple[str, ...],
    results: str,
    specs: list[str] | None,
    models: list[str],
    runs: int,
    vary: "Vary | None",
    folds: list[int] | None,
    tags: list[str] | None,
    conditions: list[str],
    perturber: "Perturber | None",
    jobs: int,
    threads: int | None,
    scheduler: str | None,
    dry_run: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Weigh resolutions: train networks on the specs of STORE, several times each.

    Several STOREs of the same clips in different encodings enter side by side.

    Prints AUC against multiply-accumulates against bytes, and draws it beside the
    results file.
    """
    from pathlib import Path

    from featurestore import FeatureStore

    drawn = Path(results).with_suffix(".png")
    if drawn == Path(results):
        raise click.UsageError(f"{results} is where the picture goes: name it results.jsonl, say")
    opened = [FeatureStore.open(store) for store in stores]
    chosen: dict[str, Any] = {
        "settings": _train_settings(perturber, settings),
        "perturber": perturber,
        "specs": specs,
        "models": models,
        "runs": runs,
        "folds": folds,
        "tags": tags,
        "vary": vary,
        "conditions": conditions,
        "say": lambda line: click.echo(line, err=True),
    }
    if dry_run:
        from models.study.planning import plan_study

        plan = plan_study(opened, results, jobs=jobs, **chosen)
        if as_json:
            _print_json(plan.json())
        else:
            click.echo("\n".join(plan.lines()))
        return

    from models.report import draw, frontier
    from models.robustness import compare_conditions
    from models.study.comparison import compare
    from models.study.study import study as run_study

    rows = run_study(
        opened,
        results,
        jobs=jobs,
        threads=threads,
        scheduler=scheduler,
        progress=not as_json,
        **chosen,
    )
    comparison = compare(rows)
    draw(frontier(comparison), drawn, caption=", ".join(comparison.common))
    if as_json:
        _print_json(rows)
        return
    print_lines(comparison.lines())
    if (robustness := compare_conditions(rows, comparison)) is not None:
        print_lines(robustness.lines())
    click.echo(f"rows in {results}, picture in {drawn}")
    click.echo(f"melgrid report {results} makes a page of it")


def _listening_page(
    store: str,
    folder: str,
    *,
    clips: int,
    specs: "Sequence[Spec | str] | None",
    quiet: bool,
    conditions: Any = None,
    method: Any = "griffin-lim",
    seed: int = 0,
) -> "ListeningPage":
    from pipeline.sonify.listening import write_listening_page

    opened = _open_store(store)
    with _progress("listening page", quiet=quiet) as progress:
        return write_listening_page(
            opened, folder, n_clips=clips, specs=specs, conditions=conditions, method=method,
            seed=seed, progress=progress,
        )  # fmt: skip


@melgrid.command()
@click.argument("results", metavar="RESULTS")
@click.option(
    "-o",
    "--output",
    "folder",
    default="report",
    show_default=True,
    help="Folder for the page and its figures; made if need be.",
)
@click.option(
    "--baseline",
    metavar="SPEC",
    help="Spec (or point, as the table labels it) to compare with.  [the most expensive]",
)
@click.option(
    "--margin",
    metavar="LOSS",
    default="1%",
    show_default=True,
    help="Loss of ROC AUC that you would accept: what is shown to lose less is no worse.",
)
@click.option(
    "--listen",
    "n_clips",
    type=click.IntRange(min=1),
    metavar="N",
    help="Add a page that plays N clips of --store at the resolutions studied.",
)
@click.option("--store", metavar="STORE", help="Where --listen takes the clips from.")
@json_option
def report(
    results: str,
    folder: str,
    baseline: str | None,
    margin: str,
    n_clips: int | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Compare what is in a study's RESULTS file, and write a page and figures about it.

    The page, index.html, needs no network; the figures are there as PNG and SVG.
    Nothing but the results file is read, and with --listen the store.
    """
    if (n_clips is None) != (store is None):
        raise click.UsageError("--listen N and --store STORE go together")
    from featurestore.inspect.choice import MOST
    from featurestore.specs.grid import subsample
    from models.report import write_report
    from models.robustness import compare_conditions
    from models.study.comparison import compare
    from models.study.results import read_results

    rows, note = read_results(results)
    if note:
        click.echo(_one_line(note), err=True)
    comparison = compare(rows, baseline=baseline, margin=margin)
    if n_clips is not None and store is not None:  # before the page, which links to it
        heard = subsample((point.spec for point in comparison.points), MOST)
        _listening_page(store, folder, clips=n_clips, specs=heard, quiet=as_json)
    robustness = compare_conditions(rows, comparison)
    written = write_report(rows, comparison, folder, robustness)
    if as_json:
        of_conditions = {} if robustness is None else {"robustness": robustness.json()}
        files = {"files": [str(path) for path in written]}
        _print_json(comparison.json() | of_conditions | files)
        return
    print_lines(comparison.lines())
    if robustness is not None:
        print_lines(robustness.lines())
    click.echo(f"page in {written[0]}, its figures beside it as PNG and SVG")


@melgrid.command()
@click.argument("path", metavar="AUDIO|STORE")
@click.option("-o", "--output", "drawn", metavar="FILE", help="Draw it, to a PNG file.")
@spec_options
@together(perturb_option, gathered("conditions", _perturbed))
@audio_options
@click.option("--clips", type=int, default=64, show_default=True,
              help="Clips of AUDIO to make, at least: whole tasks.")  # fmt: skip
@specs_option("Specs of STORE to train on.  [its first]")
@model_option
@step_options
@click.option("--batches", type=int, default=10, show_default=True, help="Training steps to time.")
@click.option(
    "--from-store", is_flag=True, help="Read each batch from STORE, even if memory would hold all."
)
@json_option
@click.pass_context
def profile(
    ctx: click.Context,
    /,
    path: str,
    drawn: str | None,
    grid: "tuple[Spec, ...]",
    conditions: "tuple[Condition, ...]",
    catalog: str | None,
    table: "TableSettings",
    settings: "RunSettings",
    report: str | None,
    clips: int,
    specs: list[str] | None,
    batches: int,
    from_store: bool,
    as_json: bool,
    **training: Any,
) -> None:
    """Measure time and memory by stage, of featurizing AUDIO or of training on STORE.

    AUDIO is what featurize takes; its first clips are made, into a store that is
    deleted. The options up to --clips are for AUDIO, those from --specs for STORE.
    """
    from featurestore.errors import StoreNotFoundError
    from featurestore.process.profile import picture

    try:
        store = _open_store(path)
    except StoreNotFoundError:
        store = None
    _refuse_options_of_the_other(ctx, path, is_audio=store is None)
    found: Iterable[Profile]
    if store is None:
        from featurestore.specs.grid import under
        from pipeline.catalogs import open_catalog
        from pipeline.profile import profile as profile_run

        tracks = open_catalog(path, catalog, table)
        grid = under(grid, conditions)
        found = [profile_run(tracks, grid, settings, n_clips=clips, report=report)]
    else:
        from models.data import clean_specs, folds_of, training_data
        from models.profile import profile as profile_training
        from models.training.settings import TrainSettings

        fold, how = folds_of(store)[0], TrainSettings(**training)
        found = (
            profile_training(
                training_data(store, spec, fold=fold, draws=how.draws),
                how,
                n_batches=batches,
                from_store=from_store,
            )
            for spec in specs or clean_specs(store, how.architecture.accepts)[:1] or store.specs[:1]
        )
    profiles = []
    for one in found:
        profiles.append(one)
        if not as_json:
            print_lines([*one.lines(), ""])
    if drawn:
        picture(profiles, drawn)
    if as_json:
        _print_json([one.json() for one in profiles])
        return
    for what, where in (("picture", drawn), ("Dask's report", report)):
        if where:
            print_lines([f"{what} in {where}"])


def _refuse_options_of_the_other(ctx: click.Context, path: str, *, is_audio: bool) -> None:
    """Refuse options of `profile` that are for STORE where it is of AUDIO, and the other way."""
    names = [param.name for param in ctx.command.params]
    first, last = names.index("drawn") + 1, names.index("as_json")
    middle = names.index("clips") + 1
    for param in ctx.command.params[middle:last] if is_audio else ctx.command.params[first:middle]:
        if ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE:
            what = "audio" if is_audio else "a store"
            raise click.UsageError(f"{path} is {what}: leave out {param.opts[0]}")


@melgrid.command()
@click.argument("folder", default=DEMO_FOLDER)
@click.option("--clips", default=240, show_default=True, help="How many.")
@seed_option("Another seed gives other music.")
def demo(folder: str, clips: int, seed: int) -> None:
    """Make the demo corpus in FOLDER: synthesised, labelled music to try melgrid on."""
    click.echo(_demo_corpus(folder, quiet=False, n_clips=clips, seed=seed))


if __name__ == "__main__":
    melgrid()
