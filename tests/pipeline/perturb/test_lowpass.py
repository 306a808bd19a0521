import numpy as np
import pytest

from featurestore.errors import SpecError
from pipeline.perturb import lowpass
from pipeline.perturb.audio import Audio


@pytest.mark.parametrize(("sr", "cutoff"), [(16000, 1000), (8000, 3999), (48000, 1500)])
def test_it_is_the_filter_of_ffmpeg(piece, sr, cutoff, ffmpeg):
    audio = Audio(samples=piece, sr=sr)
    ours = lowpass.perturb(audio, (cutoff,), np.random.default_rng(0))
    # FFmpeg computes in float32, which in the feedback costs some digits.
    np.testing.assert_allclose(ours, ffmpeg(audio, f"lowpass=frequency={cutoff}"), atol=1e-5)


@pytest.mark.parametrize("cutoff", [4000, 10_000])
def test_a_cut_off_that_the_rate_cannot_hold_is_refused(cutoff):
    lowpass.require(8000, (3999.9,))
    with pytest.raises(SpecError, match=f"'lowpass{cutoff}': .* at 8000 Hz .* below 4000"):
        lowpass.require(8000, (cutoff,))
    with pytest.raises(SpecError, match="below 4000"):
        lowpass.perturb(
            Audio(samples=np.zeros(9, np.float32), sr=8000), (cutoff,), np.random.default_rng(0)
        )
