"""The Relational Memory Core as functions of parameters that you hold yourself.

`memory.init` makes the parameters; `step` and `unroll` check what they are given and run the core.
The modules for Haiku (`core`), Flax (`flax`) and Equinox (`equinox`) are made of them.

Glossary of shapes:
  T: time; B: batch; K: rows of an input; D: input size.
  N: memory slots; F: slot size, heads x head size.
"""

import functools

import jax
import jax.numpy as jnp

from relational_rnn import checks, conversion, memory, scanning, unrolling


def step(
    params: memory.MemoryParams,
    config: memory.MemoryConfig,
    inputs: jax.Array,
    state: memory.State,
) -> tuple[jax.Array, memory.State]:
    """Runs one step.

    Args:
      params: the core's parameters.
      config: the core's choices.
      inputs: [B, D] or [B, K, D]; without B if the state has none.
      state: the memory [B, N, F] or [N, F], or a `GatedState` of two such arrays.

    Returns:
      The output [B, N F] or [N F], and the next state.

    Raises:
      ValueError: if the shapes or dtypes of parameters, inputs and state do not fit.
    """
    rows = as_rows(config, inputs, state)
    conversion.check(params, config, *reversed(rows.shape[-2:]))
    projected = memory.project(params, config, rows)
    state, _ = memory.step(params.step, config, projected, state)
    return memory.output(state), state


def unroll(
    params: memory.MemoryParams,
    config: memory.MemoryConfig,
    inputs: jax.Array,
    state: memory.State,
    resets: checks.AnyArray | None = None,
    lengths: checks.AnyArray | None = None,
    *,
    remat: bool = False,
    scan_unroll: int = 1,
    backward: str | None = None,
) -> tuple[jax.Array, memory.State]:
    """Runs a core over whole sequences, time-major; `relational_rnn.unroll` without a module.

    Args:
      params: the core's parameters.
      config: the core's choices.
      inputs: [T, B, D] or [T, B, K, D]; without B if the state has none.
      state: the state before the first step.
      resets: [T, B] or [T] bool; True starts from the initial state before that step.
      lengths: [B] or [] whole numbers: the steps of each batch element; see `unrolling.unroll`,
        also for the other arguments.
      remat: compute again in the backward pass what need not be kept.
      scan_unroll: steps in one iteration of the loop.
      backward: 'stepwise', 'deferred', or None for what suits the platform.

    Returns:
      The outputs, [T, B, N F], and the state after the last step of each batch element.

    Raises:
      ValueError: if the shapes or dtypes of the arguments do not fit.
    """
    run = functools.partial(scan, params, config)
    options = unrolling.Options(remat, scan_unroll, backward)
    return unrolling.unroll_by(run, inputs, state, resets, lengths, options)


def scan(
    params: memory.MemoryParams,
    config: memory.MemoryConfig,
    inputs: jax.Array,
    state: memory.State,
    flags: unrolling.Flags,
    options: unrolling.Options,
) -> tuple[jax.Array, memory.State]:
    """Runs all steps of sequences; `unroll` is this with resets and lengths as flags.

    Args:
      params: the core's parameters.
      config: the core's choices.
      inputs: [T, B, D] or [T, B, K, D]; without B if the state has none.
      state: the state before the first step.
      flags: resets, and which steps are past the end.
      options: how.

    Returns:
      The outputs, [T, B, N F], and the state after the last step.

    Raises:
      ValueError: if the shapes or dtypes of the arguments do not fit.
    """
    rows, state = _prepare(params, config, inputs, state, flags)
    states = scanning.scan_memory(config, params, rows, state, flags, options)
    return memory.output(states), jax.tree.map(lambda leaf: leaf[-1], states)


def scan_inside(
    params: memory.MemoryParams,
    config: memory.MemoryConfig,
    inputs: jax.Array,
    state: memory.State,
    flags: unrolling.Flags,
) -> tuple[jax.Array, memory.State, unrolling.Inside]:
    """As `scan`, and returns what happens inside every step; see `unrolling.Inside`."""
    rows, state = _prepare(params, config, inputs, state, flags)
    states = scanning.scan_memory(config, params, rows, state, flags)
    inside = scanning.look_inside(config, params, rows, state, flags, states)
    return memory.output(states), jax.tree.map(lambda leaf: leaf[-1], states), inside


def as_rows(
    config: memory.MemoryConfig,
    inputs: jax.Array,
    state: memory.State,
    leading: tuple[str, ...] = (),
) -> jax.Array:
    """Returns inputs as rows, [..., K, D], with K = 1 for vectors.

    Args:
      config: the core's choices.
      inputs: [B, D] or [B, K, D] after the dimensions named by `leading`; without B if the state
        has none.
      state: with or without B.
      leading: names of dimensions in front, ('T',) for sequences.

    Raises:
      ValueError: if the shapes or dtypes of inputs and state do not fit.
    """
    batch = _batch(config, state)
    checks.check_inputs(inputs, batch, leading, allow_rows=True)
    is_vector = inputs.ndim == len(leading) + len(batch) + 1
    return jnp.expand_dims(inputs, -2) if is_vector else inputs


def _prepare(
    params: memory.MemoryParams,
    config: memory.MemoryConfig,
    inputs: jax.Array,
    state: memory.State,
    flags: unrolling.Flags,
) -> tuple[jax.Array, memory.State]:
    """Returns what a scan needs: inputs as rows, and the state in its future dtype."""
    rows = as_rows(config, inputs, state, leading=('T',))
    conversion.check(params, config, *reversed(rows.shape[-2:]))
    unrolling.check_batch(flags, _batch(config, state))
    dtype = jnp.result_type(jnp.float32, rows.dtype, *jax.tree.leaves(state))
    return rows, jax.tree.map(lambda x: x.astype(dtype), state)


def _batch(config: memory.MemoryConfig, state: memory.State) -> tuple[int, ...]:
    """Checks the state and returns its batch dimension as a tuple, () if there is none."""
    state = jax.tree.map(jnp.asarray, state)
    kind, count = (memory.GatedState, 2) if config.output_gate else (jax.Array, 1)
    shape = config.mem_slots, config.slot_size
    batch = checks.check_state(state, kind, *[shape] * count)
    checks.check_floating('the state is', *jax.tree.leaves(state))
    return batch
