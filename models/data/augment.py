"""Changes to training clips that leave their tags as they are, or mix them as the clips are mixed.

All take a batch ``(n, n_bands, n_frames)`` and its labels ``(n, n_tags)`` and return new ones; the
randomness is torch's.
"""

from typing import Literal, get_args

import torch

Augment = Literal["none", "specaugment", "mixup"]
AUGMENTS: tuple[Augment, ...] = get_args(Augment)

_BAND_SHARE = 0.2  # the widest mask, of all bands
_FRAME_SHARE = 0.1  # the widest mask, of all frames
_MASKS = 2  # along each axis
_MIXUP_ALPHA = 0.2


def augmented(
    values: torch.Tensor, labels: torch.Tensor, augment: Augment
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change a batch as `augment` says."""
    if augment == "specaugment":
        return specaugment(values), labels
    if augment == "mixup":
        return mixup(values, labels)
    return values, labels


def specaugment(values: torch.Tensor) -> torch.Tensor:
    """Hide runs of bands and of frames, other ones in each clip.

    Two of each, of a width drawn uniformly up to a fifth of the bands and a tenth of the frames.
    What is hidden takes its band's mean over the batch. Park et al., *SpecAugment* (2019), without
    the warping of time.
    """
    n, n_bands, n_frames = values.shape
    hidden = torch.zeros(n, n_bands, n_frames, dtype=torch.bool)
    for _ in range(_MASKS):
        hidden |= _runs(n, n_bands, _BAND_SHARE)[:, :, None]
        hidden |= _runs(n, n_frames, _FRAME_SHARE)[:, None, :]
    mean = values.mean(dim=(0, 2), keepdim=True)
    return torch.where(hidden.to(values.device), mean, values)


def _runs(n: int, size: int, share: float) -> torch.Tensor:
    """One run a row of a mask ``(n, size)``, at least a cell less than the whole row wide."""
    widest = min(round(share * size), size - 1)
    width = torch.randint(widest + 1, (n, 1))
    start = (torch.rand(n, 1) * (size - width + 1)).floor()
    cells = torch.arange(size)
    return (cells >= start) & (cells < start + width)


def mixup(values: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each clip with another one of the batch, and their labels in the same proportion.

    A proportion a clip, from Beta(0.2, 0.2): most stay nearly what they were. Zhang et al.,
    *mixup* (2018).
    """
    n = len(values)
    alpha = torch.full((n,), _MIXUP_ALPHA)
    share = torch.distributions.Beta(alpha, alpha).sample()
    partner = torch.randperm(n)
    share, partner = share.to(values.device), partner.to(values.device)
    blend = share[:, None, None]
    soft = share[:, None]
    return (
        blend * values + (1 - blend) * values[partner],
        soft * labels + (1 - soft) * labels[partner],
    )
