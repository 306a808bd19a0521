import itertools
from collections import Counter

import pytest

from models.data.sampler import ClipOrder, OrderSampler, seed_of

ORDER = ClipOrder(n_clips=33, batch_size=8, shuffle=True, seed=5)


def clips(batches):
    return [clip for batch in batches for clip, *_ in batch]


def test_each_epoch_holds_every_clip_once_in_another_order():
    epochs = [clips(ORDER.epoch(number)) for number in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(33))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert clips(ORDER.epoch(2)) == epochs[2]


def test_unshuffled_is_the_clips_own_order_and_places_still_differ_by_epoch():
    plain = ClipOrder(n_clips=10, batch_size=4)
    assert clips(plain.epoch(0)) == clips(plain.epoch(1)) == list(range(10))
    first, second = ([place for b in plain.epoch(n) for _, place, _ in b] for n in (0, 1))
    assert all(0 <= place < 1 for place in first)
    assert first != second


def test_batches_are_even_and_the_smallest_is_known():
    sizes = [len(batch) for batch in ORDER.epoch(0)]
    assert sizes == [7, 7, 7, 6, 6]
    assert len(sizes) == ORDER.n_batches
    assert ORDER.smallest == 6
    assert ClipOrder(n_clips=3, batch_size=2).smallest == 1


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_each_batch_evenly(world_size):
    parts = [
        ClipOrder(**vars(ORDER) | {"rank": rank, "world_size": world_size})
        for rank in range(world_size)
    ]
    for whole, *shares in zip(ORDER.epoch(1), *(part.epoch(1) for part in parts), strict=True):
        assert Counter(itertools.chain(*shares)) == Counter(whole)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert min(len(batch) for part in parts for batch in part.epoch(0)) == parts[0].smallest


def test_each_order_is_equally_likely():
    seen = Counter(
        tuple(clips(ClipOrder(n_clips=3, batch_size=3, shuffle=True, seed=seed).epoch(epoch)))
        for seed in range(100, 120)
        for epoch in range(60)
    )
    assert len(seen) == 6
    # Chi-squared of 5 degrees of freedom is above 20.5 once in a thousand times.
    assert sum((n - 200) ** 2 / 200 for n in seen.values()) < 20.5


def test_a_sampler_gives_the_epoch_that_was_set_from_the_batch_that_was_set():
    sampler = OrderSampler(ORDER)
    sampler.epoch, sampler.first = 3, 2
    assert list(sampler) == list(ORDER.epoch(3))[2:]
    assert len(sampler) == 5


def test_near_numbers_give_unrelated_seeds():
    seeds = {seed_of(a, b) for a in range(50) for b in range(50)}
    assert len(seeds) == 2500
    assert seed_of(1, 2) == seed_of(1, 2) != seed_of(2, 1)
