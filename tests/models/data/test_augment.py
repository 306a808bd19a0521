import pytest
import torch

from models.data.augment import augmented, mixup, specaugment


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(6)


def batch(n=200, n_mels=48, n_frames=100):
    return torch.randn(n, n_mels, n_frames), (torch.rand(n, 3) > 0.5).float()


def test_none_changes_nothing():
    values, labels = batch(4)
    assert augmented(values, labels, "none") == (values, labels)


def test_what_specaugment_hides_is_whole_bands_and_whole_frames_and_takes_its_bands_mean():
    values, labels = batch()
    before = values.clone()
    changed, same = augmented(values, labels, "specaugment")
    assert torch.equal(values, before)
    assert same is labels
    hidden = changed != values
    assert torch.equal(
        changed[hidden], values.mean(dim=(0, 2), keepdim=True).expand_as(values)[hidden]
    )
    bands, frames = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, bands[:, :, None] | frames[:, None, :])
    # Two runs of up to a fifth of 48 bands, and of up to a tenth of 100 frames.
    assert bands.sum(1).max() == 20
    assert frames.sum(1).max() <= 20
    assert len(bands.unique(dim=0)) > 150  # other ones in each clip
    assert bands.any(0).all()
    assert frames.any(0).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (8, 137)])
def test_specaugment_never_hides_all_of_a_clip(shape):
    values, _ = batch(500, *shape)
    changed = specaugment(values)
    if shape == (1, 1):
        assert torch.equal(changed, values)
    else:
        assert (changed == values).any(2).any(1).all()


def test_mixup_blends_clips_and_labels_alike():
    _, labels = batch(64)
    values = labels[:, :, None].expand(-1, -1, 5).clone()
    mixed, soft = mixup(values, labels)
    torch.testing.assert_close(mixed, soft[:, :, None].expand_as(mixed))
    assert (soft >= 0).all()
    assert (soft <= 1).all()
    torch.testing.assert_close(soft.mean(0), labels.mean(0), atol=0.1, rtol=0)
    changed = (soft != labels).any(1).float().mean()
    assert 0.2 < changed < 0.9  # most partners differ; many proportions are nearly 0 or 1
