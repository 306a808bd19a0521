"""What features are computed from: a clip's samples at a rate, under a condition."""

from collections.abc import Iterable

import numpy as np

from featurestore.specs.augmentation import Augmentation
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec
from pipeline.audio.clip import Clip
from pipeline.audio.stream import Samples
from pipeline.perturb import apply
from pipeline.perturb.audio import Audio, n_needed


class Signal:
    """A clip's samples at a rate, under a condition.

    Perturbations take the audio, and not the padding of a short clip: silence stays silence. What
    a faster one needs beyond the clip comes from the track. Beside a perturbed tile is silence.
    A draw is as long as its clip's audio: cut, or filled with silence.

    Parameters
    ----------
    clip : Clip
    sr : int
        [Hz]
    condition : Condition
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
        Of the perturbed clip, of any length; of a clean one, nothing.
    """

    def __init__(self, clip: Clip, sr: int, condition: Condition, samples: Samples) -> None:
        self._clip, self.sr, self.condition = clip, sr, condition
        self._samples = samples

    def padded(self, n_fft: int) -> Samples:
        """The samples with half a frame before and after; see `Clip.padded`.

        Returns
        -------
        samples : np.ndarray [shape=(window.n_samples(sr) + n_fft,), dtype=float32]
        """
        return self.samples(-(n_fft // 2), self._clip.source.window.n_samples(self.sr) + n_fft)

    def frames(self, spec: Spec, length: int) -> Samples:
        """What frames of `length` samples reach that begin with their first, from the clip's on."""
        n_frames = self._clip.source.window.n_frames(spec)
        hop_length = int(spec.frame_step * self.sr)
        return self.samples(0, (n_frames - 1) * hop_length + length)

    def samples(self, first: int, length: int) -> Samples:
        """So many samples, from the clip's own `first` on; see `padded`."""
        if not self.condition:
            return self._clip.samples(self.sr, first, length)
        before = max(0, -first)
        there = self._samples[max(0, first) : max(0, first + length)]
        padded = np.zeros(length, np.float32)
        padded[before : before + len(there)] = there
        return padded

    @property
    def n_valid(self) -> int:
        """Samples that are audio [samples at `track_sr`]; may be more than the clip has."""
        n_valid, n_following = np.array([[self._clip.n_valid], [self._clip.n_following]])
        return int(self.condition.n_valid(n_valid, n_following)[0])

    @property
    def track_sr(self) -> int:
        """Rate of the track [Hz]."""
        return self._clip.source.sr


class Signals:
    """The signals of a clip; conditions share what they can.

    Parameters
    ----------
    clip : Clip
    seed : int
        What perturbations draw from, of this clip.
    augmentation : Augmentation, optional
        What draws are made by; None where none is asked for.
    """

    def __init__(self, clip: Clip, seed: int, augmentation: Augmentation | None = None) -> None:
        self._clip, self._seed, self._augmentation = clip, seed, augmentation
        self._audio: dict[tuple[int, int], Audio] = {}

    def at(self, sr: int, condition: Condition) -> Signal:
        """The signal at a rate under a condition."""
        if condition.is_draw:
            return self._drawn(sr, condition)
        if not condition:
            return Signal(self._clip, sr, condition, np.empty(0, np.float32))
        audio = self._audio_at(sr, condition.speed)
        samples = apply(audio, condition, condition.generator(self._seed))
        return Signal(self._clip, sr, condition, samples)

    def _drawn(self, sr: int, draw: Condition) -> Signal:
        """The signal of a draw; the clean one, where nothing is drawn."""
        assert self._augmentation is not None, f"{draw} of nothing: `require` comes before"
        generator = draw.generator(self._seed)
        condition = self._augmentation.draw(generator)
        if not condition:
            return self.at(sr, condition)
        # The fastest draw's samples, so that all draws that are faster share what is made of them.
        speed = self._augmentation.speed if condition.speed > 1 else 1.0
        samples = apply(self._audio_at(sr, speed), condition, generator)
        n_kept = len(self._clip.audio(sr, self._clip.source.window.stride(sr)))
        return Signal(self._clip, sr, draw, samples[:n_kept])

    def _audio_at(self, sr: int, speed: float) -> Audio:
        """As many samples as a condition needs that makes them so many times faster."""
        n_samples = n_needed(self._clip.source.window.stride(sr), speed)
        key = sr, n_samples
        if key not in self._audio:
            samples = self._clip.audio(sr, n_samples)
            if not len(samples):  # less than one sample at this rate
                samples = np.zeros(1, np.float32)
            self._audio[key] = Audio(samples=samples, sr=sr)
        return self._audio[key]


def reach(
    specs: Iterable[Spec], window: Excerpt, augmentation: Augmentation | None = None
) -> float:
    """How many times its length a clip of a track is needed for some specs, draws among them."""
    needed = [1.0]
    for spec in specs:
        speed = spec.condition.speed
        if spec.condition.is_draw and augmentation is not None:
            speed = augmentation.speed
        if speed > 1:
            n_samples = window.stride(spec.sr)
            # Two samples more, for lengths are rounded at the track's own rate, too.
            needed.append((n_needed(n_samples, speed) + 2) / n_samples)
    return max(needed)
