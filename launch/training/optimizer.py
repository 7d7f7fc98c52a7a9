"""The optimizer of every program: gradient clipping, then Adam or RMSProp with a schedule."""

import dataclasses
from typing import ClassVar, Literal

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


def make(config: Config, num_steps: int) -> optax.GradientTransformation:
    """Returns the optimizer; its state has one structure whatever the schedule and clipping.

    Args:
      config: the flags.
      num_steps: updates in all, at which a cosine schedule ends at 1 % of the step size.
    """
    start = 0.0 if config.warmup_steps else config.learning_rate
    if config.schedule == 'cosine':
        rate = optax.warmup_cosine_decay_schedule(
            init_value=start,
            peak_value=config.learning_rate,
            warmup_steps=config.warmup_steps,
            decay_steps=max(num_steps, config.warmup_steps + 1),
            end_value=0.01 * config.learning_rate,
        )
    else:
        steps = max(1, config.warmup_steps)
        rate = optax.warmup_constant_schedule(start, config.learning_rate, steps)
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    if config.optimizer == 'rmsprop':
        return optax.chain(clip, optax.rmsprop(rate, decay=0.99, eps=config.rmsprop_epsilon))
    return optax.chain(clip, optax.adam(rate))
