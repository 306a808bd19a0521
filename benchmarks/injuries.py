"""Thousands of injured files through the real program, each row held against FFmpeg.

Files of every kind are cut, flipped, joined, given junk and false headers (``benchmarks.files``),
featurized in batches by ``featurize`` with its default workers, and every row that is ready is
compared with what FFmpeg decodes of the file. Aims: no run ends for a file's sake, no file is cut
short in silence, no worker dies, and a worker's memory has a bound.

Another decoder may be wrong, too, and what is right for a damaged body no decoder can say. So a
row counts as *short in silence* only if FFmpeg decodes more than was taken, by more than 0.1 s,
1 % and three half frames of MP3, and the file ever held that much; or if a file was cut that tells
its length or marks its end.
Values are compared where the audio was left whole.
"""

import dataclasses
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import psutil

from benchmarks.crew import scratch
from benchmarks.files.injury import Made, injure, whole_files
from benchmarks.files.judge import UNHEARD, Clip, deviation, hear
from benchmarks.page import publish, save_option, table, verdict
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.store import FeatureStore

SPEC = FeatureSpec(sr=16000, n_mels=48, hop=2, log="db")
WINDOW = Excerpt(duration=1.5)

_N_EACH = 2
"""Whole files of each kind, that are injured again and again."""

_STUMBLES = 5
"""Errors of FFmpeg's decoder in a file of seconds that tell bytes which are no audio."""

_GO_ON = (".mp3", ".mp2", ".aac", ".ogg", ".oga", ".opus")
"""Endings of files that may follow one another in one."""

_MOST_LINES = 20
"""Of a list on the page."""

_FAULTS = ("dead", "short in silence", "cut, but ready", "other values")
"""What a row may be found to be, that is wrong; other findings are for a human to look at."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What is odd about a row.

    Parameters
    ----------
    what : str
    file : str
        The file's name: number, kind, injuries.
    detail : str
    """

    what: str
    file: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: `{self.file}`, {self.detail}"


@dataclasses.dataclass(kw_only=True)
class Tally:
    """What became of the files so far.

    Parameters
    ----------
    reasons : Counter of str
        Rows by their reason; ``ready`` for those that are.
    dead : int
        Rows whose file ended its worker, or took too long.
    ended : list of str
        Runs that did not come to their end, and what they said.
    chatter : list of str
        What other runs said on stderr, where there is nothing to say.
    findings : list of Finding
    refused : Counter of str
        Files whose audio was left whole, and that failed: by kind, injuries and reason.
    peak : int
        Most memory of one worker, as it is resident [bytes].
    seconds : dict of str to float
        What making, featurizing and judging took [s].
    """

    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    dead: int = 0
    ended: list[str] = dataclasses.field(default_factory=list)
    chatter: list[str] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    peak: int = 0
    seconds: dict[str, float] = dataclasses.field(default_factory=Counter)

    @property
    def faults(self) -> list[Finding]:
        """Findings that are wrong in any case."""
        return [finding for finding in self.findings if finding.what in _FAULTS]

    def count(self, *what: str) -> int:
        """Findings of some sorts."""
        return sum(finding.what in what for finding in self.findings)


def judge(path: str, made: Made, clip: Clip) -> Finding | None:
    """What is odd about a ready row; None if nothing is."""
    heard = hear(path)
    # A centred clip tells the length of all that was decoded, to a sample.
    taken = (2 * clip.start + clip.n_valid) / clip.sr
    # An encoder's delay and padding are left out by one and not by the other, where a file's head
    # is lost: three half frames.
    tolerance = max(0.1, 0.01 * max(taken, heard.seconds), 3 * 576 / clip.sr)
    told = f"{taken:.2f} s taken, {heard.seconds:.2f} s by FFmpeg, {made.seconds:.2f} s encoded"
    errors = f", {heard.n_errors} errors" * (heard.n_errors > 0)

    def found(what: str, more: str = "") -> Finding:
        return Finding(what=what, file=made.name, detail=told + errors + more)

    is_less = made.seconds - taken > tolerance
    if made.kind and is_less:
        if made.effect == "none":
            return found("short in silence")
        if made.effect == "cut" and made.tells_end:
            return found("cut, but ready")
    if heard.seconds - taken > tolerance:
        # More than was encoded is there only if something was added to a file that may go on: the
        # others say where their audio ends. And what FFmpeg stumbles through is no audio.
        is_added = "joined" in made.name or "repeated" in made.name
        is_more = is_added and made.name.endswith(_GO_ON)
        if (is_less or is_more) and heard.n_errors < _STUMBLES:
            return found("short in silence")
        return found("FFmpeg decodes more than was encoded")
    if taken - heard.seconds > tolerance:
        return found("FFmpeg decodes less")
    if not made.kind or made.effect != "none" or made.kind in UNHEARD:
        return None
    if clip.sr == heard.sr and abs(2 * clip.start + clip.n_valid - heard.n_samples) > 1:
        return found("another length, by less than 0.1 s")
    error, most = deviation(path, made.kind, heard, clip, SPEC, WINDOW.n_samples(SPEC.sr))
    return found("other values", f", {error:.2f} dB") if error > most else None


def run_batch(folder: Path, batch: Sequence[Made], tally: Tally, limit: int | None) -> None:
    """Featurize some files, and take up what became of them."""
    audio, store = folder / "audio", folder / "store.zarr"
    audio.mkdir()
    began = time.monotonic()
    for made in batch:
        made.write(audio)
    # A table, since folders list files by their endings alone.
    (audio / "tracks.csv").write_text("\n".join(["path", *(made.name for made in batch)]))
    made_at = time.monotonic()
    featurize(audio / "tracks.csv", store, tally, limit)
    done_at = time.monotonic()
    by_name = {made.name: made for made in batch}
    jobs = list(rows(FeatureStore.open(store), by_name, tally, audio))
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        found = pool.map(judge, *zip(*jobs, strict=True), chunksize=8)
        tally.findings += [finding for finding in found if finding is not None]
    tally.seconds["making"] += made_at - began
    tally.seconds["featurize"] += done_at - made_at
    tally.seconds["judging"] += time.monotonic() - done_at


def rows(
    store: FeatureStore, by_name: dict[str, Made], tally: Tally, audio: Path
) -> Iterator[tuple[str, Made, Clip]]:
    """Take up how each row stands; gives those that are ready, to be judged."""
    clips = store.clips
    ready = [row for row, status in enumerate(clips.status) if status == "ready"]
    values = dict(zip(ready, store[SPEC].read(ready) if ready else (), strict=True))
    for row, clip in enumerate(clips.itertuples()):
        made = by_name[clip.path]
        if row in values:
            tally.reasons["ready"] += 1
            stored = Clip(
                sr=int(clip.sr),
                start=int(clip.start),
                n_valid=int(clip.n_valid),
                values=values[row],
            )
            yield str(audio / made.name), dataclasses.replace(made, data=b""), stored
            continue
        tally.reasons[clip.reason or clip.status] += 1
        if clip.detail == "it crashed its process" or clip.detail.startswith("not done after"):
            tally.dead += 1
            tally.findings.append(Finding(what="dead", file=made.name, detail=clip.detail))
        if made.effect == "none" and made.kind and clip.status == "failed":
            tally.refused[f"{made.kind} {'+'.join(made.injuries)}: {clip.reason}"] += 1


def featurize(audio: Path, store: Path, tally: Tally, limit: int | None) -> None:
    """Run the program; what it says besides, and its workers' memory, are taken up."""
    command = [
        str(Path(sys.executable).with_name("featurize")), str(audio), "-o", str(store),
        "--sr", str(SPEC.sr), "--mels", str(SPEC.n_mels), "--hop", f"x{SPEC.hop}",
        "--duration", f"{WINDOW.duration:g}", "--encoding", "float32", "--timeout", "60",
        "--max-failures", "100%", "--quiet",
    ]  # fmt: skip

    def bound() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=bound)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            tally.peak = max(tally.peak, workers_peak(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, said = process.communicate()
    ended.set()
    watcher.join()
    last = " ".join(said.split())[-300:]
    if process.returncode or "Traceback" in said:
        tally.ended.append(f"exit {process.returncode}: {last}")
    elif said:
        tally.chatter.append(last)


def workers_peak(driver: int) -> int:
    """Most memory that one of a run's workers has had [bytes]."""
    peak = 0
    try:
        processes = psutil.Process(driver).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]) << 10)
    return peak


@click.command(help=__doc__)
@click.option("--files", default=10_000, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other files.")
@click.option("--first", default=0, show_default=True, help="Number of the first file.")
@click.option("--batch", default=500, show_default=True, help="Files a run.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the files found odd.")
@click.option("--address-space", type=float, help="Bound of each process, as ulimit -v [GB].")
@save_option
def main(
    files: int,
    seed: int,
    first: int,
    batch: int,
    keep: Path | None,
    address_space: float | None,
    save: bool,
) -> None:
    """Make, featurize, judge and print."""
    tally = Tally()
    began = time.monotonic()
    wholes = whole_files(seed, _N_EACH)
    tally.seconds["making"] += time.monotonic() - began
    limit = None if address_space is None else int(address_space * 1e9)
    for start in range(first, first + files, batch):
        numbers = range(start, min(start + batch, first + files))
        before = len(tally.faults)
        with scratch("batch") as folder:
            folder.mkdir()
            series = [injure(seed, number, wholes) for number in numbers]
            run_batch(folder, series, tally, limit)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                for finding in tally.faults[before:]:
                    shutil.copy(folder / "audio" / finding.file, keep)
        counts = Counter(finding.what for finding in tally.findings)
        click.echo(f"{numbers.stop - first} files: {dict(counts)}", err=True)
    publish("injuries", report(tally, files, seed, len(wholes), time.monotonic() - began), save)


def report(tally: Tally, files: int, seed: int, n_wholes: int, seconds: float) -> list[str]:
    """Tables and remarks."""
    counts = Counter(finding.what for finding in tally.findings)
    silent = tally.count("short in silence", "cut, but ready")
    n_ended, n_said = len(tally.ended), len(tally.chatter)
    n_other = tally.count("other values")
    aims: list[tuple[str, str, str]] = [
        ("files", f"{files:,}", ""),
        ("ready", f"{tally.reasons['ready']:,}", ""),
        *(
            (f"not ready: {r}", f"{n:,}", "")
            for r, n in tally.reasons.most_common()
            if r != "ready"
        ),
        ("runs that ended", str(n_ended), verdict(n_ended, most=0)),
        ("runs that printed something on stderr", str(n_said), verdict(n_said, most=0)),
        ("files that ended their worker", str(tally.dead), verdict(tally.dead, most=0)),
        ("files short in silence", str(silent), verdict(silent, most=0)),
        ("whole files with other values", str(n_other), verdict(n_other, most=0)),
        ("most memory of a worker [MB]", f"{tally.peak / 1e6:.0f}", ""),
    ]
    others = [(what, str(n)) for what, n in counts.most_common() if what not in _FAULTS]
    others.append(("whole audio refused", str(tally.refused.total())))
    lists = _listed(tally)
    remark = (
        f"{n_wholes} whole files of 2 to 6 s, of every kind that could be made, injured again and "
        f"again (seed {seed}); {SPEC.name}, float32, --duration {WINDOW.duration:g}, default "
        f"workers. {seconds / 60:.0f} minutes: "
        + ", ".join(f"{part} {taken:.0f} s" for part, taken in tally.seconds.items())
        + ". A worker's memory is what was resident at most, the libraries it shares included."
    )
    return [
        table(["", "", "aim"], aims),
        table(["to look at, not wrong as such", ""], others),
        *lists,
        remark,
    ]


def _listed(tally: Tally) -> list[str]:
    """What went wrong, file by file, and the whole files that were refused."""
    lines = [f"- run ended: {said}" for said in tally.ended[:_MOST_LINES]]
    lines += [f"- run said: {said}" for said in tally.chatter[:_MOST_LINES]]
    faults = tally.faults
    lines += [f"- {fault}" for fault in faults[:_MOST_LINES]]
    lines += [f"- … and {len(faults) - _MOST_LINES} more"] * (len(faults) > _MOST_LINES)
    refused = [f"- refused: {what} ({n})" for what, n in tally.refused.most_common(_MOST_LINES)]
    return ["\n".join(part) for part in (lines, refused) if part]


if __name__ == "__main__":
    main()
