"""Command line: each command parses its options, calls one function and prints what it gives."""

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path

    from featurestore.inspect.diff import Difference
    from featurestore.maintenance.verify import Report
    from featurestore.process.profile import Profile
    from featurestore.specs.mel import FeatureSpec
    from featurestore.store import FeatureStore
    from models.study.runs import Vary
    from pipeline.catalogs import TableSettings
    from pipeline.run.run import RunSummary
    from pipeline.run.settings import FailureLimit

# Heavy imports live inside the commands, so that --help answers at once.

DEMO_FOLDER = "melgrid-demo"

_MOST_LINES = 20
"""Things of a kind that are listed, where ``--json`` lists all."""

T = TypeVar("T")


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
    """What can be called as a program of its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, in a process that is put in order first; `main` runs in a process as it is."""
        _open_descriptors()
        _speak_utf8()
        return super().__call__(*args, **kwargs)


class Command(Program):
    """A command that turns what a user can cause into one line and an exit code."""

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
            click.echo("\ninterrupted; what is done is kept: run again to continue", err=True)
            ctx.exit(130)
        except MelgridError as error:
            click.echo(f"Error: {_one_line(str(error))}", err=True)
            usage = (CatalogError, SettingsError, SpecError, StoreMismatchError)
            ctx.exit(2 if isinstance(error, usage) else 1)
        except BrokenPipeError:  # click ends in silence when nobody reads on
            raise
        except OSError as error:  # what the machine refuses: permission, space, a lost disk
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {_one_line(f'{where}{error.strerror or error}')}", err=True)
            ctx.exit(1)


class Group(Program, click.Group):
    """Commands under one name."""

    command_class = Command


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


def _parse_hop(text: str) -> "int | Fraction":
    from fractions import Fraction

    return int(text[1:]) if text.startswith("x") else Fraction(int(text), 256)


def _parse_log(text: str) -> str:
    if text not in ("db", "log"):
        raise ValueError(text)
    return text


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def together(*options: Decorator) -> Decorator:
    """Several options as one, in the order in which the help has them."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


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
    kind = Several(what, parse)
    return click.option(name, multiple=multiple, type=kind, metavar=f"{metavar},...", help=text)


def specs_option(text: str) -> Decorator:
    """``--specs``: which of a store's."""
    kind = Several("a spec's name", str)
    return click.option("--specs", "--spec", "specs", type=kind, metavar="NAME,...", help=text)


spec_options = together(
    several("--sr", "HZ", "a sample rate in Hz", int, "Sample rates [Hz].  [16000]"),
    several("--mels", "N", "a number of bands", int, "Numbers of mel bands.  [96]"),
    several("--hop", "HOP", "a hop such as x2, or samples", _parse_hop,
            "Hops: x2 is 2 x 256 samples; or samples.  [x1]"),
    several("--log", "LAW", "db or log", _parse_log, "Amplitude laws: db, log.  [db]"),
    click.option("--grid", "grid_name", type=click.Choice(["ferraro2020"]),
                 help="A named grid instead: ferraro2020 is the study's 88 specs."),
    click.option("--n-fft", type=int, default=512, show_default=True,
                 help="Frame length [samples]."),
    click.option("--fmin", type=float, default=0.0, help="Lowest frequency [Hz].  [0]"),
    click.option("--fmax", type=float, help="Highest frequency [Hz].  [sr / 2]"),
    click.option("--window", type=click.Choice(["hann", "hann-symmetric"]), default="hann",
                 help="hann-symmetric gives the study's own numbers.  [hann]"),
)  # fmt: skip
"""Which specs: their product, or a named grid."""

kept_options = together(
    click.option("--encoding", type=click.Choice(["float32", "float16", "uint8"]),
                 default="float16", show_default=True, help="How values are kept."),
    click.option("--codec", type=click.Choice(["zstd", "lz4", "none"]),
                 default="zstd", show_default=True, help="How bytes are compressed."),
)  # fmt: skip

duration_option = click.option(
    "--duration", type=float, default=29.1, show_default=True, help="Length of a clip [s]."
)


def _columns_option(name: str, text: str) -> Decorator:
    return several(name, "COLUMN", "a column's name", str, text)


table_options = together(
    _columns_option("--label", "Columns of a table of which each value is a tag: genre."),
    click.option("--tags", "tag_lists", multiple=True, metavar="COLUMN,...",
                 type=Several("a column's name", str),
                 help="Columns of lists of tags: rock|pop, or [\"rock\", \"pop\"]."),
    _columns_option("--meta", "Columns to keep in the store as they are: title,tempo,year."),
    click.option("--path-column", metavar="COLUMN", default="path", show_default=True,
                 help="Column with the tracks' paths."),
    click.option("--root", metavar="FOLDER",
                 help="Folder that a table's paths are below.  [the table's]"),
)  # fmt: skip
"""How a table of tracks is read."""

audio_options = together(
    click.option("--catalog", metavar="NAME",
                 help="AUDIO is the folder of a known data set: mtat, mtat-clean, "
                 "mtat-all, jamendo, gtzan, msd, fma-small, …"),
    table_options,
    kept_options,
    duration_option,
    click.option("--backend", type=click.Choice(["native", "librosa", "essentia"]),
                 default="native", show_default=True, help="What computes the spectra."),
    click.option("--report", metavar="FILE", help="Write Dask's performance report, in HTML."),
)  # fmt: skip
"""What the audio is, and what is made of it."""

store_option = click.option(
    "-o", "--output", "store", default="features.zarr", show_default=True,
    help="The store: made if it is not there, else what it lacks is added.",
)  # fmt: skip

max_failures_option = click.option(
    "--max-failures", default="5%", show_default=True,
    help="How many clips may fail, as a share or a number.",
)  # fmt: skip

quiet_option = click.option("--quiet", is_flag=True, help="Print nothing but errors.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def models_option(text: str) -> Decorator:
    """``--models``: one or several networks."""
    kind = Several("a network's name", str)
    return click.option(
        "--models", type=kind, default="vgg", metavar="NAME,...", show_default=True, help=text
    )


model_option = click.option("--model", default="vgg", show_default=True, help="Network.")


def _specs(
    sr: Iterable[Iterable[int]],
    mels: Iterable[Iterable[int]],
    hop: "Iterable[Iterable[int | Fraction]]",
    log: Iterable[Iterable[Any]],
    grid_name: str | None,
    n_fft: int,
    fmin: float,
    fmax: float | None,
    window: Any,
) -> "tuple[FeatureSpec, ...]":
    from featurestore.specs.grid import GRIDS, grid

    if grid_name is not None:
        if any((sr, mels, hop, log)) or (n_fft, fmin, fmax) != (512, 0, None):
            raise click.UsageError("--grid says which specs; leave out all but --window")
        return GRIDS[grid_name](window)
    return grid(
        sr=_flat(sr) or [16000],
        n_mels=_flat(mels) or [96],
        hop=_flat(hop) or [1],
        log=_flat(log) or ["db"],
        n_fft=n_fft,
        fmin=fmin,
        fmax=fmax,
        window=window,
    )


def _table(
    label: Iterable[Iterable[str]],
    tag_lists: Iterable[Iterable[str]],
    meta: Iterable[Iterable[str]],
    path_column: str,
    root: str | None,
) -> "TableSettings":
    from pipeline.catalogs import TableSettings

    return TableSettings(
        path_column=path_column,
        label=_flat(label),
        tags=_flat(tag_lists),
        meta=_flat(meta),
        root=root,
    )


def _flat(values: Iterable[Iterable[T]]) -> list[T]:
    return [value for part in values for value in part]


def _print_json(value: object) -> None:
    # What is not known is nan, which JSON has no word for but null.
    plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
    text = json.dumps(plain, ensure_ascii=(sys.stdout.encoding or "").lower() != "utf-8")
    click.echo(_STEERING.sub(lambda found: json.dumps(found[0])[1:-1], text))


def _print_table(rows: Sequence[dict[str, object]]) -> None:
    """Columns aligned, numbers to the right."""
    cells = [list(rows[0]), *[[_text(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    for line in cells:
        padded = [
            text.ljust(width) if to_left else text.rjust(width)
            for text, width, to_left in zip(line, widths, left, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


_STEERING = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What names of files may do to a terminal: line breaks, escape sequences, other directions of
writing, letters that are not seen, halves of letters. (Joiners, U+200C and U+200D, are spelling.)
"""


def _one_line(text: str) -> str:
    """Text from files, with what steers a terminal shown as such."""
    return _STEERING.sub("\ufffd", text)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else _one_line(str(value))


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


@click.group(cls=Group, context_settings={"max_content_width": 80})
@click.version_option(package_name="melgrid")
def melgrid() -> None:
    """Mel-spectrograms of a music collection at any number of resolutions, in one
    Zarr store, ready to train on.
    """  # noqa: D205


@melgrid.command()
@click.argument("audio", required=False)
@store_option
@spec_options
@audio_options
@click.option(
    "--take",
    type=click.Choice(["center", "first", "all"]),
    default="center",
    show_default=True,
    help="Which part of a track is the clip; all cuts it into consecutive clips.",
)
@click.option(
    "--short",
    type=click.Choice(["pad", "skip"]),
    default="pad",
    show_default=True,
    help="What to do with a track shorter than a clip.",
)
@click.option("--workers", type=int, help="Worker processes.  [one a core]")
@click.option("--scheduler", metavar="ADDRESS", help="Use a running Dask scheduler: tcp://…")
@click.option(
    "--timeout",
    type=float,
    default=300.0,
    show_default=True,
    help="How long one clip may take [s].",
)
@click.option(
    "--views",
    is_flag=True,
    help="Store only what cannot be derived: hop multiples, and log where db is asked for too, "
    "are served from what is stored.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Clips whose tracks AUDIO no longer has are no longer to be read.",
)
@max_failures_option
@click.option(
    "--dashboard",
    is_flag=True,
    help="Serve Dask's dashboard, to all who are on this machine.",
)
@click.option("--dry-run", is_flag=True, help="Print shapes, bytes and tasks; do nothing.")
@quiet_option
@json_option
def featurize(
    audio: str | None,
    store: str,
    catalog: str | None,
    label: Any,
    tag_lists: Any,
    meta: Any,
    path_column: str,
    root: str | None,
    encoding: Any,
    codec: Any,
    duration: float,
    take: Any,
    short: Any,
    backend: Any,
    workers: int | None,
    scheduler: str | None,
    timeout: float,
    views: bool,
    prune: bool,
    max_failures: str,
    report: str | None,
    dashboard: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **spec_values: Any,
) -> None:
    """Turn AUDIO into a store of mel-spectrograms.

    AUDIO is a folder, a table of paths and tags (CSV, JSON lines, Parquet), or
    a data set's folder with --catalog. Left out, a small labelled demo corpus
    is made and used. Options that take several values, such as --mels 96,48,
    give a grid: every combination, from one decode of each track.

    Run again to continue after an interruption, or to add tracks or specs: only
    what is missing is computed.
    """
    from featurestore.specs.encoding import Codec, Encoding
    from featurestore.specs.window import ClipWindow

    specs = _specs(**spec_values)
    from pipeline.catalogs import open_catalog
    from pipeline.run.run import preview, run
    from pipeline.run.settings import FailureLimit, RunSettings

    settings = RunSettings(
        window=ClipWindow(duration=duration, take=take, short=short),
        encoding=Encoding(name=encoding),
        codec=Codec(name=codec),
        backend=backend,
        workers=workers,
        scheduler=scheduler,
        timeout=timeout,
        views=views,
        prune=prune,
    )
    limit = FailureLimit.parse(max_failures)
    if audio is None:
        if not (quiet or as_json):
            click.echo("No AUDIO given: the demo corpus is used, and made if need be.", err=True)
        audio = _demo_corpus(DEMO_FOLDER, quiet=quiet or as_json)
    tracks = open_catalog(audio, catalog, _table(label, tag_lists, meta, path_column, root))
    passed_over = {"passed_over": dict(tracks.passed_over)}
    for line in tracks.lines() if not (quiet or as_json) else ():
        click.echo(_one_line(line), err=True)
    if dry_run:
        _print_preview(preview(tracks, specs, settings) | passed_over, as_json)
        return
    summary = run(
        tracks, store, specs, settings, quiet=quiet or as_json, dashboard=dashboard, report=report
    )
    if as_json:
        _print_json(_summary_json(summary, specs) | passed_over)
    elif not quiet:
        _print_summary(summary, specs)
    _require_few_failures(summary, limit, max_failures, store)


def _require_few_failures(
    summary: "RunSummary", limit: "FailureLimit", max_failures: str, store: str
) -> None:
    if not limit.allows(len(summary.failures), summary.n_clips):
        raise click.ClickException(
            f"{len(summary.failures)} of {summary.n_clips} clips failed, more than "
            f"--max-failures {max_failures}; melgrid failures {store} lists them"
        )


@contextlib.contextmanager
def _progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, and what moves it: called with clips done and their total."""
    from tqdm import tqdm

    with tqdm(unit=" clips", desc=what, disable=quiet) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _demo_corpus(folder: str, *, quiet: bool, **options: int) -> str:
    from pipeline.demo.demo import make_demo

    with _progress(f"demo corpus in {folder}/", quiet=quiet) as progress:
        return str(make_demo(folder, progress=progress, **options))


def _print_preview(preview: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(preview)
        return
    for line in preview["plan"]:
        click.echo(line)
    _print_table(
        [
            {
                "spec": spec["spec"],
                "shape": " x ".join(map(str, spec["shape"])),
                "encoding": spec["encoding"],
                "a clip": _size(spec["bytes_per_clip"]),
            }
            for spec in preview["specs"]
        ]
    )
    _print_wrapped(
        f"{preview['clips']:,} clips of {_size(preview['bytes_per_clip'])}, about "
        f"{_size(preview['stored_bytes_per_clip'])} compressed; "
        f"{preview['tasks']:,} tasks (one shard a spec each) of {preview['clips_per_task']} clips"
    )
    if preview["views"]:
        _print_wrapped(
            f"{len(preview['views'])} more specs are served as views; stored too, a clip would "
            f"take about {_size(preview['without_views_bytes_per_clip'])}"
        )


def _summary_json(summary: "RunSummary", specs: "Sequence[FeatureSpec]") -> dict[str, Any]:
    return {
        "store": summary.store.path,
        "clips": summary.n_clips,
        "left": summary.n_left,
        "ready": summary.n_ready,
        "computed": summary.n_computed,
        "failed": len(summary.failures),
        "seconds": round(summary.seconds, 3),
        "specs": [
            {
                "spec": spec.name,
                "shape": list(array.shape),
                "view_of": array.view_of,
                "bytes": 0 if array.view_of else array.nbytes_stored,
            }
            for spec, array in ((spec, summary.store[spec]) for spec in specs)
        ],
        "failures": [dataclasses.asdict(failure) for failure in summary.failures],
        "checks": summary.store.checks.to_json(),
    }


def _print_summary(summary: "RunSummary", specs: "Sequence[FeatureSpec]") -> None:
    if summary.n_computed:
        rate = summary.n_computed / summary.seconds
        work = f"computed {summary.n_computed:,} in {summary.seconds:.1f} s ({rate:.0f} clips/s)"
    else:
        work = "nothing to do"
    click.echo(f"{summary.n_ready:,} of {summary.n_clips:,} clips ready; {work}")
    arrays = [summary.store[spec] for spec in specs]
    sources = {array.layout.spec: array for array in arrays}
    nbytes = sum(array.nbytes_stored for array in sources.values())
    n_views = sum(array.view_of is not None for array in arrays)
    click.echo(
        f"{len(specs)} spec{'s' if len(specs) > 1 else ''}"
        f"{f' ({n_views} as views)' if n_views else ''}, {_size(nbytes)}, "
        f"{_size(nbytes / max(1, summary.n_ready))} a clip, in {summary.store.path}"
    )
    for line in summary.store.checks.lines():
        click.echo(_one_line(f"look: {line}"), err=True)
    if summary.n_left:
        click.echo(
            f"{summary.n_left:,} more clips are kept whose tracks are no longer there; "
            "--prune leaves them out",
            err=True,
        )
    for failure in summary.failures[:5]:
        told = f"failed: {failure.clip_id}: {failure.reason}: {failure.detail}"
        click.echo(_one_line(told), err=True)
    if len(summary.failures) > 5:
        click.echo(
            f"… and {len(summary.failures) - 5:,} more; melgrid failures {summary.store.path}",
            err=True,
        )


@melgrid.command()
@click.argument("store")
@json_option
def ls(store: str, as_json: bool) -> None:
    """List the specs that STORE holds, and those it was asked to serve as views."""
    from featurestore import FeatureStore
    from featurestore.inspect.info import describe_spec

    opened = FeatureStore.open(store)
    specs = [describe_spec(opened, spec) for spec in (*opened.specs, *opened.views)]
    if as_json:
        _print_json(specs)
    elif specs:
        _print_table(
            [
                {
                    "spec": spec["spec"],
                    "shape": " x ".join(map(str, spec["shape"])),
                    "ready": spec["ready"],
                    "encoding": spec["encoding"],
                    "stored": "view" if spec["view_of"] else _size(spec["bytes"]),
                }
                for spec in specs
            ]
        )
        click.echo("multiples of these hops, and log of db, can be read as views too", err=True)


@melgrid.command()
@click.argument("store")
@click.argument("spec", required=False)
@json_option
def info(store: str, spec: str | None, as_json: bool) -> None:
    """Say what STORE holds, or one SPEC of it."""
    from featurestore import FeatureStore
    from featurestore.inspect.info import describe, describe_spec, describe_values

    opened = FeatureStore.open(store)
    facts = (
        {**describe_spec(opened, spec), "values": describe_values(opened, spec)}
        if spec
        else describe(opened)
    )
    if as_json:
        _print_json(facts)
        return
    for key, value in facts.items():
        if key == "specs":
            value = [entry["spec"] for entry in value]
        elif key == "checks":
            value = "; ".join(opened.checks.lines()) or "nothing found"
        elif key == "values":
            value = "; ".join(_values_in_words(value, facts["unit"]))
        _print_fact(key, value)


def _values_in_words(values: dict[str, Any], unit: str) -> list[str]:
    if not values["clips"]:
        return []
    unit = "" if unit == "1" else f" {unit}"
    lines = [
        f"{name} {min(values[key]):.3g} to {max(values[key]):.3g}{unit} by band"
        for name, key in (("mean", "mean"), ("spread", "std"))
    ]
    lines.append(f"of {values['of']} clips ({values['clips']:,}, {values['frames']:,} frames)")
    if values["saturated"]:
        lines.append(f"{values['saturated']:.2g} of the values clipped by the encoding")
    if values.get("clips_with_constant_bands"):
        lines.append(
            f"{values['clips_with_constant_bands']:,} clips have a band that does not change "
            f"({values['constant_bands']} bands in all of them)"
        )
    return lines


def _print_fact(key: str, value: object) -> None:
    """``key: value``, wrapped to the terminal under a hanging indent."""
    import textwrap

    if isinstance(value, dict):
        value = ", ".join(f"{_one_line(k)} {_text(v)}" for k, v in value.items())
    elif isinstance(value, list):
        value = ", ".join(
            " ".join(f"{k} {v}" for k, v in part.items()) if isinstance(part, dict) else str(part)
            for part in value
        )
    text = "-" if value in (None, "") else _text(value)
    click.echo(
        textwrap.fill(
            text, 79, initial_indent=f"{key:<17}", subsequent_indent=" " * 17,
            break_on_hyphens=False,
        )
    )  # fmt: skip


@melgrid.command()
@click.argument("store")
@json_option
def failures(store: str, as_json: bool) -> None:
    """List the clips of STORE that failed, and why."""
    from featurestore import FeatureStore

    clips = FeatureStore.open(store).clips
    failed = clips.loc[clips["status"] == "failed", ["clip_id", "path", "reason", "detail"]]
    if as_json:
        _print_json(failed.to_dict("records"))
        return
    for row in failed.itertuples():
        click.echo(_one_line(f"{row.clip_id}: {row.reason}: {row.detail}"))
    click.echo(f"{len(failed):,} of {len(clips):,} clips failed", err=True)


@melgrid.command()
@click.argument("store")
@click.argument("clip")
@specs_option("Specs to draw, as ls lists them.  [all that are stored, 9 at most]")
@click.option("-o", "--output", metavar="FILE", help="The PNG file.  [the clip's id, here]")
@json_option
def show(store: str, clip: str, specs: list[str] | None, output: str | None, as_json: bool) -> None:
    """Draw CLIP's spectrograms side by side.

    CLIP is a clip's id, or its row's number.
    """
    from featurestore import FeatureStore
    from featurestore.inspect.picture import draw_clip

    opened = FeatureStore.open(store)
    picture = draw_clip(opened, opened.table.row_of(clip), output, specs)
    drawn, left_out = ([spec.name for spec in some] for some in (picture.specs, picture.left_out))
    if as_json:
        _print_json(
            {
                "row": picture.row,
                "clip_id": picture.clip_id,
                "specs": drawn,
                "left_out": left_out,
                "picture": str(picture.path),
            }
        )
        return
    many = f"{len(drawn)} spectrograms" if len(drawn) > 1 else "a spectrogram"
    click.echo(_one_line(f"{many} of {picture.clip_id} in {picture.path}"))
    if left_out:
        _print_fact("left out", left_out)


method_option = click.option(
    "--method", type=click.Choice(["griffin-lim", "noise"]), default="griffin-lim",
    show_default=True, help="Phases that fit the magnitudes, or those of white noise.",
)  # fmt: skip


@melgrid.command()
@click.argument("store")
@click.argument("clip")
@specs_option("Specs to hear, as ls lists them.  [all that are stored, 6 at most]")
@click.option(
    "-o", "--output", "folder", default="sounds", show_default=True, metavar="FOLDER",
    help="Where the files go, one a spec.",
)  # fmt: skip
@method_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["wav", "flac", "mp3"]),
    default="wav",
    show_default=True,
    help="Of the files.",
)
@json_option
def sonify(
    store: str,
    clip: str,
    specs: list[str] | None,
    folder: str,
    method: Any,
    file_format: Any,
    as_json: bool,
) -> None:
    """Turn CLIP's stored values back into sound, to hear what they hold.

    CLIP is a clip's id, or its row's number. What a spec does not keep, phases
    among it, is made up: all sounds of a call have the same gain.
    """
    from featurestore import FeatureStore
    from pipeline.sonify.sonify import write_sounds

    opened = FeatureStore.open(store)
    row = opened.table.row_of(clip)
    files = write_sounds(opened, row, folder, specs, method=method, file_format=file_format)
    if as_json:
        _print_json(
            [
                {
                    "clip_id": opened.table.clip_id[row],
                    "spec": file.spec.name,
                    "file": str(file.path),
                    "seconds": file.seconds,
                    "gain_db": file.gain,
                }
                for file in files
            ]
        )
        return
    for file in files:
        click.echo(_one_line(str(file.path)))
    click.echo(
        f"{files[0].seconds:.1f} s each, gain {files[0].gain:.1f} dB (0 is as loud as the clip)"
    )


@melgrid.command()
@click.argument("store")
@specs_option("Specs to hear, as ls lists them.  [all that are stored, 6 at most]")
@click.option(
    "-o", "--output", "folder", default="listening", show_default=True, metavar="FOLDER",
    help="Where listen.html goes.",
)  # fmt: skip
@click.option("--clips", default=3, show_default=True, help="How many, spread over the tags.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other clips.")
@method_option
@json_option
def listen(
    store: str,
    specs: list[str] | None,
    folder: str,
    clips: int,
    seed: int,
    method: Any,
    as_json: bool,
) -> None:
    """Make a page that plays clips of STORE at several resolutions.

    One HTML file that needs nothing else: players beside their spectrograms.
    """
    page = _listening_page(
        store, folder, clips=clips, specs=specs, method=method, seed=seed, quiet=as_json
    )
    if as_json:
        _print_json({"page": str(page), "bytes": page.stat().st_size})
        return
    click.echo(f"{page}, {_size(page.stat().st_size)}: open it in a browser")


@melgrid.command()
@click.argument("store")
@click.argument("out")
@click.option(
    "--format",
    "form",
    type=click.Choice(["hdf5", "npz", "memmap"]),
    default="hdf5",
    show_default=True,
    help="One file; a folder of one npz a clip, as the study's; or a folder of npy.",
)
@specs_option("Specs, or patterns of them: 'sr16000-*'.  [all that are stored]")
@several(
    "--splits",
    "NAME",
    "a split's name",
    str,
    "Only clips of these splits.  [all clips]",
    multiple=False,
)
@click.option(
    "--encoding",
    type=click.Choice(["float32", "stored"]),
    default="float32",
    show_default=True,
    help="stored keeps float16 and uint8 as they are.",
)
@click.option("--force", is_flag=True, help="Replace what an earlier export left in OUT.")
@quiet_option
@json_option
def export(
    store: str,
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

    Clips that failed or are pending have no values there: nan (255 among uint8
    codes) under a mask, or no file. docs/export.md says what lies where.
    """
    from featurestore import FeatureStore
    from featurestore.export import export as write
    from featurestore.export.selection import Selection

    selection = Selection.of(FeatureStore.open(store), specs, splits, encoding)
    written = write(selection, out, form, force=force, quiet=quiet or as_json)
    if as_json:
        _print_json(written)
    elif not quiet:
        ready = [spec["ready"] for spec in written["specs"]]
        click.echo(
            f"{min(ready):,} of {written['clips']:,} clips, {len(ready)} "
            f"spec{'s' if len(ready) > 1 else ''}, {_size(written['bytes'])}, in {written['out']}"
        )


@melgrid.command("import")
@click.argument("folder")
@store_option
@click.option(
    "--labels",
    metavar="CSV",
    help="Table of tracks, by the files' paths without .npz; with --catalog a "
    "data set's folder.  [FOLDER's labels.csv, else none]",
)
@click.option("--catalog", metavar="NAME", help="Data set that --labels is of: mtat, …")
@table_options
@click.option(
    "--sr",
    type=int,
    default=16000,
    show_default=True,
    help="Sample rate of the audio that was analysed [Hz].",
)
@click.option("--n-fft", type=int, default=512, show_default=True, help="Frame length [samples].")
@click.option(
    "--window",
    type=click.Choice(["hann", "hann-symmetric"]),
    default="hann-symmetric",
    show_default=True,
    help="Window of the frames.",
)
@duration_option
@click.option(
    "--decibels",
    type=click.Choice(["20", "10"]),
    default="20",
    show_default=True,
    help="Decibels are so many times log10 of power: 20 in the study's files.",
)
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
    label: Any,
    tag_lists: Any,
    meta: Any,
    path_column: str,
    root: str | None,
    sr: int,
    n_fft: int,
    window: Any,
    duration: float,
    decibels: str,
    specs: list[str] | None,
    encoding: Any,
    codec: Any,
    max_failures: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Put FOLDER of npz files, one a clip, into a store.

    The files are the study's (Ferraro et al. 2020), or those of melgrid export,
    which say themselves what --sr, --window and so on tell of the others. Run
    again to continue, or to add files.
    """
    from featurestore.specs.encoding import Codec, Encoding
    from featurestore.specs.mel import FeatureSpec
    from pipeline.npz import NpzFolder, import_npz
    from pipeline.run.settings import FailureLimit, RunSettings

    limit = FailureLimit.parse(max_failures)
    like = FeatureSpec(sr=sr, n_mels=8, n_fft=n_fft, window=window)
    source = NpzFolder.open(
        folder, like, duration=duration, decibels=20 if decibels == "20" else 10, specs=specs
    )
    settings = RunSettings(encoding=Encoding(name=encoding), codec=Codec(name=codec))
    table = _table(label, tag_lists, meta, path_column, root)
    tracks = source.catalog(labels, catalog, table if table.given() else None)
    summary = import_npz(source, tracks, store, settings, quiet=quiet or as_json)
    if as_json:
        _print_json(_summary_json(summary, source.specs))
    elif not quiet:
        _print_summary(summary, source.specs)
    _require_few_failures(summary, limit, max_failures, store)


@melgrid.command()
@click.argument("store")
@click.option(
    "--quick",
    is_flag=True,
    help="Leave values unread: flipped bits in them are not found, nor swapped files.",
)
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="Put back what can be derived, and mark the rest as pending: the next "
    "featurize computes just that.",
)
@json_option
def verify(store: str, quick: bool, mend: bool, as_json: bool) -> None:
    """Say what of STORE is missing, damaged or unfinished.

    Exits with 1 if there is damage; what is unfinished is none.
    """
    from featurestore import FeatureStore
    from featurestore.maintenance.repair import repair
    from featurestore.maintenance.verify import verify as verify_store

    opened = FeatureStore.open(store)
    look = repair if mend else verify_store
    report = look(opened, quick=quick, progress=not as_json)
    if as_json:
        _print_json(report.json())
    else:
        _print_report(report, len(opened.specs))
    if not (report.is_healthy or report.is_mended):
        click.get_current_context().exit(1)


def _print_report(report: "Report", n_specs: int) -> None:
    _print_list(map(str, report.damage))
    for line in report.repaired:
        _print_wrapped(f"repaired {line}")
    for line in () if report.repaired else report.unfinished:
        _print_wrapped(f"unfinished: {line}; run featurize again")
    looked = (
        f"{report.n_rows:,} row{'s' * (report.n_rows != 1)} of {n_specs} spec"
        f"{'s' * (n_specs != 1)}, {_size(report.nbytes)} read"
    )
    if report.is_healthy:
        click.echo(f"healthy: {looked}{', values not looked at' * report.quick}")
    elif report.is_mended:
        click.echo("repaired; run featurize again to compute what is pending")
    else:
        n_lost = sum(not damage.can_repair for damage in report.damage)
        remedy = f"{n_lost:,} beyond repair" if n_lost else "--repair lets featurize mend it"
        click.echo(f"{len(report.damage):,} damaged: {looked}; {remedy}")


@melgrid.command()
@click.argument("a")
@click.argument("b")
@json_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Say what stores A and B differ in: clips, labels, specs, values.

    Clips are told by their ids, values are compared decoded. Exits with 1 if they
    differ.
    """
    from featurestore import FeatureStore
    from featurestore.inspect.diff import diff as compare

    found = compare(FeatureStore.open(a), FeatureStore.open(b), progress=not as_json)
    if as_json:
        _print_json(found.json())
    else:
        _print_difference(found)
    if not found.is_same:
        click.get_current_context().exit(1)


def _print_difference(found: "Difference") -> None:
    for key, (one, other) in found.window.items():
        click.echo(f"{key}: {one} in A, {other} in B")
    for noun, where, names in (
        ("clip", "A", found.only_a),
        ("clip", "B", found.only_b),
        ("tag", "A", found.tags_only_a),
        ("tag", "B", found.tags_only_b),
        ("spec", "A", found.specs_only_a),
        ("spec", "B", found.specs_only_b),
    ):
        if names:
            some = f"{len(names):,} {noun}{'s' * (len(names) > 1)} only in {where}"
            _print_wrapped(f"{some}: {', '.join(names[:5])}{', …' * (len(names) > 5)}")
    tags = {f"tag {tag}": n for tag, n in found.labels.items()}
    _print_list(
        f"{name}: differs for {n:,} of {found.n_clips:,} clips"
        for name, n in {**found.columns, **tags}.items()
    )
    for spec in found.specs:
        encodings = " and ".join(dict.fromkeys((spec.encoding_a, spec.encoding_b)))
        told = f"{spec.n_differ:,} of {spec.n_compared:,} clips differ"
        if spec.n_differ:
            told += f", by {spec.max:.3g} {spec.unit} at most, {spec.mean:.3g} on average"
        if spec.shapes:
            told = f"not compared: {spec.shapes}"
        for where, n_ready in (("A", spec.only_ready_a), ("B", spec.only_ready_b)):
            told += f"; {n_ready:,} are ready in {where} alone" if n_ready else ""
        _print_wrapped(f"{spec.spec} ({encodings}): {told}")
    click.echo("the same" if found.is_same else "different")


@melgrid.command()
@click.argument("store")
@click.option("--yes", is_flag=True, help="Take it away; else it is only listed.")
@json_option
def gc(store: str, yes: bool, as_json: bool) -> None:
    """List what STORE keeps and nobody needs, and take it away with --yes.

    What killed runs left, values of clips that were pruned, and what belongs to no
    spec. Foreign things are listed and never touched.
    """
    from featurestore import FeatureStore
    from featurestore.maintenance.garbage import collect, find_garbage

    opened = FeatureStore.open(store)
    found = (collect if yes else find_garbage)(opened)
    if as_json:
        _print_json([garbage.json() for garbage in found])
        return
    _print_list(
        f"{garbage.kind} {garbage.key}: {_size(garbage.nbytes)}"
        + (f", {len(garbage.rows):,} of its clips" if garbage.rows else "")
        + (f"; refused: {garbage.refused}" if garbage.refused else "")
        for garbage in found
    )
    going = [g for g in found if g.kind != "foreign" and not g.refused]
    nbytes = sum(garbage.nbytes for garbage in going)
    if not nbytes:
        click.echo("nothing to take away")
    else:
        click.echo(f"{_size(nbytes)} taken away" if yes else f"{_size(nbytes)}; --yes takes it")


def _print_list(lines: Iterable[str]) -> None:
    """Each wrapped, and no more than fit a screen."""
    lines = list(lines)
    for line in lines[:_MOST_LINES]:
        _print_wrapped(line)
    if len(lines) > _MOST_LINES:
        click.echo(f"… and {len(lines) - _MOST_LINES:,} more; --json lists all")


def _print_wrapped(text: str) -> None:
    import textwrap

    text = _one_line(text)
    click.echo(textwrap.fill(text, 79, subsequent_indent="    ", break_on_hyphens=False))


@melgrid.command()
@spec_options
@models_option("Networks.")
@click.option(
    "--width", type=float, default=1.0, show_default=True, help="Scales the networks' filters."
)
@click.option("--tags", "n_tags", type=int, default=50, show_default=True, help="Outputs.")
@duration_option
@click.option(
    "--frames",
    type=click.Choice(["melgrid", "study"]),
    default="melgrid",
    show_default=True,
    help="Frames of a clip at x1: melgrid's 1 + n // 256, or the study's one more.",
)
@click.option("--layers", is_flag=True, help="Count layer by layer.")
@json_option
def macs(
    models: list[str],
    width: float,
    n_tags: int,
    duration: float,
    frames: Any,
    layers: bool,
    as_json: bool,
    **spec_values: Any,
) -> None:
    """Count multiply-accumulates and parameters of networks at specs.

    Convolutions and dense layers count, without biases, and nothing else: as the
    study counts. A network that takes segments is counted for all the segments
    that a clip is judged by.
    """
    specs = _specs(**spec_values)
    from models.networks.cost import macs_table

    rows = macs_table(
        specs,
        models=models,
        width=width,
        n_tags=n_tags,
        frames=frames,
        duration=duration,
        layers=layers,
    )
    if as_json:
        _print_json(rows)
        return
    if layers:
        for row in rows:
            _print_layers(row)
    else:
        _print_table(
            [
                {
                    "spec": row["spec"],
                    "model": row["model"],
                    "frames": row["n_frames"],
                    "segments": f"{row['n_segments']} x {row['segment_frames']:,}",
                    "GMAC": f"{row['gmac']:8.3f}",
                    "parameters": row["parameters"],
                }
                for row in rows
            ]
        )
    if layers:
        click.echo("MMAC of all segments of the clip, output of one")
    click.echo(f"one clip of {duration:g} s; frames as {frames} counts them (--frames)")


def _print_layers(row: dict[str, Any]) -> None:
    click.echo(
        f"{row['spec']}, {row['model']}: {row['gmac']:.3f} GMAC, {row['parameters']:,} parameters, "
        f"{row['n_segments']} x {row['segment_frames']:,} frames"
    )
    _print_table(
        [
            {
                "layer": layer["name"],
                "kind": f"{layer['kind']} {' x '.join(map(str, layer['kernel']))}",
                "output": " x ".join(map(str, layer["output"])),
                "MMAC": layer["macs"] / 1e6,
                "%": layer["macs"] / row["gmac"] / 1e7,
                "parameters": layer["parameters"],
            }
            for layer in row["layers"]
        ]
    )
    click.echo()


step_options = together(
    click.option("--width", type=float, default=1.0, show_default=True,
                 help="Scales a network's filters; 0.125 trains on a laptop."),
    click.option("--recipe", type=click.Choice(["ferraro2020", "modern"]),
                 default="ferraro2020", show_default=True,
                 help="ferraro2020 is the study's: Adam at a constant rate; modern is "
                 "AdamW with warm-up, cosine decay, averaged weights, early stopping."),
    click.option("--augment", type=click.Choice(["none", "specaugment", "mixup"]),
                 default="none", show_default=True, help="Change clips in training."),
    click.option("--batch-size", type=int, help="Clips in a batch.  [the recipe's]"),
    click.option("--device", default="auto", show_default=True,
                 help="auto, cpu, cuda, cuda:1, …"),
    click.option("--amp", type=click.Choice(["auto", "bf16", "off"]), default="auto",
                 show_default=True, help="bfloat16 where the device has it."),
)  # fmt: skip
"""What a training step costs."""

training_options = together(
    step_options,
    click.option("--epochs", type=int, help="Passes over the training split.  [the recipe's]"),
    click.option("--learning-rate", type=float, help="The highest one.  [the recipe's]"),
    click.option("--seed", type=int, default=0, show_default=True,
                 help="Of first weights and the order of clips."),
    several("--tags", "TAG", "a tag", str, "Tags to learn.  [all]", multiple=False),
)  # fmt: skip
"""How networks are trained."""


@melgrid.command()
@click.argument("store")
@click.option("--spec", help="Its name, as ls lists it.  [the store's only one]")
@model_option
@click.option("--fold", type=int, help="Fold to test on.  [the store's own splits]")
@click.option("-o", "--output", default="model.pt", show_default=True, help="Checkpoint.")
@click.option("--tensorboard", metavar="FOLDER", help="Write TensorBoard's files there.")
@training_options
@json_option
def train(
    store: str,
    spec: str | None,
    fold: int | None,
    output: str,
    tensorboard: str | None,
    tags: list[str] | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a network on one spec of STORE, and say how good it is."""
    from featurestore import FeatureStore

    opened = FeatureStore.open(store)
    if spec is None and len(opened.specs) != 1:
        names = ", ".join(str(spec) for spec in opened.specs)
        raise click.UsageError(f"say which --spec: {names}")

    from models.data import training_data
    from models.training.loop import train_to_checkpoint
    from models.training.settings import TrainSettings

    data = training_data(opened, spec or opened.specs[0], tags=tags, fold=fold)
    trained = train_to_checkpoint(
        output, data, TrainSettings(**settings), tensorboard=tensorboard, progress=not as_json
    )
    if trained is None:  # torchrun's other processes
        return
    scores = {
        name: {"roc_auc": part.roc_auc, "pr_auc": part.pr_auc}
        for name, part in (("validation", trained.validation), ("test", trained.test))
    }
    if as_json:
        _print_json({"checkpoint": output, "best_epoch": trained.best_epoch, **scores})
        return
    for name, part in scores.items():
        click.echo(f"{name:<11} ROC AUC {part['roc_auc']:.3f}  PR AUC {part['pr_auc']:.3f}")
    click.echo(f"epoch {trained.best_epoch} of {len(trained.losses)} kept in {output}")


@melgrid.command()
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option(
    "-o",
    "--output",
    "results",
    default="results.jsonl",
    show_default=True,
    help="Results file: a JSON line a run is added; what it has is not done again.",
)
@specs_option("Specs to train on.  [all that are stored]")
@models_option("Networks to train.")
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
@click.option("--dry-run", is_flag=True, help="Say what would be trained, how long, what it tells.")
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
    from models.training.settings import TrainSettings

    chosen: dict[str, Any] = {
        "settings": TrainSettings(**settings),
        "specs": specs,
        "models": models,
        "runs": runs,
        "folds": folds,
        "tags": tags,
        "vary": vary,
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
    click.echo("\n".join(map(_one_line, comparison.lines())))
    click.echo(f"rows in {results}, picture in {drawn}")
    click.echo(f"melgrid report {results} makes a page of it")


def _listening_page(
    store: str,
    folder: str,
    *,
    clips: int,
    specs: "Sequence[FeatureSpec | str] | None",
    quiet: bool,
    method: Any = "griffin-lim",
    seed: int = 0,
) -> "Path":
    from featurestore import FeatureStore
    from pipeline.sonify.listening import write_listening_page

    opened = FeatureStore.open(store)
    with _progress("listening page", quiet=quiet) as progress:
        return write_listening_page(
            opened, folder, n_clips=clips, specs=specs, method=method, seed=seed, progress=progress
        )


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
    from featurestore.specs.grid import thinned
    from models.report import write_report
    from models.study.comparison import compare
    from models.study.results import read_results
    from pipeline.sonify.sonify import MOST

    rows, note = read_results(results)
    if note:
        click.echo(_one_line(note), err=True)
    comparison = compare(rows, baseline=baseline, margin=margin)
    if n_clips is not None and store is not None:  # before the page, which links to it
        heard = thinned((point.spec for point in comparison.points), MOST)
        _listening_page(store, folder, clips=n_clips, specs=heard, quiet=as_json)
    written = write_report(rows, comparison, folder)
    if as_json:
        _print_json(comparison.json() | {"files": [str(path) for path in written]})
        return
    click.echo("\n".join(map(_one_line, comparison.lines())))
    click.echo(f"page in {written[0]}, its figures beside it as PNG and SVG")


@melgrid.command()
@click.argument("path", metavar="AUDIO|STORE")
@click.option("-o", "--output", "drawn", metavar="FILE", help="Draw it, to a PNG file.")
@spec_options
@audio_options
@click.option(
    "--clips",
    type=int,
    default=64,
    show_default=True,
    help="Clips of AUDIO to make, at least: whole tasks.",
)
@specs_option("Specs of STORE to train on.  [its first]")
@model_option
@step_options
@click.option("--batches", type=int, default=10, show_default=True, help="Training steps to time.")
@click.option(
    "--from-store", is_flag=True, help="Read each batch from STORE, though memory would hold all."
)
@json_option
@click.pass_context
def profile(
    ctx: click.Context, /, path: str, drawn: str | None, as_json: bool, **options: Any
) -> None:  # fmt: skip
    """Say what time and memory each stage takes: of making features from AUDIO, or
    of training on STORE.

    AUDIO is what featurize takes; its first clips are made, into a store that is
    removed. The options up to --clips are for AUDIO, those from --specs for STORE.
    """  # noqa: D205
    from featurestore import FeatureStore
    from featurestore.errors import StoreNotFoundError
    from featurestore.process.profile import picture

    of_audio = {name: options.pop(name) for name in _OF_AUDIO}
    try:
        store = FeatureStore.open(path)
    except StoreNotFoundError:
        store = None
    what, others = ("audio", options) if store is None else ("a store", of_audio)
    for param in ctx.command.params:
        given = ctx.get_parameter_source(param.name or "")
        if param.name in others and given is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{path} is {what}: leave out {param.opts[0]}")
    profiles = []
    found = _profile_audio(path, **of_audio) if store is None else _profile_store(store, **options)
    for found_profile in found:
        profiles.append(found_profile)
        if not as_json:
            click.echo(f"{found_profile.table()}\n")
    if drawn:
        picture(profiles, drawn)
    if as_json:
        _print_json([profile.json() for profile in profiles])
        return
    for what, where in (("picture", drawn), ("Dask's report", of_audio["report"])):
        if where:
            click.echo(f"{what} in {where}")


_OF_AUDIO = frozenset({
    "sr", "mels", "hop", "log", "grid_name", "n_fft", "fmin", "fmax", "window",
    "catalog", "label", "tag_lists", "meta", "path_column", "root",
    "encoding", "codec", "duration", "backend", "report", "clips",
})  # fmt: skip


def _profile_audio(
    audio: str,
    *,
    catalog: str | None,
    label: Any,
    tag_lists: Any,
    meta: Any,
    path_column: str,
    root: str | None,
    encoding: Any,
    codec: Any,
    duration: float,
    backend: Any,
    report: str | None,
    clips: int,
    **spec_values: Any,
) -> "Iterator[Profile]":
    from featurestore.specs.encoding import Codec, Encoding
    from featurestore.specs.window import ClipWindow

    specs = _specs(**spec_values)
    from pipeline.catalogs import open_catalog
    from pipeline.profile import profile
    from pipeline.run.settings import RunSettings

    settings = RunSettings(
        window=ClipWindow(duration=duration),
        encoding=Encoding(name=encoding),
        codec=Codec(name=codec),
        backend=backend,
    )
    tracks = open_catalog(audio, catalog, _table(label, tag_lists, meta, path_column, root))
    yield profile(tracks, specs, settings, n_clips=clips, report=report)


def _profile_store(
    store: "FeatureStore",
    *,
    specs: list[str] | None,
    batches: int,
    from_store: bool,
    **settings: Any,
) -> "Iterator[Profile]":
    from models.data import folds_of, training_data
    from models.profile import profile
    from models.training.settings import TrainSettings

    fold, training = folds_of(store)[0], TrainSettings(**settings)
    for spec in specs or store.specs[:1]:
        data = training_data(store, spec, fold=fold)
        yield profile(data, training, n_batches=batches, from_store=from_store)


@melgrid.command()
@click.argument("folder", default=DEMO_FOLDER)
@click.option("--clips", default=240, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other music.")
def demo(folder: str, clips: int, seed: int) -> None:
    """Make the demo corpus in FOLDER: synthesised, labelled music to try melgrid on."""
    click.echo(_demo_corpus(folder, quiet=False, n_clips=clips, seed=seed))


if __name__ == "__main__":
    melgrid()
