"""Scans a Relational Memory Core over time, and differentiates the scan in one of two ways.

Both give the same numbers; what is quick differs.

`stepwise`, for CPUs, where memory that is touched for the first time is expensive: the loop keeps
the memories and the results of the matrix products, and the loop back computes all else (layer
norms, softmax, gates: cheap arithmetic over large arrays) again in each step.

`deferred`, for accelerators, where every kernel of a step costs time: the loop keeps the memories
alone. All steps are then linearised at once, for none of them waits for another; the loop back
carries only the cotangent of the memory through them; and the gradients of parameters and inputs
are those of all T x B steps at once, after the loop.

Glossary of shapes:
  T: time; B: batch; K: rows of an input; D: input size; N: memory slots; F: slot size.
"""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from relational_rnn import memory, operations, unrolling


def scan_memory(
    config: memory.MemoryConfig,
    params: memory.MemoryParams,
    inputs: jax.Array,
    state: memory.State,
    flags: unrolling.Flags = unrolling.Flags(),  # noqa: B008 - a constant
    options: unrolling.Options = unrolling.Options(),  # noqa: B008 - a constant
) -> memory.State:
    """Returns the state of a Relational Memory Core after every step, [T, B, N, F].

    Args:
      config: the core's choices.
      params: its parameters.
      inputs: rows of all steps, [T, B, K, D].
      state: the state before the first step, [B, N, F].
      flags: of all steps.
      options: how; by default the scan is differentiated `stepwise` where it is lowered for a CPU
        and `deferred` elsewhere.
    """
    arguments = operations.vary_alike(params, inputs, state, flags)
    stepwise = functools.partial(_scan_stepwise, config, options)
    deferred = functools.partial(_scan_deferred, config, options)
    if options.backward is None:
        return jax.lax.platform_dependent(*arguments, cpu=stepwise, default=deferred)
    return {'stepwise': stepwise, 'deferred': deferred}[options.backward](*arguments)


def look_inside(
    config: memory.MemoryConfig,
    params: memory.MemoryParams,
    inputs: jax.Array,
    state: memory.State,
    flags: unrolling.Flags,
    states: memory.State,
) -> unrolling.Inside:
    """Returns what happened inside each step, by repeating all of them at once.

    Args:
      config: as for `scan_memory`, and so are the following ones.
      params: as well.
      inputs: [T, B, K, D].
      state: [B, N, F].
      flags: of all steps.
      states: the state after every step, [T, B, N, F], from `scan_memory`.
    """
    before = _states_before(config, state, states, flags)
    projected = memory.project(params, config, inputs)
    _, attention = memory.step(params.step, config, projected, before)
    gates = memory.gates(params.step, config, projected, before)
    return unrolling.Inside(attention, memory.memory_of(before), memory.memory_of(states), *gates)


def _states_before(
    config: memory.MemoryConfig, state: memory.State, states: memory.State, flags: unrolling.Flags
) -> memory.State:
    """Returns the state before every step, after its reset, [T, B, N, F]."""
    before = jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs[:-1]]), state, states)
    if flags.resets is None:
        return before
    initial = memory.initial_memory(config, None)
    initial = jax.tree.map(lambda x, like: jnp.broadcast_to(x, like.shape), initial, before)
    return unrolling.select(flags.resets, initial, before)


def _advance(
    config: memory.MemoryConfig,
    params: memory.StepParams,
    projected: memory.Projected,
    state: memory.State,
    flags: unrolling.Flags,
    ops: operations.Operations,
) -> memory.State:
    """Returns the state after one step with its flags, [B, N, F]."""
    step = lambda state: memory.step(params, config, projected, state, ops)  # noqa: E731
    initial = functools.partial(memory.initial_memory, config)
    return unrolling.guard(step, initial, state, flags)[0]


def _scan_stepwise(
    config: memory.MemoryConfig,
    options: unrolling.Options,
    params: memory.MemoryParams,
    inputs: jax.Array,
    state: memory.State,
    flags: unrolling.Flags,
) -> memory.State:
    """As `scan_memory`; no step is made after the last active one."""
    saved = () if options.remat else (operations.LINEAR,)
    policy = jax.checkpoint_policies.save_only_these_names(*saved)
    remember = functools.partial(jax.checkpoint, policy=policy, prevent_cse=False)
    projected = memory.project(params, config, inputs, operations.STEPWISE)
    # The gradient is a sum over T: in float32 at least, for in bfloat16 it would stop growing.
    wide = jax.tree.map(lambda x: x.astype(operations.at_least_float32(x)), params.step)

    @remember  # here too, so that `cond` recomputes and differentiates in one branch
    def advance(state: memory.State, now: tuple) -> memory.State:
        # Parameters that depend on the state: else JAX moves their broadcasts out of the loop.
        state, in_step = jax.lax.optimization_barrier((state, wide))
        narrow = jax.tree.map(lambda x, like: x.astype(like.dtype), in_step, params.step)
        projected, flags = now
        return _advance(config, narrow, projected, state, flags, operations.STEPWISE)

    @remember
    def body(state: memory.State, now: tuple) -> tuple:
        active = now[1].active
        if active is None:
            state = advance(state, now)
        else:  # the same where no element is active, sooner
            state = jax.lax.cond(jnp.any(active), advance, lambda state, now: state, state, now)
        return state, state

    return jax.lax.scan(body, state, (projected, flags), unroll=options.scan_unroll)[1]


def _scan_deferred(
    config: memory.MemoryConfig,
    options: unrolling.Options,
    params: memory.MemoryParams,
    inputs: jax.Array,
    state: memory.State,
    flags: unrolling.Flags,
) -> memory.State:
    """As `scan_memory`; all steps are made, for a choice in the loop would wait for the host."""
    num_steps = len(inputs)
    size = math.isqrt(num_steps) if options.remat else num_steps

    @jax.custom_vjp
    def run(
        params: memory.MemoryParams,
        inputs: jax.Array,
        state: memory.State,
        flags: unrolling.Flags,
    ) -> memory.State:
        def scan(state: memory.State, steps: tuple) -> tuple[memory.State, memory.State]:
            inputs, flags = steps

            def body(state: memory.State, now: tuple) -> tuple:
                state = _advance(config, params.step, now[0], state, now[1], operations.DEFERRED)
                return state, state

            over = memory.project(params, config, inputs, operations.DEFERRED), flags
            return jax.lax.scan(body, state, over, unroll=options.scan_unroll)

        return _scan_pieces(scan, state, (inputs, flags), size)[1]

    def forward(*arguments: Any) -> tuple:
        states = run(*arguments)
        return states, (*arguments, states)

    def backward(residuals: tuple, d_states: memory.State) -> tuple:
        params, inputs, state, flags, states = residuals
        before = _states_before(config, state, states, flags)
        pull_back = functools.partial(_pull_back, config, options.scan_unroll, params)
        carry = jax.tree.map(jnp.zeros_like, (state, params))
        steps = inputs, before, flags, d_states
        (d_state, d_params), d_inputs = _scan_pieces(pull_back, carry, steps, size, reverse=True)
        return d_params, d_inputs, d_state, None

    run.defvjp(forward, backward)
    padded = params._replace(step=operations.pad_matrices(params.step))
    return run(padded, inputs, state, flags)


def _scan_pieces(
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    steps: Any,
    size: int,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Scans over pieces of `size` steps; the last one may be shorter.

    Args:
      body: (carry, a piece of the steps) -> (carry, results of the piece).
      carry: at the start.
      steps: arrays [T, ...].
      size: of a piece.
      reverse: whether the last piece comes first.

    Returns:
      The carry at the end, and the results [T, ...].
    """
    num_steps = len(jax.tree.leaves(steps)[0])
    whole = num_steps - num_steps % size

    def scan(carry: Any) -> tuple[Any, Any]:
        if size == num_steps:
            return body(carry, steps)
        pieces = jax.tree.map(lambda x: x[:whole].reshape(-1, size, *x.shape[1:]), steps)
        carry, results = jax.lax.scan(body, carry, pieces, reverse=reverse)
        return carry, jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), results)

    def last(carry: Any) -> tuple[Any, Any]:
        return body(carry, jax.tree.map(lambda x: x[whole:], steps))

    if whole == num_steps:
        return scan(carry)
    if reverse:
        carry, end = last(carry)
        carry, start = scan(carry)
    else:
        carry, start = scan(carry)
        carry, end = last(carry)
    return carry, jax.tree.map(lambda *xs: jnp.concatenate(xs), start, end)


def _pull_back(
    config: memory.MemoryConfig,
    scan_unroll: int,
    params: memory.MemoryParams,
    carry: tuple[memory.State, memory.MemoryParams],
    steps: tuple,
) -> tuple[tuple[memory.State, memory.MemoryParams], jax.Array]:
    """Pulls cotangents back through some steps.

    Args:
      config: the core's choices.
      scan_unroll: steps in one iteration of the loop.
      params: of the core.
      carry: the cotangents of the state after the steps, [B, N, F], and of the parameters.
      steps: inputs, the states before each step, flags, and the cotangents of the states after
        each step in addition to that of the next step, [T, B, ...].

    Returns:
      The cotangents of the state before the steps and of the parameters, and of the inputs.
    """
    inputs, before, flags, d_states = steps
    projected = memory.project(params, config, inputs, operations.DEFERRED)

    def step(
        params: memory.StepParams, projected: memory.Projected, state: memory.State
    ) -> memory.State:
        return memory.step(params, config, projected, state, operations.DEFERRED)[0]

    linear, apply = _linearise(step, params.step, projected, before)

    def body(d_state: memory.State, now: tuple) -> tuple:
        linear, flags, d_output = now
        d_after = jax.tree.map(jnp.add, d_state, d_output)
        (d_state,) = apply(linear, d_after)
        if flags.active is not None:
            d_state = unrolling.select(flags.active, d_state, d_after)
        if flags.resets is not None:
            nothing = jax.tree.map(jnp.zeros_like, d_state)
            d_state = unrolling.select(flags.resets, nothing, d_state)
        return d_state, d_after

    d_after: memory.State
    over = linear, flags, d_states
    d_state, d_after = jax.lax.scan(body, carry[0], over, reverse=True, unroll=scan_unroll)
    d_after = unrolling.silence(d_after, flags.active)

    def all_steps(params: memory.MemoryParams, inputs: jax.Array) -> memory.State:
        return step(
            params.step, memory.project(params, config, inputs, operations.DEFERRED), before
        )

    d_params, d_inputs = jax.vjp(all_steps, params, inputs)[1](d_after)
    return (d_state, jax.tree.map(jnp.add, carry[1], d_params)), d_inputs


def _linearise(
    step: Callable[..., memory.State],
    params: memory.StepParams,
    projected: memory.Projected,
    before: memory.State,
) -> tuple[Any, Callable[[Any, memory.State], tuple[memory.State]]]:
    """Linearises steps in their states, all at once.

    Args:
      step: (parameters, projected, state) -> state.
      params: of the step.
      projected: [T, B, ...].
      before: the states, [T, B, N, F].

    Returns:
      What the cotangents of the steps need, arrays [T, ...]; and a function of one step's share of
      that and the cotangent of the state after it, which returns that of the state before it.
    """
    constants = {id(leaf) for leaf in jax.tree.leaves(params)}
    shared: list[jax.Array | None] = []
    structure: list[Any] = []

    def linearise(projected: memory.Projected, state: memory.State) -> list[jax.Array | None]:
        pull_back = jax.vjp(functools.partial(step, params, projected), state)[1]
        leaves, tree = jax.tree.flatten(pull_back)
        # Parameters are the same in all steps: `vmap` would return a copy for each.
        is_shared = [id(leaf) in constants for leaf in leaves]
        shared[:] = [x if same else None for x, same in zip(leaves, is_shared, strict=True)]
        structure[:] = [tree]
        return [None if same else x for x, same in zip(leaves, is_shared, strict=True)]

    def apply(linear: list[jax.Array | None], d_state: memory.State) -> tuple[memory.State]:
        leaves = [x if own is None else own for x, own in zip(shared, linear, strict=True)]
        return jax.tree.unflatten(structure[0], leaves)(d_state)

    return jax.vmap(linearise)(projected, before), apply
