"""Injured files through the real program: read right, or refused, and never short in silence."""

import pytest

from benchmarks.files.injury import injure, whole_files
from benchmarks.injuries import Tally, run_batch

BATCH = 500


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_injured_files_are_read_as_ffmpeg_reads_them_or_refused(tmp_path, thorough):
    tally = Tally()
    wholes = whole_files(1, 2 if thorough else 1)
    for first in range(0, 10_000 if thorough else 300, BATCH):
        folder = tmp_path / str(first)
        folder.mkdir()
        numbers = range(first, first + (BATCH if thorough else 300))
        run_batch(folder, [injure(1, number, wholes) for number in numbers], tally, None)
    assert (tally.ended, tally.chatter, tally.dead) == ([], [], 0)
    assert not tally.faults, "\n".join(["", *map(str, tally.faults)])
    assert tally.reasons["ready"] > 0.3 * tally.reasons.total()
