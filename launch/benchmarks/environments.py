"""How many steps a second the environments make with the uniformly random policy.

The steps of a call are one `jax.lax.scan` over a `jax.vmap` of `grid.AutoReset`. Every
observation is made whole before the next action is sampled, as for a policy that reads it; none is
kept. XLA for CPUs runs such a loop on one core, so there is a thread for every core, with
environments of its own; for other devices there is one for each. Threads begin together, and a call
is over when the last one is.

Glossary of shapes:
  B: environments of a thread; T: steps of a call; N: levels of a pool.
"""

from collections.abc import Callable
from concurrent import futures
import dataclasses
import functools
import os
import statistics
import time
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from tasks.environments import boxworld, grid, mini_pacman


class Setting(NamedTuple):
    """What to run, and how much of it a thread runs in a call."""

    environment: Any
    num_levels: int = 0  # N, made ahead, of which a reset takes one; 0 for `environment.reset`
    batch_size: int = 2048  # B; on a CPU 1,024 and 4,096 are about as fast
    num_steps: int = 64  # T


_RELEASED = mini_pacman.MiniPacman(rules='released', power_bar=False)
SETTINGS = {
    'mini_pacman': Setting(mini_pacman.MiniPacman()),
    'mini_pacman_full': Setting(mini_pacman.MiniPacman(viewport=None)),
    'mini_pacman_released': Setting(_RELEASED),
    'mini_pacman_released_full': Setting(dataclasses.replace(_RELEASED, viewport=None)),
    'boxworld': Setting(boxworld.BoxWorld(), 20_000),
    'boxworld_full': Setting(boxworld.BoxWorld(viewport=None), 20_000),
    'boxworld_fresh': Setting(boxworld.BoxWorld()),
    'boxworld_fresh_full': Setting(boxworld.BoxWorld(viewport=None)),
}
HEADER = f'{"":28}{"steps/s":>12}{"at best":>12}{"threads x environments x steps":>33}'


class Carry(NamedTuple):
    """Where the environments of a thread are."""

    states: grid.AutoResetState  # with a first axis [B]
    observation: chex.ArrayTree  # [B, ...]
    rewards: chex.Array  # [B] float32, sums over all steps so far


def measure(setting: Setting, repeats: int, seed: int) -> dict[str, Any]:
    """Times calls on all cores or devices at once.

    Args:
      setting: what to run.
      repeats: timed calls of each thread, after two that are not.
      seed: of levels, episodes and actions.

    Returns:
      `threads`, `environments` (B) and `steps` (T) of each; `median_steps_per_second` and
      `best_steps_per_second` of all together; `mean_reward`, of all steps.
    """
    devices = _devices()
    for_levels, *keys = jax.random.split(jax.random.key(seed), 1 + len(devices))
    levels = jax.jit(functools.partial(_levels, setting))(for_levels)
    reset = jax.jit(functools.partial(_reset, setting))
    steps = jax.jit(stepper(setting), donate_argnums=1)
    shares = [jax.device_put((levels, key), x) for key, x in zip(keys, devices, strict=True)]
    carries = [reset(*share) for share in shares]

    def call(share: tuple, carry: Carry, number: int) -> Carry:
        return jax.block_until_ready(steps(share[0], carry, share[1], number))

    carries = [call(*each, 0) for each in zip(shares, carries, strict=True)]  # compiles
    seconds = []
    with futures.ThreadPoolExecutor(len(devices)) as threads:
        for number in range(1, repeats + 2):
            start = time.perf_counter()
            carries = list(threads.map(call, shares, carries, [number] * len(devices)))
            seconds.append(time.perf_counter() - start)
    count = len(devices) * setting.batch_size * setting.num_steps
    rewards = sum(float(jnp.sum(carry.rewards)) for carry in carries)
    return {
        'threads': len(devices),
        'environments': setting.batch_size,
        'steps': setting.num_steps,
        'median_steps_per_second': count / statistics.median(seconds[1:]),
        'best_steps_per_second': count / min(seconds[1:]),
        'mean_reward': rewards / (count * (repeats + 2)),
    }


def stepper(setting: Setting) -> Callable[..., Carry]:
    """Returns the steps of a call: levels, `Carry`, key [] and number of the call -> `Carry`."""
    return functools.partial(_steps, setting)


def arguments(setting: Setting, key: chex.PRNGKey) -> tuple[Any, Carry, chex.PRNGKey, chex.Array]:
    """Returns what `stepper` takes in the first call."""
    levels = _levels(setting, key)
    return levels, _reset(setting, levels, key), key, jnp.zeros((), jnp.int32)


def num_cores() -> int:
    """Returns how many cores this process may use, or where the system does not say, has."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def line(name: str, result: dict[str, Any]) -> str:
    """Returns a line of a table, under `HEADER`, of what `measure` returns."""
    rates = [result[f'{kind}_steps_per_second'] for kind in ('median', 'best')]
    counts = [f'{result[kind]:,}' for kind in ('threads', 'environments', 'steps')]
    cells = ''.join(f'{rate:12,.0f}' for rate in rates)
    return f'{name:28}{cells}{" x ".join(counts):>33}'


def _devices() -> list[jax.Device]:
    """Returns the device of each thread."""
    devices = jax.local_devices()
    cores = num_cores() if devices[0].platform == 'cpu' else 0
    return [devices[number % len(devices)] for number in range(max(cores, len(devices)))]


def _levels(setting: Setting, key: chex.PRNGKey) -> Any:
    """Returns the pool, nothing if there is none."""
    return setting.environment.sample_levels(key, setting.num_levels) if setting.num_levels else ()


def _auto_reset(setting: Setting, levels: Any) -> grid.AutoReset:
    reset = setting.environment.reset_from(levels) if setting.num_levels else None
    return grid.AutoReset(setting.environment, reset)


def _reset(setting: Setting, levels: Any, key: chex.PRNGKey) -> Carry:
    """Returns the initial states of the environments of a thread."""
    keys = jax.random.split(key, setting.batch_size)
    states, timesteps = jax.vmap(_auto_reset(setting, levels).reset)(keys)
    return Carry(states, timesteps.observation, timesteps.reward)


def _steps(
    setting: Setting, levels: Any, carry: Carry, key: chex.PRNGKey, number: chex.Array
) -> Carry:
    """Takes T steps; actions are sampled with a key [] and a call's number [] int32."""
    environment = _auto_reset(setting, levels)

    def step(carry: Carry, key: chex.PRNGKey) -> tuple[Carry, None]:
        _, key = jax.lax.optimization_barrier((carry.observation, key))
        actions = jax.random.randint(key, (setting.batch_size,), 0, environment.num_actions)
        states, timesteps = jax.vmap(environment.step)(carry.states, actions)
        return Carry(states, timesteps.observation, carry.rewards + timesteps.reward), None

    keys = jax.random.split(jax.random.fold_in(key, number), setting.num_steps)
    return jax.lax.scan(step, carry, keys)[0]
