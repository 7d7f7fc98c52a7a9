"""Unrolls a core over time: quickly where there is a quick way, correctly for any core.

A Transformer brings its own pass over a whole window. For the Relational Memory Core the quick way
differs from differentiating a scan of `memory.step` in what it keeps for the backward pass: the
memories and the results of the matrix products. All the rest (layer norms, softmax, gates: cheap
arithmetic over large arrays) is computed again from them, so the residuals that a scan stacks,
whose first touch costs page faults, are less than half.

Glossary of shapes:
  T: time; B: batch; K: rows of an input; D: input size; N: memory slots; F: slot size; H: heads.
  R: rows that ask a query, N + K, and N in the last block; G: one gate's size, F or 1.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import core as core_lib
from relational_rnn import memory
from relational_rnn.baselines import transformer


class Flags(NamedTuple):
    """What happens to each row of a batch at each step, beside the step itself."""

    resets: chex.Array | None  # [T, B] or [T] bool: start from the initial state before this step
    active: chex.Array | None  # [T, B] or [T] bool: False leaves the state as it is


class Inside(NamedTuple):
    """What happens inside a `RelationalMemory` at every step; a gate that it lacks is None."""

    attention: tuple[chex.Array, ...]  # of every block, [T, B, H, R, N + K]
    before: chex.Array  # [T, B, N, F], the memory in which the step begins, after a reset
    memory: chex.Array  # [T, B, N, F], the memory in which it ends
    input_gate: chex.Array | None = None  # [T, B, N, G], behind the sigmoid
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
    (`jax.jvp` needs `hk.dynamic_unroll`). For a `RelationalMemory` all that does not depend
    on the memory is done for all steps at once and the backward pass keeps less; a `Transformer`
    does all steps in one pass; other cores (LSTM, DeepRNN, ...) are unrolled step by step.

    Args:
      core: the core.
      inputs: [T, B, D], for a `RelationalMemory` also [T, B, K, D]; without B if the state has
        none. Other cores: whatever they take, with T in front.
      state: the state before the first step.
      resets: [T, B] or [T] bool; True starts from the core's initial state before that step.
      lengths: [B] or [] whole numbers; from step lengths[b] on, row b gives zeros and its state
        stays as it is. What the inputs hold there does not matter. No steps are made behind the
        longest of them (but by a `Transformer`, which has none).
      remat: keep only the states for the backward pass and compute all else again: the least
        memory, about a third more time. A `Transformer` keeps the inputs of its blocks.
      scan_unroll: steps in one iteration of the loop; a `Transformer` has none.

    Returns:
      The outputs, [T, B, ...], and the state after the last step of each row.

    Raises:
      ValueError: if the shapes or dtypes of inputs, state, resets or lengths do not fit.
    """
    flags = _flags(inputs, resets, lengths)
    if isinstance(core, transformer.Transformer):
        outputs, state = core.unroll(_silence(inputs, flags.active), state, *flags, remat=remat)
        return _silence(outputs, flags.active), state
    if not isinstance(core, core_lib.RelationalMemory):
        return _unroll_any(core, inputs, state, flags, remat, scan_unroll)
    params, projected, state = _prepare(core, inputs, state, flags)
    scan = _scan_rematerialized if remat else _scan
    states = scan(core.config, scan_unroll, params.step, projected, state, flags)
    outputs = _silence(core.output(states), flags.active)
    return outputs, jax.tree.map(lambda leaf: leaf[-1], states)


def unroll_attention(
    core: core_lib.RelationalMemory,
    inputs: chex.Array,
    state: memory.State,
    resets: chex.Array | None = None,
    lengths: chex.Array | None = None,
) -> tuple[chex.Array, memory.State, tuple[chex.Array, ...]]:
    """Runs a Relational Memory Core as `unroll` does and returns its attention too.

    Args:
      core: the core.
      inputs: as for `unroll`.
      state: as for `unroll`.
      resets: as for `unroll`.
      lengths: as for `unroll`.

    Returns:
      Outputs and state as from `unroll`, and for every block the attention weights of all heads
      and steps, [T, B, H, R, N + K]: rows ask, columns are the N slots, then the input's K rows.
      Weights of steps past a row's length are zero.

    Raises:
      ValueError: if `core` is another core, or shapes do not fit.
    """
    outputs, state, inside = unroll_inside(core, inputs, state, resets, lengths)
    return outputs, state, inside.attention


def unroll_inside(
    core: core_lib.RelationalMemory,
    inputs: chex.Array,
    state: memory.State,
    resets: chex.Array | None = None,
    lengths: chex.Array | None = None,
) -> tuple[chex.Array, memory.State, Inside]:
    """Runs a Relational Memory Core as `unroll` does and returns all that happens inside it.

    Args:
      core: the core.
      inputs: as for `unroll`.
      state: as for `unroll`.
      resets: as for `unroll`.
      lengths: as for `unroll`.

    Returns:
      Outputs and state as from `unroll`, and attention, gates and memories of every step; all are
      zero at steps past a row's length. Where the state has no B, they have none.

    Raises:
      ValueError: if `core` is another core, or shapes do not fit.
    """
    if not isinstance(core, core_lib.RelationalMemory):
        raise ValueError(f'attention is that of a RelationalMemory, got {type(core).__name__}.')
    flags = _flags(inputs, resets, lengths)
    params, projected, state = _prepare(core, inputs, state, flags)

    def body(state: memory.State, now: tuple) -> tuple:
        projected, (resets, active) = now
        initial = lambda batch_size: memory.initial_memory(core.config, batch_size)  # noqa: E731
        before = _begin(initial, state, resets)
        gates = memory.gates(params.step, core.config, projected, before)
        state, attention = _advance(
            core.config, params.step, projected, before, Flags(None, active)
        )
        return state, (state, (attention, _memory(before), _memory(state), *gates))

    sequences: tuple
    state, sequences = jax.lax.scan(body, state, (projected, flags))
    states, inside = sequences
    outputs = _silence(core.output(states), flags.active)
    return outputs, state, Inside(*_silence(inside, flags.active))


def _flags(inputs: chex.ArrayTree, resets: chex.Array | None, lengths: chex.Array | None) -> Flags:
    """Checks resets and lengths against the inputs' T and B, and returns them as flags."""
    leaf = jax.tree.leaves(inputs)[0]
    if jnp.ndim(leaf) < 1 or leaf.shape[0] < 1:
        raise ValueError(f'inputs have at least one time step, got shape {jnp.shape(leaf)}.')
    if resets is not None:
        _check_flags('resets', resets, leaf.shape, jnp.bool_)
        resets = jnp.asarray(resets)
    if lengths is None:
        return Flags(resets, None)
    _check_flags('lengths', lengths, leaf.shape[1:], jnp.integer)
    lengths = jnp.asarray(lengths)
    times = jnp.arange(leaf.shape[0]).reshape(-1, *[1] * lengths.ndim)
    active = times < jnp.expand_dims(lengths, 0)
    if resets is None:
        return Flags(None, active)
    if resets.ndim != active.ndim:
        raise ValueError('resets and lengths both have a batch dimension or both have none.')
    return Flags(resets & active, active)  # behind a row's end nothing happens to its state


def _check_flags(name: str, value: chex.Array, shape: tuple[int, ...], dtype: Any) -> None:
    """Checks that `value` has the leading dimensions of the inputs and the dtype."""
    most = ('T', 'B')[: len(shape)] if name == 'resets' else ('B',)
    got = jnp.shape(value)
    if len(got) > len(most) or got != shape[: len(got)] or (name == 'resets' and not got):
        raise ValueError(
            f'{name} is [{", ".join(most)}] like the inputs, {list(shape[: len(most)])}'
            f'{" or without B" if len(most) else ""}, got shape {got}.'
        )
    if not jnp.issubdtype(jnp.asarray(value).dtype, dtype):
        raise ValueError(f'{name} is of dtype {dtype.__name__}, got {jnp.asarray(value).dtype}.')


def _prepare(
    core: core_lib.RelationalMemory, inputs: chex.Array, state: memory.State, flags: Flags
) -> tuple[memory.MemoryParams, memory.Projected, memory.State]:
    """Returns the parameters, the projected inputs of all steps and the state in float32."""
    rows = core.as_rows(inputs, state, leading=('T',))
    state_dims = jax.tree.leaves(state)[0].ndim - 1
    for name, flag in zip(Flags._fields, flags, strict=True):
        if flag is not None and flag.ndim != state_dims:
            name = 'lengths' if name == 'active' else name
            raise ValueError(f'{name} and the state both have a batch dimension or both have none.')
    rows = _silence(rows, flags.active)  # NaN behind the end of a row must not reach a gradient
    params = core.parameters(rows)
    projected = memory.project(params, core.config, rows)
    # Apart before the loop, for XLA does not vectorize a step's gates where it must split them too.
    projected = projected._replace(gates=memory.split_gates(core.config, projected.gates))
    state = jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), state)
    return params, projected, state


def _advance(
    config: memory.MemoryConfig,
    params: memory.StepParams,
    projected: memory.Projected,
    state: memory.State,
    flags: Flags,
    apply: memory.Apply = memory.apply_linear,
) -> tuple[memory.State, tuple[chex.Array, ...]]:
    """One step with its flags, [B] or []: reset, step, and hold what is not active."""
    return _guard(
        lambda state: memory.step(params, config, projected, state, apply),
        lambda batch_size: memory.initial_memory(config, batch_size),
        state,
        flags,
    )


def _guard(
    step: Callable[[Any], tuple[Any, Any]],
    initial_state: Callable[[int | None], Any],
    state: Any,
    flags: Flags,
) -> tuple[Any, Any]:
    """Resets the state, steps to (new state, anything), and holds the rows that are not active."""
    state = _begin(initial_state, state, flags.resets)
    stepped, rest = step(state)
    if flags.active is not None:
        stepped = _select(flags.active, stepped, state)
    return stepped, rest


def _begin(
    initial_state: Callable[[int | None], Any], state: Any, resets: chex.Array | None
) -> Any:
    """Returns the state in which a step begins: the initial one in the rows that are reset."""
    if resets is None:
        return state
    return _select(resets, initial_state(resets.shape[0] if resets.ndim else None), state)


def _memory(state: memory.State) -> chex.Array:
    return state.memory if isinstance(state, memory.GatedState) else state


def _scan_body(config: memory.MemoryConfig, params: memory.StepParams) -> Callable:
    """Returns the body of a scan over (projected, flags) that gives the state after each step."""

    def body(state: memory.State, now: tuple) -> tuple:
        projected, flags = now
        advance = lambda state: _advance(config, params, projected, state, flags)[0]  # noqa: E731
        state = _if_active(flags, advance, lambda state: state, state)
        return state, state

    return body


def _if_active(flags: Flags, advance: Callable, hold: Callable, carry: Any) -> Any:
    """Returns advance(carry), or hold(carry) at a step where no row is active: the same, sooner."""
    if flags.active is None:
        return advance(carry)
    return jax.lax.cond(jnp.any(flags.active), advance, hold, carry)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan(
    config: memory.MemoryConfig,
    scan_unroll: int,
    params: memory.StepParams,
    projected: memory.Projected,
    state: memory.State,
    flags: Flags,
) -> memory.State:
    """Returns the state after every step, [T, B, N, F]."""
    body = _scan_body(config, params)
    return jax.lax.scan(body, state, (projected, flags), unroll=scan_unroll)[1]


def _scan_forward(
    config: memory.MemoryConfig,
    scan_unroll: int,
    params: memory.StepParams,
    projected: memory.Projected,
    state: memory.State,
    flags: Flags,
) -> tuple[memory.State, tuple]:
    """As `_scan`, and returns the residuals: the results of all affine maps, in calling order."""

    def body(state: memory.State, now: tuple) -> tuple:
        def advance(state: memory.State) -> tuple:
            results: list[chex.Array] = []

            def apply(layer: memory.Linear, x: chex.Array) -> chex.Array:
                results.append(memory.apply_linear(layer, x))
                return results[-1]

            state, _ = _advance(config, params, now[0], state, now[1], apply)
            return state, tuple(results)

        def hold(state: memory.State) -> tuple:
            results = jax.eval_shape(advance, state)[1]
            return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)

        state, results = _if_active(now[1], advance, hold, state)
        return state, (state, results)

    sequences: tuple
    _, sequences = jax.lax.scan(body, state, (projected, flags), unroll=scan_unroll)
    states, results = sequences
    return states, (params, projected, state, flags, states, results)


def _scan_backward(
    config: memory.MemoryConfig, scan_unroll: int, residuals: tuple, d_states: memory.State
) -> tuple:
    """Goes back through the steps, each replayed from the remembered results of its maps."""
    params, projected, start, flags, states, results = residuals

    def body(carry: tuple, now: tuple) -> tuple:
        d_state, d_params = carry
        time, projected, flags, results, d_output = now
        state = jax.tree.map(
            lambda first, later: jnp.where(time == 0, first, later[jnp.maximum(time - 1, 0)]),
            start,
            states,
        )

        def replay(params, projected, state):  # type: ignore[no-untyped-def]
            remembered = iter(results)
            apply = lambda layer, x: _recall(layer, x, next(remembered))  # noqa: E731
            return _advance(config, params, projected, state, flags, apply)[0]

        def advance(carry: tuple) -> tuple:
            d_state, d_params = carry
            _, pull_back = jax.vjp(replay, params, projected, state)
            d_step, d_projected, d_state = pull_back(d_state)
            return (d_state, jax.tree.map(lambda a, b: a + b, d_params, d_step)), d_projected

        def hold(carry: tuple) -> tuple:
            return carry, jax.tree.map(jnp.zeros_like, projected)

        d_state = jax.tree.map(jnp.add, d_state, d_output)
        return _if_active(flags, advance, hold, (d_state, d_params))

    # In float32 at least: in bfloat16 a long sum would stop growing.
    sums = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), params
    )
    zeros = jax.tree.map(jnp.zeros_like, start), sums
    times = jnp.arange(jax.tree.leaves(states)[0].shape[0])
    sequence = (times, projected, flags, results, d_states)
    d_projected: memory.Projected
    carry, d_projected = jax.lax.scan(body, zeros, sequence, reverse=True, unroll=scan_unroll)
    d_start, d_params = carry
    d_params = jax.tree.map(lambda a, b: a.astype(b.dtype), d_params, params)
    return d_params, d_projected, d_start, None


_scan.defvjp(_scan_forward, _scan_backward)


@jax.custom_vjp
def _recall(layer: memory.Linear, x: chex.Array, result: chex.Array) -> chex.Array:
    """`memory.apply_linear` where its result is known: only the derivatives are computed."""
    del layer, x
    return result


def _recall_forward(
    layer: memory.Linear, x: chex.Array, result: chex.Array
) -> tuple[chex.Array, tuple]:
    return result, (layer, x)


def _recall_backward(residuals: tuple, d_result: chex.Array) -> tuple:
    """Written out, for XLA copies transposed arrays where JAX differentiates the product."""
    layer, x = residuals
    rows = x.reshape(-1, x.shape[-1]).astype(layer.w.dtype)
    d_rows = d_result.reshape(-1, d_result.shape[-1])
    d_w = jnp.einsum('ri,ro->io', rows, d_rows)
    d_b = jnp.ones(d_rows.shape[0], d_rows.dtype) @ d_rows
    return memory.Linear(d_w, d_b), (d_result @ layer.w.T).astype(x.dtype), None


_recall.defvjp(_recall_forward, _recall_backward)


def _scan_rematerialized(
    config: memory.MemoryConfig,
    scan_unroll: int,
    params: memory.StepParams,
    projected: memory.Projected,
    state: memory.State,
    flags: Flags,
) -> memory.State:
    """As `_scan`, keeping only the states for the backward pass."""
    body = jax.checkpoint(_scan_body(config, params))
    return jax.lax.scan(body, state, (projected, flags), unroll=scan_unroll)[1]


def _unroll_any(
    core: hk.RNNCore,
    inputs: chex.ArrayTree,
    state: chex.ArrayTree,
    flags: Flags,
    remat: bool,
    scan_unroll: int,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Unrolls any core step by step, with resets and lengths."""

    def advance(now: tuple, state: chex.ArrayTree) -> tuple:
        inputs, flags = now

        def step(state: chex.ArrayTree) -> tuple[chex.ArrayTree, chex.ArrayTree]:
            output, stepped = core(inputs, state)
            return stepped, output

        stepped, output = _guard(step, core.initial_state, state, flags)
        return _silence(output, flags.active), stepped

    def hold(now: tuple, state: chex.ArrayTree) -> tuple:
        output = hk.eval_shape(advance, now, state)[0]
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), output), state

    def advance_if_active(now: tuple, state: chex.ArrayTree) -> tuple:
        if flags.active is None or hk.running_init():  # which has to make all parameters
            return advance(now, state)
        return hk.cond(jnp.any(now[1].active), advance, hold, now, state)

    advance_once: Callable = hk.remat(advance_if_active) if remat else advance_if_active
    sequence = _silence(inputs, flags.active), flags
    return hk.dynamic_unroll(advance_once, sequence, state, unroll=scan_unroll)


def _select(
    condition: chex.Array, on_true: chex.ArrayTree, on_false: chex.ArrayTree
) -> chex.ArrayTree:
    """Chooses row by row between two trees [B, ...] (or, with a scalar condition, wholly)."""

    def choose(a: chex.Array, b: chex.Array) -> chex.Array:
        mask = condition.reshape(condition.shape + (1,) * (b.ndim - condition.ndim))
        return jnp.where(jnp.broadcast_to(mask, b.shape), a.astype(b.dtype), b)

    return jax.tree.map(choose, on_true, on_false)


def _silence(tree: chex.ArrayTree, active: chex.Array | None) -> chex.ArrayTree:
    """Returns zeros where a row is not active."""
    if active is None:
        return tree
    return _select(active, tree, jax.tree.map(jnp.zeros_like, tree))
