"""One update of a supervised training, and many of them in one call to the device.

Glossary of shapes:
  B: batch size; n: devices; P: processes; A: parts of a device's batch; T: time steps.
  S: networks that are trained side by side, see `seeds`; one alone has no such axis.
"""

from collections.abc import Callable, Mapping
import math
import types
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from launch.training import devices
from relational_rnn import losses

Sums = Mapping[str, chex.Array]  # [] each, over the positions of a batch


class Curriculum(NamedTuple):
    """How the batches of a task get harder: by levels, which begin with 0.

    After every `every`-th update `passes` tells, of what the parameters can do by then, whether a
    level is learned, and the batches that follow are of the next one. So they are after `patience`
    looks in vain. What is looked at has to depend on nothing else, so that a run which stops and
    goes on takes the same way.
    """

    every: int
    num_levels: int
    patience: int
    passes: Callable[[chex.ArrayTree, int], bool]  # parameters, level


class Task(NamedTuple):
    """What a program trains, one network. `carry` is the state that goes from batch to batch or ().

    Batches come from the host (`batch`) or are drawn on the device (`sample`): one of both. A
    `loss` sees (params, batch, carry, keys [B / n]) and returns of these rows a weighted sum, the
    carry, and sums by name whose means, or ratios, are shown beside the loss.
    """

    init: Callable[[chex.PRNGKey], chex.ArrayTree]  # key -> parameters
    initial_carry: chex.ArrayTree  # arrays [B, ...], of all processes
    loss: Callable[..., tuple[losses.WeightedSum, chex.ArrayTree, Sums]]
    evaluate: Callable[[chex.ArrayTree], Mapping[str, float]]  # parameters -> metrics
    unit: str  # what a weight of 1 in the loss is, in the plural: words
    # step -> this process's rows, host arrays [T, B / P, ...]; with a curriculum (step, level)
    batch: Callable[..., chex.ArrayTree] | None = None
    # (keys [B / n], step []) -> these rows, arrays [T, B / n, ...]
    sample: Callable[[chex.PRNGKey, chex.Array], chex.ArrayTree] | None = None
    names: tuple[str, ...] = ()  # of the sums that are shown as means
    # name -> of which sum what is shown is a mean, and the sum that counts: returns, episodes
    ratios: Mapping[str, tuple[str, str]] = types.MappingProxyType({})
    perplexity: bool = False  # whether it is shown beside the loss, which is in nats
    curriculum: Curriculum | None = None  # of one whose batches come from the host


class Replicated(NamedTuple):
    """The part of the training state that is equal on all devices.

    With S networks all but `step` have a first axis [S].
    """

    params: chex.ArrayTree
    opt_state: optax.OptState
    key: chex.Array  # [2] uint32, the data of the seed's key
    step: chex.Array  # [] int32, finished updates and the data's position


class TrainState(NamedTuple):
    """All that a checkpoint holds."""

    replicated: Replicated
    carry: chex.ArrayTree  # [B, ...]
    level: chex.ArrayTree = ()  # [2] int32, of the curriculum, and looks in vain; () without one


class Outcome(NamedTuple):
    """What updates report, equal on all devices. Sums are over the updates that were made.

    With S networks everything has a first axis [S].
    """

    made: chex.Array  # [] int32, updates without the one that was not finite, if there was one
    total: chex.Array  # [] of the loss
    weight: chex.Array  # []
    grad_norm: chex.Array  # [] sum of the norms
    sums: Sums
    fault: dict[str, chex.Array]  # of the last update


def make_update(
    task: Task, optimiser: optax.GradientTransformation, accumulate: int = 1
) -> Callable[..., Any]:
    """Returns one update, `(replicated, carry, batch) -> (replicated, carry, outcome)`.

    The loss is the mean over the whole batch whatever the number of devices and parts. An update
    that is not finite leaves parameters, optimizer and carry as they were and counts as a step.

    Args:
      task: what to train.
      optimiser: what makes updates of gradients.
      accumulate: A, the parts that a device's rows are computed in.
    """

    def update(state: Replicated, carry: chex.ArrayTree, batch: chex.ArrayTree) -> tuple:
        keys = _row_keys(state, jax.tree.leaves(batch)[0].shape[1])
        grads, report, new_carry = _gradients(
            task.loss, state.params, batch, carry, keys, accumulate
        )
        grads, (value, sums) = devices.total((grads, report))
        grads = jax.tree.map(lambda leaf: leaf / value.weight, grads)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        fault = _find_fault(value, grads, new_carry, params)
        new = params, opt_state, new_carry
        old = state.params, state.opt_state, carry
        params, opt_state, carry = jax.tree.map(
            lambda a, b: jnp.where(fault['finite'], a, b), new, old
        )
        norm = jnp.sqrt(jnp.sum(fault['grad_squares']))
        made = fault['finite'].astype(jnp.int32)
        value, norm, sums = jax.tree.map(
            lambda x: jnp.where(fault['finite'], x, jnp.zeros_like(x)), (value, norm, sums)
        )
        outcome = Outcome(made, value.total, value.weight, norm, sums, fault)
        return Replicated(params, opt_state, state.key, state.step + 1), carry, outcome

    return update


def make_updates(
    task: Task,
    sample: Callable[[chex.PRNGKey, chex.Array], chex.ArrayTree],
    optimiser: optax.GradientTransformation,
    accumulate: int,
    batch_size: int,
    num_networks: int = 1,
) -> Callable[..., Any]:
    """Returns updates on batches drawn on the device, as many as a call asks for.

    They end after the first one that is not finite, in whichever network. However many are made in
    a call, the results are the same bits. Networks share nothing: each has its own batches, and the
    gradients, the clipping and the optimizer that it would have alone.

    Args:
      task: what to train.
      sample: the task's, which draws batches.
      optimiser: what makes updates of gradients.
      accumulate: A, the parts that a device's rows are computed in.
      batch_size: B, of each network.
      num_networks: S; several have no carry.

    Returns:
      `(replicated, carry, counts) -> (replicated, carry, outcome)`; counts is [] int32, at least 1.
    """
    update = make_update(task, optimiser, accumulate)
    rows = batch_size // jax.device_count()

    def one(state: Replicated, carry: chex.ArrayTree) -> tuple:
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(_row_keys(state, rows))
        return update(state, carry, sample(keys, state.step))

    if num_networks > 1:
        axes = Replicated(0, 0, 0, None)
        one = jax.vmap(one, in_axes=(axes, None), out_axes=(axes, None, 0))

    def again(loop: tuple) -> tuple:
        left, state, carry, sums = loop
        state, carry, outcome = one(state, carry)
        added = jax.tree.map(jnp.add, sums._replace(fault={}), outcome._replace(fault={}))
        return left - 1, state, carry, added._replace(fault=outcome.fault)

    def updates(state: Replicated, carry: chex.ArrayTree, count: chex.Array) -> tuple:
        shapes = jax.eval_shape(one, state, carry)[2]
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        nothing.fault['finite'] = jnp.ones_like(nothing.fault['finite'])
        _, state, carry, outcome = jax.lax.while_loop(
            lambda loop: (loop[0] > 0) & jnp.all(loop[3].fault['finite']),
            again,
            (count, state, carry, nothing),
        )
        return state, carry, outcome

    return updates


def first_fault(fault: Mapping[str, Any], params: chex.ArrayTree) -> str:
    """Returns the name of the first thing in an update that was not finite.

    Args:
      fault: of an `Outcome`, on the host.
      params: a tree like the parameters.
    """
    if not math.isfinite(fault['total']):
        return 'the loss'
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for name, square in zip(names, fault['grad_squares'], strict=True):
        if not math.isfinite(square):
            return f'the gradient of {name}'
    if fault['bad_carry']:
        return 'the carried state'
    return f'the parameter {names[int(np.argmax(fault["bad_params"] > 0))]}'


def _find_fault(
    value: losses.WeightedSum, grads: chex.ArrayTree, carry: chex.ArrayTree, params: chex.ArrayTree
) -> dict[str, chex.Array]:
    """Returns what tells whether an update is finite, and what in it is not."""
    squares = jnp.stack([jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads)])
    bad_carry = devices.total(_count_bad(carry))
    bad_params = jnp.stack([_count_bad(leaf) for leaf in jax.tree.leaves(params)])
    finite = jnp.isfinite(value.total) & jnp.all(jnp.isfinite(squares))
    return {
        'total': value.total,
        'grad_squares': squares,
        'bad_carry': bad_carry,
        'bad_params': bad_params,
        'finite': finite & (bad_carry + jnp.sum(bad_params) == 0),
    }


def _gradients(
    loss: Callable[..., Any],
    params: chex.ArrayTree,
    batch: chex.ArrayTree,
    carry: chex.ArrayTree,
    keys: chex.Array,
    parts: int,
) -> tuple[chex.ArrayTree, tuple[losses.WeightedSum, Sums], chex.ArrayTree]:
    """Returns the gradient of the summed loss of this device's rows, the sums, and the carry."""

    def objective(params: chex.ArrayTree, rows: tuple) -> tuple:
        value, new_carry, sums = loss(params, *rows)
        return value.total, ((value, sums), new_carry)

    def one_part(rows: tuple) -> tuple:
        grads, (report, new_carry) = jax.grad(objective, has_aux=True)(params, rows)
        return (grads, report), new_carry

    if parts == 1:
        (grads, report), carry = one_part((batch, carry, keys))
        return grads, report, carry

    def add(sums: tuple, rows: tuple) -> tuple:
        part, new_carry = one_part(rows)
        return jax.tree.map(jnp.add, sums, part), new_carry

    rows = _cut(batch, 1, parts), _cut(carry, 0, parts), _cut(keys, 0, parts)
    shapes = jax.eval_shape(one_part, jax.tree.map(lambda x: x[0], rows))[0]
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    carries: chex.ArrayTree
    (grads, report), carries = jax.lax.scan(add, sums, rows)
    return grads, report, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carries)


def _cut(tree: chex.ArrayTree, axis: int, parts: int) -> chex.ArrayTree:
    """Cuts the rows on an axis into parts: [..., B / n, ...] -> [A, ..., B / n / A, ...]."""

    def cut(x: chex.Array) -> chex.Array:
        shape = *x.shape[:axis], parts, -1, *x.shape[axis + 1 :]
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    return jax.tree.map(cut, tree)


def _row_keys(state: Replicated, local_rows: int) -> chex.Array:
    """Returns a key for each of this device's rows, by its place in the global batch, [B / n]."""
    rows = devices.global_rows(local_rows)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def _count_bad(tree: chex.ArrayTree) -> chex.Array:
    counts = [jnp.sum(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return sum(counts, jnp.zeros((), jnp.int32))
