"""V-trace: off-policy targets of values, and advantages of actions.

Espeholt et al. 2018, "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner
Architectures", section 4.1, https://arxiv.org/abs/1802.01561. For a trajectory of a behaviour
policy mu, with the ratios pi(a | x) / mu(a | x) of the learned policy pi,

  v_s - V(x_s) = delta_s + discount_s c_s (v_{s + 1} - V(x_{s + 1})),
  delta_s = rho_s (r_s + discount_s V(x_{s + 1}) - V(x_s)),

with rho_s = min(rho_bar, ratio_s) and c_s = lambda min(c_bar, ratio_s), lambda being their
remark 2. An action's advantage is rho_s (r_s + discount_s q_{s + 1} - V(x_s)), where q_{s + 1} is
lambda v_{s + 1} + (1 - lambda) V(x_{s + 1}).

Glossary of shapes:
  T: time; B: batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Targets(NamedTuple):
    """The targets of a trajectory; no gradient goes through them."""

    values: jax.Array  # [T, B] float32, v_s of the paper
    advantages: jax.Array  # [T, B] float32, the weights of the policy gradient


def vtrace(
    values: jax.Array,
    rewards: jax.Array,
    discounts: jax.Array,
    ratios: jax.Array,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
    lambda_: float = 1.0,
) -> Targets:
    """Returns the targets of the values and the advantages of the actions.

    Args:
      values: [T + 1, B], V of every observation and of the one after the last step.
      rewards: [T, B], of the steps.
      discounts: [T, B], of the value after a step; 0 where an episode ended.
      ratios: [T, B], pi(a | x) / mu(a | x), not negative; 0 leaves a step out: its target is its
        own value, and its advantage is 0.
      rho_bar: the greatest weight of a step; decides which policy the values converge to.
      c_bar: the greatest weight of the steps after it; decides how fast they converge.
      lambda_: from 0, one step, to 1, as many steps as there are.

    Raises:
      ValueError: if shapes or the three numbers do not fit.
    """
    _check(values, rewards, discounts, ratios)
    if rho_bar <= 0 or c_bar <= 0 or not 0 <= lambda_ <= 1:
        got = f'{rho_bar}, {c_bar} and {lambda_}'
        raise ValueError(f'wanted rho_bar > 0, c_bar > 0 and lambda_ from 0 to 1, got {got}.')
    values, rewards, discounts, ratios = jax.lax.stop_gradient(
        tuple(jnp.asarray(x, jnp.float32) for x in (values, rewards, discounts, ratios))
    )
    now, later = values[:-1], values[1:]
    rho, c = jnp.minimum(rho_bar, ratios), lambda_ * jnp.minimum(c_bar, ratios)
    deltas = rho * (rewards + discounts * later - now)
    targets = now + _add_up(deltas, discounts * c)
    ahead = jnp.concatenate([lambda_ * targets[1:] + (1 - lambda_) * later[:-1], later[-1:]])
    return Targets(targets, rho * (rewards + discounts * ahead - now))


def _add_up(deltas: jax.Array, decays: jax.Array) -> jax.Array:
    """Returns delta_t + decay_t delta_{t + 1} + decay_t decay_{t + 1} delta_{t + 2} ..., [T, B]."""

    def back(error: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple:
        delta, decay = step
        error = delta + decay * error
        return error, error

    errors: jax.Array
    _, errors = jax.lax.scan(back, jnp.zeros_like(deltas[0]), (deltas, decays), reverse=True)
    return errors


def _check(values: jax.Array, rewards: jax.Array, discounts: jax.Array, ratios: jax.Array) -> None:
    """Raises a ValueError unless all are of one trajectory and `values` has a step more."""
    shapes = [jnp.shape(x) for x in (rewards, discounts, ratios)]
    fits = len(shapes[0]) == 2 and len(set(shapes)) == 1
    if not fits or jnp.shape(values) != (shapes[0][0] + 1, shapes[0][1]) or not shapes[0][0]:
        raise ValueError(
            'wanted rewards, discounts and ratios [T, B] and values [T + 1, B], with T at least 1, '
            f'got {shapes[0]}, {shapes[1]}, {shapes[2]} and {jnp.shape(values)}.'
        )
