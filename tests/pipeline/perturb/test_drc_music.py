import numpy as np

from pipeline.perturb import drc_music
from pipeline.perturb.audio import Audio

SR = 16000
EFFECT = "compand 0.1,0.3 -90,-90,-70,-58,-55,-43,-31,-31,-21,-21,0,-20 0 0 0.1"

# sox 14.4.2's levels [dB] of `swell` under EFFECT, a quarter of a second each.
# fmt: off
GOLDEN = [
    -22.81, -24.27, -25.35, -26.17, -26.92, -30.27, -35.27, -39.03, -41.6, -44.16, -46.7, -49.26,
    -53.27, -58.27, -63.29, -69.9, -77.89, -85.88, -93.86, -100.27, -99.52, -93.27, -84.75, -74.76,
    -64.76, -56.32, -50.02, -44.07, -40.47, -37.34, -34.22, -30.54, -24.52, -21.13, -20.81, -19.96,
]
# fmt: on


def compressed(samples):
    return drc_music.perturb(Audio(samples=samples, sr=SR), (), np.random.default_rng(0))


def swell():
    """A tone that falls from full scale to -100 dB in 5 s, and is back after 4 more."""
    time = np.arange(9 * SR) / SR
    level = np.interp(time, [0, 5, 9], [0, -100, 0])
    return np.float32(10 ** (level / 20) * np.sin(2 * np.pi * 440 * time))


def test_a_tone_of_every_level_comes_out_as_loud_as_from_sox():
    blocks = compressed(swell()).reshape(-1, SR // 4).astype(float)
    # Rounded to 0.01, and sox's rounded corners: 0.003.
    np.testing.assert_allclose(10 * np.log10((blocks**2).mean(axis=1)), GOLDEN, atol=0.02)


def test_music_comes_out_of_sox_sample_by_sample_the_same(corpus, sox):
    for samples in corpus:
        ours, theirs = compressed(samples), sox(Audio(samples=samples, sr=SR), EFFECT)
        assert ours.shape == theirs.shape
        # 0.0043 dB, for sox's rounded corners, and the 24 bits that sox has read and written.
        np.testing.assert_allclose(ours, theirs, rtol=5e-4, atol=2e-7)
