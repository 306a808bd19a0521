"""Runs of the real program are killed at random moments; what they leave must not matter.

Moments are counted in files that have appeared in the store, so that they spread over all of a
run: making the store, values and commits, publishing, growth. Driver, a worker, or all processes
are killed. The next run starts at once, while workers of the dead one may still be ending. In the
end the store has to equal that of an uninterrupted run, byte for byte.
"""

import contextlib
import dataclasses
import os
import signal
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import psutil
import soundfile

from benchmarks.crew import scratch
from benchmarks.forked import Launcher, Run
from benchmarks.page import publish, save_option, table, verdict
from featurestore import FeatureStore
from featurestore.errors import StoreNotFoundError

SR = 8000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A command, and how the store that it is given grows."""

    n_clips: int
    arguments: tuple[str, ...]


# The second command finds more clips, the last shard of the first not being full, and has another
# spec. The third adds perturbed waveforms, the last one random draws.
PHASES = (
    Phase(n_clips=52, arguments=("--mels", "16", "--hop", "x1,x2")),
    Phase(n_clips=68, arguments=("--mels", "16", "--hop", "x1,x2", "--log", "log,db")),
    Phase(n_clips=68, arguments=("--feature", "waveform", "--perturb", "noise0.1,stretch1.25")),
    Phase(n_clips=68, arguments=("--mels", "16", "--draws", "2")),
)

_RUNS = 6
"""Of a phase: five are killed; the sixth loses a worker, and goes on unless it had just begun."""


@dataclasses.dataclass(kw_only=True)
class Report:
    """What became of killed runs.

    Parameters
    ----------
    kills : Counter of str
        By victim.
    n_runs, n_stores : int
    faults : list of str
        What was wrong.
    """

    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    n_runs: int = 0
    n_stores: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


def make_music(folder: Path) -> None:
    """A folder a phase, of short files of noise; the second has those of the first, too."""
    rng = np.random.default_rng(0)
    for number in range(PHASES[-1].n_clips):
        samples = rng.uniform(-0.5, 0.5, 2 * 11025 + 100 * number)
        for phase in PHASES:
            if number < phase.n_clips:
                path = audio(folder, phase) / f"{number:02}.flac"
                path.parent.mkdir(exist_ok=True, parents=True)
                soundfile.write(path, samples, 11025)
                os.utime(path, ns=(0, 0))  # the records tell when the audio was changed


def audio(folder: Path, phase: Phase) -> Path:
    """Where a phase's files are."""
    return folder / str(phase.n_clips)


def kill_runs(folder: Path, n_kills: int, *, loops: int = 1, seed: int = 0) -> Report:
    """Kill runs until there were so many kills.

    Parameters
    ----------
    folder : Path
        For music and stores.
    n_kills : int
        At least; each loop ends with a store that is whole.
    loops : int
        How many stores are made side by side.
    seed : int
    """
    make_music(folder / "music")
    report, left_over = Report(), []
    with Launcher() as launcher:
        wanted = uninterrupted(launcher, folder)

    def loop(number: int) -> list[psutil.Process]:
        rng = np.random.default_rng([seed, number])
        orphans = []
        with Launcher() as launcher:
            while report.kills.total() < n_kills and not report.faults:
                store = folder / f"{number}-{report.n_stores}.zarr"
                try:
                    orphans += kill_until_done(
                        launcher, folder / "music", store, wanted, rng, report
                    )
                except Exception:
                    report.faults.append(traceback.format_exc())
        return orphans

    with ThreadPoolExecutor(loops) as pool:
        for orphans in pool.map(loop, range(loops)):
            left_over += orphans
    _, alive = psutil.wait_procs(left_over, timeout=60)
    report.faults += [f"{process} is still alive" for process in alive]
    return report


def uninterrupted(launcher: Launcher, folder: Path) -> list[dict[str, bytes]]:
    """What the store holds after each phase, if nobody is killed."""
    store, contents = folder / "wanted.zarr", []
    for phase in PHASES:
        run = start(launcher, folder / "music", phase, store)
        said = run.finish()
        assert (run.returncode, said) == (0, ""), said
        contents.append(contents_of(store))
    return contents


def kill_until_done(
    launcher: Launcher,
    music: Path,
    store: Path,
    wanted: list[dict[str, bytes]],
    rng: np.random.Generator,
    report: Report,
) -> list[psutil.Process]:
    """Make a store in runs that are killed; gives the processes that they left behind."""
    left_over = []

    def require(holds: bool, what: str) -> None:
        if not holds:
            report.faults.append(f"{store.name}: {what}")

    for phase, contents in zip(PHASES, wanted, strict=True):
        for kills_left in range(_RUNS, 0, -1):
            victim = "worker" if kills_left == 1 else str(rng.choice(["driver", "all"]))
            present = n_files(store)
            reach = (len(contents) - present) * (
                0.5 if victim == "worker" else 2 / (kills_left + 1)
            )
            moment = present + int(rng.integers(0, max(1, round(reach))))
            run = start(launcher, music, phase, store)
            orphans = kill(run, store, victim, moment, rng.uniform(0, 0.02))
            report.n_runs += 1
            report.kills[victim] += orphans is not None
            left_over += orphans or []
            said = run.finish()
            require(is_sound(store), f"damage after a kill of {victim}")
            if said and run.returncode != -signal.SIGKILL:
                begun = said.startswith("Error: a Dask worker died while it was started")
                require(begun and run.returncode == 1, f"exit {run.returncode}: {said}")
        if run.returncode:
            run = start(launcher, music, phase, store)
            report.n_runs += 1
            said = run.finish()
            require((run.returncode, said) == (0, ""), f"exit {run.returncode}: {said}")
        found = contents_of(store)
        different = sorted(
            key for key in found.keys() | contents.keys() if found.get(key) != contents.get(key)
        )
        require(not different, f"other bytes in {', '.join(different)}")
        unfinished = FeatureStore.open(store).verify().unfinished
        left = sorted(str(path.relative_to(store)) for path in (store / ".run").rglob("*"))
        require(not unfinished, f"{'; '.join(unfinished)}: {', '.join(left) or 'nothing left'}")
    statuses = set(FeatureStore.open(store).clips["status"])
    require(statuses == {"ready"}, f"rows are {statuses}")
    report.n_stores += 1
    return left_over


def start(launcher: Launcher, music: Path, phase: Phase, store: Path) -> Run:
    """Start a phase's command."""
    return launcher.start(
        [
            audio(music, phase), "-o", store, "--sr", SR, *phase.arguments,
            "--duration", "1.5", "--workers", "2", "--quiet",
        ],
        store.with_suffix(".stderr"),
    )  # fmt: skip


def kill(
    run: Run, store: Path, victim: str, moment: int, jitter: float
) -> list[psutil.Process] | None:
    """Kill once there are so many files, and some time later.

    Returns
    -------
    orphans : list of psutil.Process or None
        Processes of the run but the driver, as they were then; None if it had ended before.
    """
    while run.poll() is None:
        if n_files(store) >= moment and (store / ".run" / "lock").exists():
            time.sleep(jitter)
            orphans = descendants(run)
            if victim == "driver":
                run.kill()
            elif victim == "all":
                run.kill_all()
            elif not any(kill_worker(process, run) for process in orphans):
                continue
            return orphans if run.poll() in (None, -signal.SIGKILL) else None
        time.sleep(0.003)
    return None


def kill_worker(process: psutil.Process, run: Run) -> bool:
    """Kill a process if it is not the driver's own child but the fork server's, and still there."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if process.ppid() != run.pid:
            process.kill()
            return True
    return False


def descendants(run: Run) -> list[psutil.Process]:
    """Processes of a run but the driver."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(psutil.Process(run.pid).children(recursive=True))
    return []


def contents_of(store: Path) -> dict[str, bytes]:
    """Bytes of all files of a store: values, commit records, clip table, metadata."""
    files = (file for file in sorted(store.rglob("*")) if file.is_file())
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


def n_files(store: Path) -> int:
    """Files of a store, at a moment; not those with which a run keeps its own order."""
    return sum(len(files) for folder, _, files in os.walk(store) if "/.run" not in folder)


def is_sound(store: Path) -> bool:
    """Whether there is no damage, though workers of a dead run may still be ending."""
    try:
        return FeatureStore.open(store).verify().damage == ()
    except StoreNotFoundError:
        return True


@click.command(help=__doc__)
@click.option("--kills", default=1000, show_default=True, help="How many, at least.")
@click.option("--loops", default=2, show_default=True, help="Stores made side by side.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other moments.")
@save_option
def main(kills: int, loops: int, seed: int, save: bool) -> None:
    """Kill, compare and print."""
    began = time.monotonic()
    with scratch("kills") as folder:
        folder.mkdir()
        report = kill_runs(folder.absolute(), kills, loops=loops, seed=seed)
    minutes = (time.monotonic() - began) / 60
    rows = [
        ("kills", str(report.kills.total()), ""),
        *((f"... of {victim}", str(n), "") for victim, n in sorted(report.kills.items())),
        ("runs", str(report.n_runs), ""),
        ("stores, equal byte for byte", str(report.n_stores), ""),
        ("faults", str(len(report.faults)), verdict(len(report.faults), most=0)),
    ]
    remark = (
        f"Seed {seed}, {loops} loops side by side, {minutes:.1f} minutes. Each store is made in "
        f"two phases of {_RUNS} runs that are killed, verified after each."
    )
    faults = "\n".join(f"- {fault}" for fault in report.faults)
    publish("kills", [table(["", "", "aim"], rows), *filter(None, [faults]), remark], save)


if __name__ == "__main__":
    main()
