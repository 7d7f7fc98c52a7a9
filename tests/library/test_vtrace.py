"""V-trace against a loop over time, numbers by hand, laws, and rlax where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn import vtrace

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B = 7, 3


def _trajectory(seed=0):
    """Returns values, rewards, discounts with ends of episodes, and ratios on both sides of 1."""
    rng = np.random.default_rng(seed)
    discounts = 0.9 * (rng.uniform(size=(T, B)) > 0.2)
    ratios = np.exp(rng.normal(size=(T, B)))
    assert (discounts == 0).any()
    assert ratios.min() < 0.7
    assert ratios.max() > 2
    return rng.normal(size=(T + 1, B)), rng.normal(size=(T, B)), discounts, ratios


def _loop(values, rewards, discounts, ratios, rho_bar, c_bar, lambda_):
    """The sums of the paper's equation 1, written out in float64, and the advantages."""
    targets = np.array(values)
    for b in range(B):
        for s in range(T):
            trace = 1.0
            for t in range(s, T):
                delta = rewards[t, b] + discounts[t, b] * values[t + 1, b] - values[t, b]
                targets[s, b] += trace * min(rho_bar, ratios[t, b]) * delta
                trace *= discounts[t, b] * lambda_ * min(c_bar, ratios[t, b])
    advantages = np.zeros((T, B))
    for b in range(B):
        for s in range(T):
            ahead = targets[s + 1, b]
            if s + 1 < T:
                ahead = lambda_ * ahead + (1 - lambda_) * values[s + 1, b]
            error = rewards[s, b] + discounts[s, b] * ahead - values[s, b]
            advantages[s, b] = min(rho_bar, ratios[s, b]) * error
    return targets[:-1], advantages


@pytest.mark.parametrize(
    'limits', [(1.0, 1.0, 1.0), (2.0, 0.7, 0.6), (0.5, 1.5, 0.0), (9.0, 9.0, 0.9)]
)
def test_targets_are_the_sums_of_the_paper(limits):
    trajectory = _trajectory()
    got = jax.jit(vtrace.vtrace, static_argnums=(4, 5, 6))(*trajectory, *limits)
    for ours, wanted in zip(got, _loop(*trajectory, *limits), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)


def test_three_steps_by_hand():
    column = lambda *numbers: jnp.array(numbers, jnp.float32)[:, None]  # noqa: E731
    values, rewards = column(1, 2, 3, 4), column(1, 0, 2)
    discounts, ratios = column(0.5, 0.5, 0.5), column(2, 0.5, 1)
    got = vtrace.vtrace(values, rewards, discounts, ratios)
    # delta = 1 + 1 - 1 = 1; 0.5 (0 + 1.5 - 2) = -0.25; 2 + 2 - 3 = 1.
    # errors from behind: 1; -0.25 + 0.25 x 1 = 0; 1 + 0.5 x 0 = 1.
    np.testing.assert_array_equal(got.values[:, 0], [2, 2, 4])
    # 1 + 0.5 x 2 - 1 = 1; 0.5 (0 + 0.5 x 4 - 2) = 0; 2 + 0.5 x 4 - 3 = 1.
    np.testing.assert_array_equal(got.advantages[:, 0], [1, 0, 1])


def test_on_policy_with_lambda_1_targets_are_the_discounted_rewards():
    values, rewards, discounts, _ = _trajectory(1)
    got = vtrace.vtrace(values, rewards, discounts, np.ones((T, B)))
    returned = values[-1]
    for t in reversed(range(T)):
        returned = rewards[t] + discounts[t] * returned
        np.testing.assert_allclose(got.values[t], returned, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got.advantages[t], returned - values[t], rtol=1e-4, atol=1e-5)


def test_what_comes_after_a_discount_of_0_does_not_matter():
    values, rewards, discounts, ratios = _trajectory(2)
    discounts[3] = 0
    got = vtrace.vtrace(values, rewards, discounts, ratios)
    values[4:], rewards[4:], ratios[4:] = 9, -9, 5
    other = vtrace.vtrace(values, rewards, discounts, ratios)
    for ours, theirs in zip(got, other, strict=True):
        np.testing.assert_array_equal(ours[:4], theirs[:4])
        assert not np.allclose(ours[4:], theirs[4:])


def test_a_ratio_of_0_leaves_a_step_out_and_cuts():
    values, rewards, discounts, ratios = _trajectory(3)
    discounts[:], ratios[4] = 0.9, 0
    got = vtrace.vtrace(values, rewards, discounts, ratios)
    np.testing.assert_array_equal(got.values[4], np.float32(values[4]))
    np.testing.assert_array_equal(got.advantages[4], 0)
    values[5:], rewards[4:] = 9, -9
    other = vtrace.vtrace(values, rewards, discounts, ratios)
    np.testing.assert_array_equal(got.values[:5], other.values[:5])


def test_rows_do_not_see_each_other():
    trajectory = _trajectory(4)
    got = vtrace.vtrace(*trajectory)
    changed = [np.array(x) for x in trajectory]
    for x in changed:
        x[:, 1] = 0.3
    other = vtrace.vtrace(*changed)
    for ours, theirs in zip(got, other, strict=True):
        np.testing.assert_array_equal(ours[:, [0, 2]], theirs[:, [0, 2]])
        assert not np.allclose(ours[:, 1], theirs[:, 1])


def test_no_gradient_goes_through_targets():
    values, rewards, discounts, ratios = map(jnp.asarray, _trajectory(5))

    def total(values, ratios):
        return sum(jnp.sum(x) for x in vtrace.vtrace(values, rewards, discounts, ratios))

    for gradient in jax.grad(total, argnums=(0, 1))(values, ratios):
        np.testing.assert_array_equal(gradient, 0)


def test_it_is_what_rlax_computes():
    rlax = pytest.importorskip('rlax')
    values, rewards, discounts, ratios = (np.float32(x) for x in _trajectory(6))
    got = vtrace.vtrace(values, rewards, discounts, ratios, 1.3, 1.0, 0.8)
    for b in range(B):
        row = values[:-1, b], values[1:, b], rewards[:, b], discounts[:, b], ratios[:, b]
        wanted = rlax.vtrace_td_error_and_advantage(*row, 0.8, 1.3, 1.3)
        np.testing.assert_allclose(got.values[:, b] - row[0], wanted.errors, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got.advantages[:, b], wanted.pg_advantage, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('change', 'wanted'),
    [
        ({'values': np.zeros((T, B))}, r'values \[T \+ 1, B\]'),
        ({'rewards': np.zeros((T, B + 1))}, 'wanted rewards'),
        ({'ratios': np.zeros(T)}, 'wanted rewards'),
        ({'rho_bar': 0.0}, 'wanted rho_bar > 0'),
        ({'c_bar': -1.0}, 'c_bar > 0'),
        ({'lambda_': 1.5}, 'lambda_ from 0 to 1'),
    ],
)
def test_what_does_not_fit_is_refused(change, wanted):
    names = 'values', 'rewards', 'discounts', 'ratios'
    arguments = dict(zip(names, _trajectory(), strict=True))
    with pytest.raises(ValueError, match=wanted):
        vtrace.vtrace(**{**arguments, **change})
