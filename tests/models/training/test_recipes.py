import dataclasses

import pytest
import torch
from torch import nn

from models.training.recipes import RECIPES, Recipe

PLAIN = Recipe(epochs=1, batch_size=2, learning_rate=1e-3, source="a test")
DECAYED = dataclasses.replace(PLAIN, weight_decay=0.1)


def steps(network, optimizer, n=5):
    torch.manual_seed(4)
    for _ in range(n):
        optimizer.zero_grad()
        network(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_the_studys_recipe_is_adam_at_a_constant_rate():
    ours, adam = network(), network()
    study = RECIPES["ferraro2020"]
    steps(ours, study.optimizer(ours, 0.01))
    steps(adam, torch.optim.Adam(adam.parameters(), lr=0.01))
    for mine, theirs in zip(ours.parameters(), adam.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert [study.rate(step, 50) for step in range(50)] == [1.0] * 50
    assert study.new_ema(ours, 50) is None


def test_only_matrices_and_filters_decay():
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = DECAYED.optimizer(net, 0.01)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for old, new in zip(before, net.parameters(), strict=True):
        factor = 1 - 0.01 * 0.1 if new.ndim > 1 else 1
        torch.testing.assert_close(new.detach(), factor * old)


def test_the_rate_climbs_in_a_line_then_falls_along_half_a_cosine():
    recipe = dataclasses.replace(PLAIN, warm_up=0.1, cosine=True)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(1 + step) / 11 for step in range(10)])
    assert rates[10] == max(rates) == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 0.001
    assert recipe.rate(0, 1) == 1  # too few steps to warm up in


def test_the_rate_climbs_in_a_line_then_falls_in_one():
    recipe = dataclasses.replace(PLAIN, warm_up=0.1, linear=True)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(1 + step) / 11 for step in range(10)])
    assert rates[10:] == pytest.approx([(100 - step) / 90 for step in range(10, 100)])
    assert recipe.rate(0, 1) == 1


def test_batches_share_steps_and_those_that_are_left_have_one():
    recipe = dataclasses.replace(PLAIN, accumulate=8)
    assert [recipe.steps(n) for n in (1, 8, 9, 2797)] == [1, 1, 2, 350]
    assert [recipe.share(batch, 11) for batch in (0, 7, 8, 10)] == [(0, 8), (0, 8), (8, 3), (8, 3)]
    assert [PLAIN.steps(11), PLAIN.share(10, 11)] == [11, (10, 1)]


def test_the_recipe_of_ast_has_the_numbers_of_its_study():
    recipe = RECIPES["ast-dora"]
    assert (recipe.epochs, recipe.batch_size, recipe.accumulate) == (13, 2, 8)
    n_steps = recipe.epochs * 349
    assert n_steps == 4537  # as it logs
    assert recipe.learning_rate == 0.00013220987667789097
    rates = [recipe.rate(step, n_steps) for step in range(n_steps)]
    assert rates.index(1) == round(0.08503471829118296 * n_steps)
    (decayed, others) = recipe.optimizer(network(), recipe.learning_rate).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.06762396226356811, 0)


def test_the_average_reaches_back_over_its_share_of_the_steps_and_less_far_at_first():
    net = nn.Linear(1, 1, bias=False)
    average = dataclasses.replace(PLAIN, ema=0.1).new_ema(net, n_steps=200)
    kept = None
    for step in range(200):
        nn.init.constant_(net.weight, step)
        average.update_parameters(net)
        decay = min(0.95, (1 + step) / (10 + step))  # a tenth of 200 steps is 20: 1 - 1 / 20
        kept = step if kept is None else decay * kept + (1 - decay) * step
        assert average.module.weight.item() == pytest.approx(kept, rel=1e-5)
    assert 199 - kept == pytest.approx(19, abs=0.5)  # 20 steps, this one included


def test_the_averages_norms_are_averaged_too():
    net = nn.BatchNorm1d(2)
    average = dataclasses.replace(PLAIN, ema=0.5).new_ema(net, n_steps=100)
    for mean in (0.0, 10.0):
        net.running_mean.fill_(mean)
        average.update_parameters(net)
    assert 0 < average.module.running_mean[0] < 10


def test_the_comparisons_recipe_changes_its_optimiser_at_its_fixed_epochs():
    won = RECIPES["won2020"]
    stages = [won.stage(epoch, won.epochs) for epoch in range(won.epochs)]
    assert [stages.index(number) for number in range(4)] == [0, 80, 100, 120]
    rates = [won.learning_rate * stage.rate for stage in won.stages]
    assert rates == pytest.approx([1e-4, 1e-3, 1e-4, 1e-5])
    net = network()
    adam, sgd = (won.optimizer(net, 0.1, stage) for stage in (0, 1))
    assert (type(adam), adam.param_groups[0]["weight_decay"]) == (torch.optim.Adam, 1e-4)
    (group,) = sgd.param_groups
    assert type(sgd) is torch.optim.SGD
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 1e-4)
    assert len(group["params"]) == 6  # biases and norms decay too


@pytest.mark.parametrize("recipe", RECIPES)
def test_stages_of_every_recipe_are_in_order_however_few_the_epochs(recipe):
    recipe = RECIPES[recipe]
    for n_epochs in (1, 2, 3, 7, recipe.epochs):
        stages = [recipe.stage(epoch, n_epochs) for epoch in range(n_epochs)]
        assert stages == sorted(stages)
        assert stages[0] == 0


def test_windows_follow_each_other_or_are_evenly_spaced():
    whole, spaced = PLAIN, RECIPES["won2020"]
    assert whole.windows(1819, 231) == dict.fromkeys(range(0, 1617, 231), 1)
    assert whole.windows(100, 231) == {0: 1}
    starts = spaced.windows(465_600, 59_049)
    assert list(starts) == [i * (465_600 - 59_049) // 16 for i in range(16)]
    assert set(starts.values()) == {1}
    # A clip that is hardly longer than a window: 16 of them, of which few differ.
    assert spaced.windows(1819, 1813) == {0: 3, 1: 3, 2: 2, 3: 3, 4: 3, 5: 2}
    assert spaced.windows(1813, 1813) == spaced.windows(90, 1813) == {0: 16}
