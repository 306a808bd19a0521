"""Transforms of frames are NumPy's, to double precision."""

import numpy as np
import pytest

from pipeline.kernels.compiler import compiled, inlined
from pipeline.kernels.fft import invert, is_transformed, tables, transform
from pipeline.kernels.lanes import WIDTH, store


@inlined
def _put(out, at, k, real, imaginary):
    store(out, at + 2 * WIDTH * k, real)
    store(out, at + 2 * WIDTH * k + WIDTH, imaginary)


@compiled(
    "void(float64[::1], int64, float64[::1], float64[::1], float64[::1], int64[::1], float64[::1])"
)
def _spectra(samples, step, window, turns, halves, order, out):
    rows = np.empty(WIDTH * len(window))
    transform(samples, 0, step, window, rows, turns, halves, order, _put, out, 0)


def spectra(samples, step, window):
    """Of four frames, ``(4, n_bins)``."""
    of = tables(len(window))
    out = np.full((len(window) // 2 + 1, 2, WIDTH), np.nan)
    _spectra(samples, step, window / 2, of.turns, of.halves, of.order, out.reshape(-1))
    return (out[:, 0] + 1j * out[:, 1]).T


@pytest.mark.parametrize("log", range(5, 17))
def test_spectra_are_numpys(log):
    rng, n_fft, step = np.random.default_rng(log), 2**log, 2**log // 4 + 1
    window, samples = rng.uniform(size=n_fft), rng.standard_normal(n_fft + 3 * step)
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::step]
    expected = np.fft.rfft(frames * window)
    got = spectra(samples, step, window)
    # An rms of a few units of 2e-16, of the rms of the spectrum.
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-15 * np.sqrt(n_fft / 3) * log)
    assert not got[:, 0].imag.any()
    assert not got[:, -1].imag.any()


def test_a_click_is_all_frequencies_and_each_sine_is_one():
    click = np.zeros(128)
    click[0] = 1
    np.testing.assert_array_equal(spectra(click, 0, np.ones(128)), np.ones((4, 65)))
    for k in (0, 1, 17, 32, 64):
        sine = np.cos(2 * np.pi * k * np.arange(128) / 128)
        expected = np.zeros(65)
        expected[k] = 128 if k in (0, 64) else 64
        np.testing.assert_allclose(spectra(sine, 0, np.ones(128))[0], expected, atol=1e-12)


@inlined
def _put_samples(out, n_fft, place, samples):
    store(out, place, samples[0])
    store(out, n_fft + place, samples[1])
    store(out, 2 * n_fft + place, samples[2])
    store(out, 3 * n_fft + place, samples[3])


@compiled("void(float64[::1], int64, float64[::1], float64[::1], int64[::1], float64[::1])")
def _inverted(rows, n, turns, halves, order, out):
    invert(rows, n, turns, halves, order, _put_samples, out, 2 * n)


@pytest.mark.parametrize("log", range(6, 13))
def test_frames_of_spectra_are_numpys(log):
    rng, n_fft = np.random.default_rng(log), 2**log
    spectra = rng.standard_normal((4, n_fft // 2 + 1, 2)) @ [1, 1j]
    of, out = tables(n_fft), np.full(4 * n_fft, np.nan)
    rows = np.stack([spectra.real.T, spectra.imag.T], axis=1).reshape(-1)
    _inverted(rows, n_fft // 2, of.turns, of.halves, of.order, out)
    expected = np.fft.irfft(spectra) * n_fft
    np.testing.assert_allclose(
        out.reshape(4, n_fft), expected, rtol=0, atol=2e-15 * np.sqrt(n_fft) * log
    )


def test_powers_of_two_from_32_on_are_transformed():
    assert [n for n in range(1, 3000) if is_transformed(n)] == [32, 64, 128, 256, 512, 1024, 2048]
