"""Unrolls a core over time: in the core's own way where it has one, else step by step.

A core that has a method `unroll(inputs, state, flags, remat, scan_unroll)` is unrolled by it: a
`Transformer` does all steps in one pass, a `RelationalMemory` projects all inputs at once and then
scans the rest of the step (`scan_memory`). That scan differs from a plain one in what it keeps for
the backward pass: the memories and the results of the matrix products. All else (layer norms,
softmax, gates: cheap arithmetic over large arrays) is computed again from them, so the residuals
that a scan stacks, whose first touch costs page faults, are less than half.

Glossary of shapes:
  T: time; B: batch; K: rows of an input; D: input size; N: memory slots; F: slot size; H: heads.
  R: queries, N + K, and N in the last block; G: one gate's size, F or 1.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import memory


class Flags(NamedTuple):
    """What happens to each batch element at each step in addition to the step itself."""

    resets: chex.Array | None = None  # [T, B] or [T] bool: start this step from the initial state
    active: chex.Array | None = None  # [T, B] or [T] bool: False leaves the state as it is


class Inside(NamedTuple):
    """What happens inside a `RelationalMemory` at every step; a gate that it lacks is None."""

    attention: tuple[chex.Array, ...]  # of every block, [T, B, H, R, N + K]
    before: chex.Array  # [T, B, N, F], the memory before the step, after a reset
    memory: chex.Array  # [T, B, N, F], the memory after the step
    input_gate: chex.Array | None = None  # [T, B, N, G], after the sigmoid
    forget_gate: chex.Array | None = None  # [T, B, N, G]
    output_gate: chex.Array | None = None  # [T, B, N, G]


def unroll(
    core: hk.RNNCore,
    inputs: chex.ArrayTree,
    state: chex.ArrayTree,
    resets: chex.Array | None = None,
    lengths: chex.Array | None = None,
    *,
    remat: bool = False,
    scan_unroll: int = 1,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Runs a core over whole sequences, time-major.

    The numbers are those of `hk.dynamic_unroll`, and so are the derivatives, in reverse mode only
    (`jax.jvp` needs `hk.dynamic_unroll`).

    Args:
      core: the core.
      inputs: [T, B, D], for a `RelationalMemory` also [T, B, K, D]; without B if the state has
        none. Other cores: whatever they take, with T in front.
      state: the state before the first step.
      resets: [T, B] or [T] bool; True starts from the core's initial state before that step.
      lengths: [B] or [] whole numbers; from step lengths[b] on, the outputs of batch element b are
        zero and its state stays as it is, whatever the inputs hold there. No steps are made after
        the longest of them (except by a `Transformer`, which has no loop).
      remat: keep only the states for the backward pass and compute all else again: the least
        memory, about a third more time. A `Transformer` keeps the inputs of its blocks.
      scan_unroll: steps in one iteration of the loop; a `Transformer` has none.

    Returns:
      The outputs, [T, B, ...], and the state after the last step of each batch element.

    Raises:
      ValueError: if the shapes or dtypes of inputs, state, resets or lengths do not fit.
    """
    flags = _flags(inputs, resets, lengths)
    inputs = _silence(inputs, flags.active)  # NaN past the end must not reach a gradient
    if hasattr(core, 'unroll'):
        outputs, state = core.unroll(inputs, state, flags, remat, scan_unroll)
    else:
        outputs, state = _step_by_step(core, inputs, state, flags, remat, scan_unroll)
    return _silence(outputs, flags.active), state


def unroll_attention(
    core: hk.RNNCore,
    inputs: chex.Array,
    state: memory.State,
    resets: chex.Array | None = None,
    lengths: chex.Array | None = None,
) -> tuple[chex.Array, memory.State, tuple[chex.Array, ...]]:
    """Runs a Relational Memory Core and returns outputs, state and `Inside.attention`.

    Arguments and errors are those of `unroll_inside`.
    """
    outputs, state, inside = unroll_inside(core, inputs, state, resets, lengths)
    return outputs, state, inside.attention


def unroll_inside(
    core: hk.RNNCore,
    inputs: chex.Array,
    state: memory.State,
    resets: chex.Array | None = None,
    lengths: chex.Array | None = None,
) -> tuple[chex.Array, memory.State, Inside]:
    """Runs a Relational Memory Core and returns attention, gates and memories of every step too.

    Args:
      core: a `RelationalMemory`.
      inputs: and the other arguments are those of `unroll`.
      state: before the first step.
      resets: which steps start from the initial state.
      lengths: the steps of each batch element.

    Returns:
      Outputs and state as from `unroll`, and what happened inside, zeros at steps past the end.
      Where the state has no B, it has none.

    Raises:
      ValueError: if `core` is another core, or shapes do not fit.
    """
    if not hasattr(core, 'unroll_inside'):
        raise ValueError(f'attention is that of a RelationalMemory, got {type(core).__name__}.')
    flags = _flags(inputs, resets, lengths)
    inputs = _silence(inputs, flags.active)
    outputs, state, inside = core.unroll_inside(inputs, state, flags)
    return _silence(outputs, flags.active), state, _silence(inside, flags.active)


def scan_memory(
    config: memory.MemoryConfig,
    params: memory.StepParams,
    projected: memory.Projected,
    state: memory.State,
    flags: Flags,
    remat: bool = False,
    scan_unroll: int = 1,
) -> memory.State:
    """Returns the state of a Relational Memory Core after every step, [T, B, N, F].

    Args:
      config: the core's choices.
      params: the parameters of the step.
      projected: the inputs' share of all steps, [T, B, ...].
      state: the state before the first step, [B, N, F].
      flags: of all steps.
      remat: keep only the states for the backward pass.
      scan_unroll: steps in one iteration of the loop.
    """
    policy = jax.checkpoint_policies.save_only_these_names(*() if remat else (memory.LINEAR,))
    remember = functools.partial(jax.checkpoint, policy=policy, prevent_cse=False)
    # The gradient is a sum over T: in float32 at least, for in bfloat16 it would stop growing.
    wide = jax.tree.map(lambda x: x.astype(memory.at_least_float32(x)), params)

    @remember  # here too, so that `cond` recomputes and differentiates in one branch
    def advance(state: memory.State, projected: memory.Projected, flags: Flags) -> memory.State:
        # Parameters that depend on the state: else JAX moves their broadcasts out of the loop.
        state, in_step = jax.lax.optimization_barrier((state, wide))
        narrow = jax.tree.map(lambda x, like: x.astype(like.dtype), in_step, params)
        step = lambda state: memory.step(narrow, config, projected, state)  # noqa: E731
        return _guard(step, lambda size: memory.initial_memory(config, size), state, flags)[0]

    @remember
    def body(state: memory.State, now: tuple) -> tuple:
        active = now[1].active
        if active is None:
            state = advance(state, *now)
        else:  # the same where no element is active, sooner
            state = jax.lax.cond(jnp.any(active), advance, lambda state, *_: state, state, *now)
        return state, state

    return jax.lax.scan(body, state, (projected, flags), unroll=scan_unroll)[1]


def look_inside(
    config: memory.MemoryConfig,
    params: memory.StepParams,
    projected: memory.Projected,
    state: memory.State,
    flags: Flags,
    states: memory.State,
) -> Inside:
    """Returns what happened inside each step, by repeating all of them at once.

    Args:
      config: as for `scan_memory`, and so are the following ones.
      params: of the step.
      projected: [T, B, ...].
      state: [B, N, F].
      flags: of all steps.
      states: the state after every step, [T, B, N, F], from `scan_memory`.
    """
    before = jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs[:-1]]), state, states)
    if flags.resets is not None:
        initial = memory.initial_memory(config, None)
        initial = jax.tree.map(lambda x, like: jnp.broadcast_to(x, like.shape), initial, before)
        before = _select(flags.resets, initial, before)
    _, attention = memory.step(params, config, projected, before)
    gates = memory.gates(params, config, projected, before)
    return Inside(attention, memory.memory_of(before), memory.memory_of(states), *gates)


def _flags(inputs: chex.ArrayTree, resets: chex.Array | None, lengths: chex.Array | None) -> Flags:
    """Checks resets and lengths against the inputs' T and B, and returns them as flags."""
    shape = jnp.shape(jax.tree.leaves(inputs)[0])
    if not shape or not shape[0]:
        raise ValueError(f'inputs have at least one time step, got shape {shape}.')
    active = None
    if resets is not None:
        _check_flags('resets', resets, ('T', 'B'), shape[:2], jnp.bool_)
        resets = jnp.asarray(resets)
    if lengths is not None:
        _check_flags('lengths', lengths, ('B',), shape[1:2], jnp.integer)
        lengths = jnp.expand_dims(lengths, 0)
        active = jnp.arange(shape[0]).reshape(-1, *[1] * (lengths.ndim - 1)) < lengths
    if resets is not None and active is not None:
        if resets.ndim != active.ndim:
            raise ValueError('resets and lengths both have a batch dimension or both have none.')
        resets &= active  # past the end nothing happens to a state
    return Flags(resets, active)


def _check_flags(
    name: str, value: chex.Array, dims: tuple[str, ...], shape: tuple[int, ...], dtype: Any
) -> None:
    """Raises unless a value has the leading dimensions of the inputs, B or not, and the dtype."""
    got = jnp.shape(value)
    without_batch = shape[: len(dims) - 1]
    if got not in (shape, without_batch):
        wanted = f'[{", ".join(dims)}] like the inputs, {list(shape)} or {list(without_batch)}'
        raise ValueError(f'{name} is {wanted}, got shape {got}.')
    if not jnp.issubdtype(jnp.asarray(value).dtype, dtype):
        raise ValueError(f'{name} is of dtype {dtype.__name__}, got {jnp.asarray(value).dtype}.')


def check_batch(flags: Flags, batch: tuple[int, ...]) -> None:
    """Raises a ValueError unless flags have a batch dimension just where the state has one."""
    for name, flag in (('resets', flags.resets), ('lengths', flags.active)):
        if flag is not None and flag.shape[1:] != batch:
            raise ValueError(f'{name} and the state both have a batch dimension or both have none.')


def _step_by_step(
    core: hk.RNNCore,
    inputs: chex.ArrayTree,
    state: chex.ArrayTree,
    flags: Flags,
    remat: bool,
    scan_unroll: int,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Unrolls any core with resets and lengths."""

    def advance(now: tuple, state: chex.ArrayTree) -> tuple:
        inputs, flags = now

        def step(state: chex.ArrayTree) -> tuple[chex.ArrayTree, chex.ArrayTree]:
            output, stepped = core(inputs, state)
            return stepped, output

        return _guard(step, core.initial_state, state, flags)[::-1]

    def hold(now: tuple, state: chex.ArrayTree) -> tuple:
        output = hk.eval_shape(advance, now, state)[0]
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), output), state

    def advance_if_active(now: tuple, state: chex.ArrayTree) -> tuple:
        if flags.active is None or hk.running_init():  # which has to make all parameters
            return advance(now, state)
        return hk.cond(jnp.any(now[1].active), advance, hold, now, state)

    step: Callable = hk.remat(advance_if_active) if remat else advance_if_active
    return hk.dynamic_unroll(step, (inputs, flags), state, unroll=scan_unroll)


def _guard(
    step: Callable[[Any], tuple[Any, Any]],
    initial_state: Callable[[int | None], Any],
    state: Any,
    flags: Flags,
) -> tuple[Any, Any]:
    """Resets a state, steps to (next state, anything), and holds the state where not active."""
    if flags.resets is not None:
        batch_size = flags.resets.shape[0] if flags.resets.ndim else None
        state = _select(flags.resets, initial_state(batch_size), state)
    after, rest = step(state)
    return after if flags.active is None else _select(flags.active, after, state), rest


def _silence(tree: Any, active: chex.Array | None) -> Any:
    """Returns zeros where a batch element is not active."""
    if active is None:
        return tree
    return _select(active, tree, jax.tree.map(jnp.zeros_like, tree))


def _select(
    condition: chex.Array, on_true: chex.ArrayTree, on_false: chex.ArrayTree
) -> chex.ArrayTree:
    """Chooses by batch element between two trees [B, ...] (or, with a scalar, between both)."""

    def choose(a: chex.Array, b: chex.Array) -> chex.Array:
        mask = condition.reshape(condition.shape + (1,) * (b.ndim - condition.ndim))
        return jnp.where(jnp.broadcast_to(mask, b.shape), a.astype(b.dtype), b)

    return jax.tree.map(choose, on_true, on_false)
