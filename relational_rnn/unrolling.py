"""Unrolls a core over time: in the core's own way where it has one, else step by step.

A core that has a method `unroll(inputs, state, flags, options)` is unrolled by it: a `Transformer`
does all steps in one pass, a `RelationalMemory` projects all inputs at once and then scans the rest
of the step (see `scanning`).

Glossary of shapes:
  T: time; B: batch; K: rows of an input; D: input size; N: memory slots; F: slot size; H: heads.
  R: queries, N + K, and N in the last block; G: one gate's size, F or 1.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple, TypeVar

import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import checks, memory, operations

BACKWARD = ('stepwise', 'deferred', None)
StateT = TypeVar('StateT')  # of a core, any tree: it comes back as it was given


class Flags(NamedTuple):
    """What happens to each batch element at each step in addition to the step itself."""

    resets: jax.Array | None = None  # [T, B] or [T] bool: start this step from the initial state
    active: jax.Array | None = None  # [T, B] or [T] bool: False leaves the state as it is


class Options(NamedTuple):
    """How a core is unrolled; see the arguments of `unroll`. The numbers are the same."""

    remat: bool = False
    scan_unroll: int = 1
    backward: str | None = None


class Inside(NamedTuple):
    """What happens inside a `RelationalMemory` at every step; a gate that it lacks is None."""

    attention: tuple[jax.Array, ...]  # of every block, [T, B, H, R, N + K]
    before: jax.Array  # [T, B, N, F], the memory before the step, after a reset
    memory: jax.Array  # [T, B, N, F], the memory after the step
    input_gate: jax.Array | None = None  # [T, B, N, G], after the sigmoid
    forget_gate: jax.Array | None = None  # [T, B, N, G]
    output_gate: jax.Array | None = None  # [T, B, N, G]


def unroll(
    core: hk.RNNCore,
    inputs: Any,
    state: StateT,
    resets: checks.AnyArray | None = None,
    lengths: checks.AnyArray | None = None,
    *,
    remat: bool = False,
    scan_unroll: int = 1,
    backward: str | None = None,
) -> tuple[jax.Array, StateT]:
    """Runs a core over whole sequences, time-major.

    The numbers are those of `hk.dynamic_unroll`, and so are the derivatives, in reverse mode only
    (`jax.jvp` and `jax.hessian` need `hk.dynamic_unroll`). It may be called inside `jax.shard_map`.

    Args:
      core: the core.
      inputs: [T, B, D], for a `RelationalMemory` also [T, B, K, D]; without B if the state has
        none. Other cores: whatever they take, with T in front.
      state: the state before the first step.
      resets: [T, B] or [T] bool; True starts from the core's initial state before that step.
      lengths: [B] or [] whole numbers; from step lengths[b] on, the outputs of batch element b are
        zero and its state stays as it is, whatever the inputs hold there. No steps are made after
        the longest of them, except with `backward='deferred'` and by a `Transformer`, which has no
        loop.
      remat: keep only the states for the backward pass and compute all else again, a few steps at
        a time: the least memory, on a CPU about a third more time. A `Transformer` keeps the inputs
        of its blocks.
      scan_unroll: steps in one iteration of the loop; a `Transformer` has none.
      backward: how the scan of a `RelationalMemory` is differentiated: 'stepwise', 'deferred', or
        None for what suits the platform that it is lowered for; see `scanning`.

    Returns:
      The outputs, [T, B, ...], and the state after the last step of each batch element.

    Raises:
      ValueError: if the shapes or dtypes of inputs, state, resets or lengths do not fit, or for an
        unknown `backward`.
    """
    run = core.unroll if hasattr(core, 'unroll') else functools.partial(_step_by_step, core)
    return unroll_by(run, inputs, state, resets, lengths, Options(remat, scan_unroll, backward))


def unroll_by(
    run: Callable[..., tuple[jax.Array, StateT]],
    inputs: Any,
    state: StateT,
    resets: checks.AnyArray | None,
    lengths: checks.AnyArray | None,
    options: Options,
) -> tuple[jax.Array, StateT]:
    """Runs `run(inputs, state, flags, options)`; the rest, and the errors, are as of `unroll`."""
    checks.check_choice('backward', options.backward, BACKWARD)
    flags = _flags(inputs, resets, lengths)
    inputs = silence(inputs, flags.active)  # NaN past the end must not reach a gradient
    outputs, state = run(inputs, state, flags, options)
    return silence(outputs, flags.active), state


def unroll_attention(
    core: hk.RNNCore,
    inputs: jax.Array,
    state: memory.State,
    resets: checks.AnyArray | None = None,
    lengths: checks.AnyArray | None = None,
) -> tuple[jax.Array, memory.State, tuple[jax.Array, ...]]:
    """Runs a Relational Memory Core and returns outputs, state and `Inside.attention`.

    Arguments and errors are those of `unroll_inside`.
    """
    outputs, state, inside = unroll_inside(core, inputs, state, resets, lengths)
    return outputs, state, inside.attention


def unroll_inside(
    core: hk.RNNCore,
    inputs: jax.Array,
    state: memory.State,
    resets: checks.AnyArray | None = None,
    lengths: checks.AnyArray | None = None,
) -> tuple[jax.Array, memory.State, Inside]:
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
    inputs = silence(inputs, flags.active)
    outputs, state, inside = core.unroll_inside(inputs, state, flags)
    return silence(outputs, flags.active), state, silence(inside, flags.active)


def _flags(inputs: Any, resets: checks.AnyArray | None, lengths: checks.AnyArray | None) -> Flags:
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
    name: str,
    value: checks.AnyArray,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: Any,
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
    inputs: Any,
    state: Any,
    flags: Flags,
    options: Options,
) -> tuple[Any, Any]:
    """Unrolls any core with resets and lengths."""
    state, _ = operations.vary_alike(state, (inputs, flags))

    def advance(now: tuple, state: Any) -> tuple:
        inputs, flags = now

        def step(state: Any) -> tuple[Any, Any]:
            output, stepped = core(inputs, state)
            return stepped, output

        return guard(step, core.initial_state, state, flags)[::-1]

    def hold(now: tuple, state: Any) -> tuple:
        output = hk.eval_shape(advance, now, state)[0]
        output = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), output)
        return operations.vary_alike(output, state)

    def advance_if_active(now: tuple, state: Any) -> tuple:
        if flags.active is None or hk.running_init():  # which has to make all parameters
            return advance(now, state)
        return hk.cond(jnp.any(now[1].active), advance, hold, now, state)

    step: Callable = hk.remat(advance_if_active) if options.remat else advance_if_active
    return hk.dynamic_unroll(step, (inputs, flags), state, unroll=options.scan_unroll)


def guard(
    step: Callable[[Any], tuple[Any, Any]],
    initial_state: Callable[[int | None], Any],
    state: Any,
    flags: Flags,
) -> tuple[Any, Any]:
    """Resets a state, steps to (next state, anything), and holds the state where not active."""
    if flags.resets is not None:
        batch_size = flags.resets.shape[0] if flags.resets.ndim else None
        state = select(flags.resets, initial_state(batch_size), state)
    after, rest = step(state)
    return after if flags.active is None else select(flags.active, after, state), rest


def silence(tree: Any, active: jax.Array | None) -> Any:
    """Returns zeros where a batch element is not active."""
    if active is None:
        return tree
    return select(active, tree, jax.tree.map(jnp.zeros_like, tree))


def select(condition: jax.Array, on_true: Any, on_false: Any) -> Any:
    """Chooses by batch element between two trees [B, ...] (or, with a scalar, between both)."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        mask = condition.reshape(condition.shape + (1,) * (b.ndim - condition.ndim))
        return jnp.where(jnp.broadcast_to(mask, b.shape), a.astype(b.dtype), b)

    return jax.tree.map(choose, on_true, on_false)
