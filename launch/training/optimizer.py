"""The optimizer of every program: gradient clipping, then Adam or RMSProp with a schedule.

Two options regularize. Weight decay is decoupled from the gradient, as in AdamW: Loshchilov and
Hutter 2019, "Decoupled weight decay regularization", https://arxiv.org/abs/1711.05101. Evaluated
parameters may be an average over updates, of which later ones weigh more ("polynomial-decay
averaging"): Shamir and Zhang 2013, "Stochastic gradient descent for non-smooth optimization",
https://arxiv.org/abs/1212.1824.
"""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from launch.runs import flags


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of the optimizer."""

    GROUPS: ClassVar = {'training': '*'}

    optimizer: Literal['adam', 'rmsprop'] = flags.flag(
        'adam', 'adam, or rmsprop with a decay of 0.99', 'fixed'
    )
    rmsprop_epsilon: float = flags.flag(
        1e-8, 'rmsprop: added to the mean square, under the root', 'warn', 0
    )
    learning_rate: float = flags.flag(1e-3, "the optimizer's step size", 'warn', 0)
    schedule: Literal['constant', 'cosine'] = flags.flag('constant', 'of the step size', 'warn')
    warmup_steps: int = flags.flag(0, 'updates until the full step size', 'warn', 0)
    clip_norm: float = flags.flag(
        0.1, 'global norm that gradients are clipped to; 0 for no clipping', 'warn', 0
    )
    weight_decay: float = flags.flag(
        0.0, 'of matrices, embeddings too, times the step size, in each update', 'warn', 0
    )
    average: float = flags.flag(
        0.0,
        'evaluate the average over about the last share of the updates, such as 0.1; 0 for none',
        'fixed',
        0,
        1,
    )


class Average(NamedTuple):
    """The parameters that are evaluated in place of the last ones."""

    count: chex.Array  # [] int32, updates
    params: chex.ArrayTree


# The names, in checkpoints of a `TrainState`, of the last parameters and of their average.
PARAMS, AVERAGE = '.params', '.opt_state[2].params'


def make(config: Config, num_steps: int) -> optax.GradientTransformation:
    """Returns the optimizer; its state has one structure whatever the flags, but for `average`.

    Args:
      config: the flags.
      num_steps: updates in all, at which a cosine schedule ends at 1 % of the step size.
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    scale = optax.scale_by_adam()
    if config.optimizer == 'rmsprop':
        scale = optax.scale_by_rms(decay=0.99, eps=config.rmsprop_epsilon)
    rate = optax.scale_by_learning_rate(_schedule(config, num_steps))
    steps = [clip, optax.chain(_decayed(scale, config.weight_decay), rate)]
    return optax.chain(*steps, *([_averaged(config.average)] if config.average else []))


def evaluated(params: chex.ArrayTree, opt_state: Any) -> chex.ArrayTree:
    """Returns the parameters to evaluate: their average, where the optimizer's state has one."""
    last = opt_state[-1] if opt_state else None
    return last.params if isinstance(last, Average) else params


def _schedule(config: Config, num_steps: int) -> optax.Schedule:
    """Returns the step size as a function of the updates so far."""
    start = 0.0 if config.warmup_steps else config.learning_rate
    if config.schedule == 'cosine':
        return optax.warmup_cosine_decay_schedule(
            init_value=start,
            peak_value=config.learning_rate,
            warmup_steps=config.warmup_steps,
            decay_steps=max(num_steps, config.warmup_steps + 1),
            end_value=0.01 * config.learning_rate,
        )
    steps = max(1, config.warmup_steps)
    return optax.warmup_constant_schedule(start, config.learning_rate, steps)


def _decayed(
    scale: optax.GradientTransformation, weight_decay: float
) -> optax.GradientTransformation:
    """Returns `scale` with the decay of matrices after it, and a state that is only its own."""
    if not weight_decay:
        return scale
    decay = optax.add_decayed_weights(weight_decay)

    def is_matrix(tree: chex.ArrayTree) -> chex.ArrayTree:  # else a bias, or the gain of a norm
        return jax.tree.map(lambda x: x.ndim > 1, tree)

    decay = optax.masked(decay, is_matrix)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = scale.update(grads, state, params)
        return decay.update(updates, decay.init(params), params)[0], state

    return optax.GradientTransformation(scale.init, update)


def _averaged(share: float) -> optax.GradientTransformation:
    """Returns what averages the parameters after each update, and leaves the update as it is.

    Update t = 1, 2, ... has a weight of 1 / (1 + share (t - 1)) against all before it. In the end
    they count as about t^(1 / share - 1): equally with a share of 1, as t with one half; with 0.1
    nine tenths of the weight are on the last fifth of the updates, whenever training ends.
    """

    def init(params: chex.ArrayTree) -> Average:
        return Average(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: Average, params: Any = None) -> tuple[Any, Average]:
        weight = 1 / (1 + share * state.count)
        mix = lambda old, new: (1 - weight) * old + weight * new  # noqa: E731
        new = optax.apply_updates(params, updates)
        count = optax.safe_increment(state.count)
        return updates, Average(count, jax.tree.map(mix, state.params, new))

    return optax.GradientTransformation(init, update)
