import librosa
import numpy as np
import pytest
import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.stft import StftSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.won2020.hcnn import Block, HarmonicCNN, HarmonicFilters
from tests.models.networks.norms import randomize_norms

HCNN = ARCHITECTURES["hcnn"]
PUBLISHED = 313  # frames of 80,000 samples
SPECS = [StftSpec(sr=16000), StftSpec(sr=12000, n_fft=1024), StftSpec(sr=22050, n_fft=4096, hop=4)]


def triangles(sr, n_fft, q=1.0):
    """The filters by another way: librosa's note frequencies, and interpolation."""
    bins = librosa.fft_frequencies(sr=sr, n_fft=n_fft)
    notes = librosa.midi_to_hz(librosa.note_to_midi("C1") + np.arange(128) / 2)
    rows = []
    for harmonic in range(1, 7):
        for centre in harmonic * notes:
            half = (0.1079 * centre + 24.7) / q / 2
            rows.append(np.interp(bins, [centre - half, centre, centre + half], [0, 1, 0]))
    return np.array(rows)


def test_it_has_as_many_parameters_as_the_reference():
    cost = clip_cost(HCNN, HCNN.takes, n_frames=PUBLISHED, n_outputs=50)
    assert cost.parameters == 3_631_551


def test_it_takes_5_s_with_the_frame_at_their_end():
    assert HCNN.window_frames(HCNN.takes, frames_of(HCNN.takes)) == PUBLISHED == 1 + 80_000 // 256


def test_its_macs_are_the_formula_written_out_and_the_filters_count():
    cost = clip_cost(HCNN, HCNN.takes, n_frames=PUBLISHED, n_outputs=50)
    filters = 6 * 128 * 257 * PUBLISHED
    convolutions = 9 * 6 * 128 * 128 * 313
    convolutions += 2 * 9 * 128 * 128 * (64 * 156 + 32 * 78 + 16 * 39)
    convolutions += 9 * 128 * 256 * 8 * 19
    convolutions += 2 * 9 * 256 * 256 * (4 * 9 + 2 * 3)
    dense = 256 * 256 + 256 * 50
    by_name = {layer.name: layer for layer in cost.layers}
    assert by_name["harmonics"].macs == filters
    assert by_name["harmonics"].parameters == 1
    assert sum(layer.macs for layer in cost.layers) == filters + convolutions + dense


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("q", [1.0, 0.4, 3.0])
def test_filters_are_triangles_at_harmonics(spec, q):
    harmonics = HarmonicFilters(spec)
    nn.init.constant_(harmonics.q, q)
    expected = triangles(spec.sr, spec.n_fft, q)
    # float32 keeps 2e-4 Hz of 4 kHz; the narrowest filter falls from 1 to 0 in 5 Hz.
    np.testing.assert_allclose(harmonics.filters().detach(), expected, rtol=0, atol=2e-4)
    assert expected.max() > 0.9


def test_filters_beyond_half_the_rate_hold_nothing():
    spec = StftSpec(sr=12000, n_fft=2048)
    harmonics = HarmonicFilters(spec)
    with torch.no_grad():
        decibels = harmonics(torch.ones(1, spec.n_bands, 2))[0, :, :, 0]
    begins = harmonics.centres - (0.1079 * harmonics.centres + 24.7) / 2
    beyond = (begins > 6000).reshape(6, 128)
    assert beyond.sum(1).tolist() == [0, 0, 0, 0, 1, 7]
    assert torch.equal(decibels == -100, beyond)


def test_a_note_is_where_its_harmonics_are():
    spec = StftSpec(sr=16000, n_fft=8192)
    frame = np.hanning(8192) * np.sin(2 * np.pi * 440 * np.arange(8192) / 16000)
    power = np.abs(np.fft.rfft(frame)) ** 2
    harmonics = HarmonicFilters(spec)
    nn.init.constant_(harmonics.q, 4.0)
    with torch.no_grad():
        decibels = harmonics(torch.tensor(power[None, :, None], dtype=torch.float32))
    strongest = decibels[0, :, :, 0].argmax(1)
    # A4 itself, A3, D3 (a third of 440 Hz), A2, F2, D2: in half semitones from C1.
    notes = np.array([69, 57, 50, 45, 41, 38])
    np.testing.assert_allclose(strongest, 2 * (notes - 24), atol=1)


def test_the_gradient_of_q_is_how_the_output_changes():
    torch.manual_seed(0)
    spec = StftSpec(sr=16000)
    harmonics = HarmonicFilters(spec).double()
    power = torch.rand(2, spec.n_bands, 5, dtype=torch.float64)

    def output(q):
        nn.init.constant_(harmonics.q, q)
        return harmonics(power).mean()

    output(1.0).backward()
    with torch.no_grad():
        slope = (output(1 + 1e-6) - output(1 - 1e-6)) / 2e-6
    assert abs(slope) > 1
    torch.testing.assert_close(harmonics.q.grad[0], slope, rtol=1e-4, atol=0)


def test_decibels_are_turned_back_and_the_network_is_as_written_out():
    torch.manual_seed(0)
    spec = StftSpec(sr=16000)
    network = HarmonicCNN(spec, n_frames=40, n_outputs=3, width=0.03).eval()
    randomize_norms(network)
    power = torch.randn(2, spec.n_bands, 40).exp() * 1e-3
    values = 10 * power.log10()

    filtered = torch.tensor(triangles(16000, 512)) @ power.double()
    decibels = 10 * filtered.clamp(min=1e-10).log10()
    maps = network.input_norm(decibels.reshape(2, 6, 128, 40).float())
    for layer, time in zip(network.layers, (2, 2, 2, 2, 2, 1, 1), strict=True):
        if isinstance(layer, Block):
            first, first_norm, _, second, second_norm = layer.convolutions
            straight = second_norm(second(first_norm(first(maps)).relu()))
            maps = (maps + straight).relu()
        else:
            convolution, norm, *_ = layer
            maps = norm(convolution(maps)).relu()
        maps = nn.functional.max_pool2d(maps, (2, time))
    assert maps.shape == (2, 8, 1, 1)
    dense, norm, *_ = network.hidden
    expected = network.dense(norm(dense(maps[..., 0, 0])).relu())

    torch.testing.assert_close(network(values), expected, rtol=1e-3, atol=1e-3)
    assert [isinstance(layer, Block) for layer in network.layers] == [0, 1, 1, 1, 0, 1, 1]


def test_silence_is_at_the_floor_in_every_filter():
    spec = StftSpec(sr=16000)
    network = HarmonicCNN(spec, n_frames=4, n_outputs=3, width=0.03).eval()
    seen = []
    network.input_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((1, spec.n_bands, 4), -100.0))
    assert (seen[0] == -100).all()
    # The floor itself, as power, would not be: a filter adds up many bins.
    assert network.harmonics(torch.full((1, spec.n_bands, 4), 1e-10)).max() > -95


def test_decibels_are_as_exact_in_training_in_bfloat16():
    torch.manual_seed(0)
    harmonics = HarmonicFilters(StftSpec(sr=16000))
    power = torch.rand(1, 257, 4) * 1e-8
    with torch.autocast("cpu", torch.bfloat16):
        decibels = harmonics(power)
    assert torch.equal(decibels, harmonics(power))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("n_frames", [1, 2, 47, 1000])
def test_it_takes_other_specs_and_lengths(spec, n_frames):
    network = HCNN.new(spec, n_frames=n_frames, n_outputs=3, width=0.03).eval()
    n_frames = HCNN.window_frames(spec, n_frames)
    assert network(torch.randn(2, spec.n_bands, n_frames)).shape == (2, 3)


def test_what_follows_from_the_spec_is_not_kept_with_the_weights():
    network = HCNN.new(HCNN.takes, n_frames=10, n_outputs=3, width=0.03)
    assert [name for name in network.state_dict() if "harmonics" in name] == ["harmonics.q"]


def test_training_on_one_window_is_refused():
    network = HCNN.new(HCNN.takes, n_frames=10, n_outputs=3, width=0.03)
    with pytest.raises(TrainingError, match="cannot train on a batch of one window"):
        network(torch.randn(1, 257, 10))
