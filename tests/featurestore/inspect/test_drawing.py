import numpy as np
import pytest
from matplotlib.figure import Figure

from featurestore.inspect.drawing import (
    Panel,
    _evenly_spaced,
    draw_panel,
    highest_frequency,
    scales_of,
)
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec

MEL = FeatureSpec(sr=16000, n_mels=48)
HTK = FeatureSpec(sr=16000, n_mels=48, htk=True)
STFT = StftSpec(sr=16000)
FBANK = FbankSpec(sr=16000, n_mels=40)
WAVE = WaveformSpec(sr=16000)


def panel_of(spec, values=None):
    shape = spec.shape(32000)
    values = np.zeros(shape) if values is None else np.broadcast_to(values, shape)
    return Panel(spec=spec, values=values.astype(np.float32), seconds=2)


def drawn(panel, highest=8000.0):
    axes = Figure().subplots()
    return axes, draw_panel(axes, panel, scales_of([panel])[panel.scale_key], highest)


@pytest.mark.parametrize("spec", [MEL, HTK, STFT, FBANK], ids=str)
def test_a_loud_band_is_drawn_at_its_frequency(spec):
    """Found again in the image, by the ticks that stand beside it, in every kind."""
    bands = spec.coordinates(10)[0].values
    band = int(np.argmin(abs(bands - 2000)))
    values = np.full(spec.shape(32000), -10.0)
    values[band] = 2
    axes, image = drawn(panel_of(spec, values))
    rows = np.flatnonzero(image.get_array().mean(axis=1) > -4)
    low, high = image.get_extent()[2:]
    height = low + (high - low) * (rows.mean() + 0.5) / image.get_array().shape[0]
    ticks = {
        label.get_text(): tick
        for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    }
    step = (ticks["4000"] - ticks["2000"]) / np.log(2)  # the mel scale is logarithmic there
    expected = ticks["2000"] + step * np.log(bands[band] / 2000)
    assert height == pytest.approx(expected, abs=0.004)
    assert (ticks["0"], ticks["8000"]) == (0, pytest.approx(1))


@pytest.mark.parametrize(
    ("spec", "first"), [(MEL, 0), (STFT, 0), (FBANK, 0.0125)], ids=["mel", "stft", "fbank"]
)
def test_a_frame_is_drawn_around_its_time(spec, first):
    _, image = drawn(panel_of(spec))
    step = float(spec.frame_step)
    begin, end = image.get_extent()[:2]
    assert begin == pytest.approx(first - step / 2)
    assert end == pytest.approx(first + (spec.n_frames(32000) - 0.5) * step)


def test_the_axis_ends_where_the_highest_filter_does():
    assert highest_frequency([panel_of(MEL)]) == 8000
    assert highest_frequency([panel_of(FeatureSpec(sr=16000, n_mels=24, fmax=4000))]) == 4000
    assert highest_frequency([panel_of(StftSpec(sr=12000)), panel_of(WAVE)]) == 6000
    assert highest_frequency([panel_of(WAVE)]) == 1


def test_bands_of_unequal_height_are_averaged_by_their_share():
    values = np.array([[0.0], [1.0], [3.0]], np.float32)
    even = _evenly_spaced(values, np.array([0, 0.5, 0.75, 1.0]))
    assert even[:200].max() == 0
    assert even[200:300].min() == even[200:300].max() == 1
    assert even.mean() == pytest.approx(0.25 * 1 + 0.25 * 3)


def test_conditions_share_a_scale_and_kinds_do_not():
    soft = panel_of(MEL.under(Condition.parse("gain-6")), -50)
    panels = [panel_of(MEL, 10), soft, panel_of(FBANK, 3), panel_of(STFT, 20)]
    scales = scales_of(panels)
    assert len(scales) == 3
    assert scales[soft.scale_key] == scales[panels[0].scale_key] == (-50, 10)
    unnormed = FeatureSpec(sr=16000, n_mels=48, norm=None)
    assert panel_of(unnormed).scale_key != soft.scale_key


@pytest.mark.parametrize(
    ("spec", "lowest"),
    [
        (MEL, -70),
        (STFT, -70),
        (FBANK, pytest.approx(10 - 18.42, abs=0.01)),  # 80 dB in natural logarithms
        (FeatureSpec(sr=16000, n_mels=48, log="log"), -200),
    ],
    ids=["db", "stft", "ln", "log"],
)
def test_colours_reach_80_decibels_below_the_loudest_of_what_is_logarithmic(spec, lowest):
    values = np.full(spec.shape(32000), -200.0)
    values[0] = 10
    panel = panel_of(spec, values)
    assert scales_of([panel])[panel.scale_key] == (lowest, 10)


def test_a_waveform_is_the_range_of_its_samples_around_zero():
    samples = np.zeros(32000)
    samples[16000:16100] = 0.5
    samples[24000] = -0.8
    axes, image = drawn(panel_of(WAVE, samples))
    assert image is None
    low, high = axes.get_ylim()
    assert -low == high == pytest.approx(0.88)
    [filled] = axes.collections
    corners = filled.get_paths()[0].vertices
    assert corners[corners[:, 1] > 0.4][:, 0].min() == pytest.approx(1, abs=0.003)
    assert corners[:, 1].min() == pytest.approx(-0.8)


def test_one_band_of_few_frames_is_a_line_between_its_least_and_most():
    spec = FeatureSpec(sr=16000, n_mels=1, hop=10)
    values = np.linspace(-60, -20, spec.n_frames(32000))[None]
    axes, image = drawn(panel_of(spec, values))
    assert image is None
    np.testing.assert_allclose(axes.lines[0].get_ydata(), values[0], rtol=1e-6)
    assert axes.get_ylim() == pytest.approx((-62, -18))


@pytest.mark.parametrize("spec", [MEL, STFT, FBANK, WAVE], ids=str)
def test_silence_has_a_scale(spec):
    panel = panel_of(spec, spec.value_range[0] if spec is not WAVE else 0)
    low, high = scales_of([panel])[panel.scale_key]
    assert low < high
