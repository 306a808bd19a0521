"""The loops of `pipeline.perturb.dsp.vocoder`: from frames to spectra, and from phases to frames.

Arrays are by frame and bin, with room for `COLUMNS` bins. Frames are of `N_FFT` samples, every
`HOP`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import compiled, inlined
from pipeline.kernels.fft import invert, tables, transform
from pipeline.kernels.lanes import WIDTH, Lanes, load, store, transposed

N_FFT = 2048
HOP = N_FFT // 4
N_BINS = N_FFT // 2 + 1
COLUMNS = N_BINS + WIDTH - 1
"""The bins, and as many more as make it a multiple of `WIDTH`; what is there is of no meaning."""

_TABLES = tables(N_FFT)
_ROW = 2 * WIDTH

_TURN = 2 * np.pi
_PER_TURN = 1 / _TURN

Singles = npt.NDArray[np.float32]


def spectra(
    samples: Singles, window: npt.NDArray[np.float64], real: Singles, imaginary: Singles
) -> None:
    """Put spectra of frames there, the first from the first sample on: a multiple of `WIDTH`."""
    _spectra(samples, window / 2, _TABLES.turns, _TABLES.halves, _TABLES.order, real, imaginary)


@inlined
def _put_bin(rows: Any, at: int, k: int, real: Lanes, imaginary: Lanes) -> None:
    store(rows, _ROW * k, real)
    store(rows, _ROW * k + WIDTH, imaginary)


@inlined
def _put_turned(rows: Any, k: int, part: int, spectra: Any, frame: int) -> None:
    at = _ROW * k + part
    by_frame = transposed(
        load(rows, at), load(rows, at + _ROW), load(rows, at + 2 * _ROW), load(rows, at + 3 * _ROW)
    )
    store(spectra[frame], k, by_frame[0])
    store(spectra[frame + 1], k, by_frame[1])
    store(spectra[frame + 2], k, by_frame[2])
    store(spectra[frame + 3], k, by_frame[3])


@compiled(
    "void(Array(float32, 1, 'C', readonly=True), float64[::1], float64[::1], float64[::1], "
    "int64[::1], float32[:, ::1], float32[:, ::1])"
)
def _spectra(
    samples: Any, window: Any, turns: Any, halves: Any, order: Any, real: Any, imaginary: Any
) -> None:
    rows, bins = np.empty(WIDTH * N_FFT), np.zeros(_ROW * COLUMNS)
    for frame in range(0, len(real), WIDTH):
        transform(samples, frame * HOP, HOP, window, rows, turns, halves, order, _put_bin, bins, 0)
        for k in range(0, COLUMNS, WIDTH):
            _put_turned(bins, k, 0, real, frame)
            _put_turned(bins, k, WIDTH, imaginary, frame)


@compiled("void(float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1])")
def magnitudes(real: Any, imaginary: Any, out: Any, extremes: Any) -> None:
    """Put magnitudes of complex numbers there, and extremes of each frame ``(n_frames, 3)``.

    They are the largest magnitude, the smallest, and the smallest real or imaginary part of all
    bins but the first and the last, which are real.
    """
    for frame in range(len(real)):
        a, b, c = real[frame], imaginary[frame], out[frame]
        for k in range(COLUMNS):
            c[k] = np.sqrt(a[k] * a[k] + b[k] * b[k])
        # Compared as whole numbers, which LLVM does several at a time; so do sizes order.
        largest, smallest, least = np.int32(0), np.int32(0x7FFFFFFF), np.int32(0x7FFFFFFF)
        for k in range(N_BINS):
            size = np.float32(c[k]).view(np.int32)
            largest, smallest = max(largest, size), min(smallest, size)
        for k in range(1, N_BINS - 1):
            one = np.int32(np.float32(a[k]).view(np.int32) & 0x7FFFFFFF)
            other = np.int32(np.float32(b[k]).view(np.int32) & 0x7FFFFFFF)
            least = min(least, min(one, other))
        extremes[frame, 0] = np.int32(largest).view(np.float32)
        extremes[frame, 1] = np.int32(smallest).view(np.float32)
        extremes[frame, 2] = np.int32(least).view(np.float32)


_ADVANCE = HOP * (2 * np.pi / N_FFT) * np.arange(COLUMNS)
"""How far a bin's own frequency turns from frame to frame [rad]."""


def advances(phases: Singles, out: npt.NDArray[np.float64]) -> None:
    """Put there how far each frame's phases turn to the next one's: as near to the bins' own."""
    _advances(phases, _ADVANCE, out)


@compiled("void(float32[:, ::1], float64[::1], float64[:, ::1])")
def _advances(phases: Any, own: Any, out: Any) -> None:
    # Divided, and not multiplied by the inverse: after silence, it is often half a turn to the bit.
    for frame in range(len(out)):
        a, b, c = phases[frame], phases[frame + 1], out[frame]
        for k in range(len(c)):
            advance = np.float64(np.float32(b[k] - a[k]))
            c[k] = advance - _TURN * np.rint((advance - own[k]) / _TURN)


def frames(
    magnitudes: Singles, advances: npt.NDArray[np.float64], phase: Singles,
    columns: npt.NDArray[np.int64], parts: Singles, window: npt.NDArray[np.float64], out: Singles,
) -> None:  # fmt: skip
    """Add frames to `out`, each under the window, the first from its first sample on.

    Parameters
    ----------
    magnitudes, advances : np.ndarray [shape=(n_frames, COLUMNS)]
        Of the frames that there are.
    phase : np.ndarray [shape=(COLUMNS,), dtype=float32]
        Of the first frame; becomes that of the one behind the last.
    columns : np.ndarray [shape=(n,), dtype=int64]
        The frame that each new one follows.
    parts : np.ndarray [shape=(n,), dtype=float32]
        How far it is on the way to the next.
    out : np.ndarray [dtype=float32]
        Long enough for a multiple of `WIDTH` of frames.
    """
    _frames(
        magnitudes, advances, phase, columns, parts, window / N_FFT,
        _TABLES.turns, _TABLES.halves, _TABLES.order, out,
    )  # fmt: skip


# The sine and the cosine of up to an eighth of a turn, by its powers.
_S1, _S3, _S5, _S7 = (np.float32(c) for c in (1, -1 / 6, 1 / 120, -1 / 5040))
_C0, _C2, _C4, _C6, _C8 = (np.float32(c) for c in (1, -1 / 2, 1 / 24, -1 / 720, 1 / 40320))
_QUARTER = np.float32(np.pi / 2)


@inlined
def _go(phase: Any, advance: Any, turns: Any) -> None:
    """Where in its turn each phase is, in quarters, from -2 to 2; and on to the next frame's."""
    for k in range(len(turns)):
        whole = np.float64(phase[k])
        turn = whole * _PER_TURN
        turns[k] = 4 * (turn - np.rint(turn))
        phase[k] = whole + advance[k]


@inlined
def _turn(quarters: Any, real: Any, imaginary: Any) -> None:
    """Complex numbers of magnitudes `real`, turned."""
    for k in range(len(quarters)):
        nearest = np.rint(quarters[k])
        x = np.float32(quarters[k] - nearest) * _QUARTER
        z = x * x
        sine = x * (_S1 + z * (_S3 + z * (_S5 + z * _S7)))
        cosine = _C0 + z * (_C2 + z * (_C4 + z * (_C6 + z * _C8)))
        quarter = np.int32(nearest)
        odd = quarter & 1
        a, b = (sine, cosine) if odd else (cosine, sine)
        size = real[k]
        real[k] = -size * a if (quarter + 1) & 2 else size * a
        imaginary[k] = -size * b if quarter & 2 else size * b


@inlined
def _between(first: Any, second: Any, part: Any, out: Any) -> None:
    for k in range(len(out)):
        out[k] = first[k] + part * (second[k] - first[k])


@inlined
def _add(state: Any, to: int, at: int, samples: Any) -> None:
    out, window = state
    weights = load(window, at)
    to += at
    store(out, to, load(out, to) + samples[0] * weights)
    store(out, to + HOP, load(out, to + HOP) + samples[1] * weights)
    store(out, to + 2 * HOP, load(out, to + 2 * HOP) + samples[2] * weights)
    store(out, to + 3 * HOP, load(out, to + 3 * HOP) + samples[3] * weights)


@inlined
def _put_rows(spectra: Any, k: int, rows: Any, part: int) -> None:
    by_bin = transposed(
        load(spectra[0], k), load(spectra[1], k), load(spectra[2], k), load(spectra[3], k)
    )
    at = _ROW * k + part
    store(rows, at, by_bin[0])
    store(rows, at + _ROW, by_bin[1])
    store(rows, at + 2 * _ROW, by_bin[2])
    store(rows, at + 3 * _ROW, by_bin[3])


@compiled(
    "void(float32[:, ::1], float64[:, ::1], float32[::1], int64[::1], float32[::1], float64[::1], "
    "float64[::1], float64[::1], int64[::1], float32[::1])"
)
def _frames(
    magnitudes: Any, advances: Any, phase: Any, columns: Any, parts: Any, window: Any,
    turns: Any, halves: Any, order: Any, out: Any,
) -> None:  # fmt: skip
    quarters, rows = np.empty(COLUMNS, np.float32), np.empty(_ROW * COLUMNS)
    real = np.zeros((WIDTH, COLUMNS), np.float32)
    imaginary = np.zeros((WIDTH, COLUMNS), np.float32)
    for block in range(0, len(columns), WIDTH):
        for i in range(WIDTH):
            frame = block + i
            if frame == len(columns):
                real[i:] = 0
                imaginary[i:] = 0
                break
            column = columns[frame]
            _between(magnitudes[column], magnitudes[column + 1], parts[frame], real[i])
            _go(phase, advances[column], quarters)
            _turn(quarters, real[i], imaginary[i])
        for k in range(0, COLUMNS, WIDTH):
            _put_rows(real, k, rows, 0)
            _put_rows(imaginary, k, rows, WIDTH)
        invert(rows, N_FFT // 2, turns, halves, order, _add, (out, window), block * HOP)
