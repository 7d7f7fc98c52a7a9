"""One update of a training, and many of them in one call to the devices.

Glossary of shapes:
  B: batch size; n: devices; P: processes; A: parts of a device's batch; T: time steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from launch.training import devices
from launch.training import task as task_lib
from relational_rnn import losses

# Of an update, in the order of the computation, which a dict loses on its way through JAX.
_PARTS = 'the loss', 'the gradient of ', 'the carried state', 'the parameter '
_NO_PLACE = 2**31 - 1  # no batch element has it


class TrainState(NamedTuple):
    """All that a checkpoint holds. All but `carry` is equal on all devices."""

    params: chex.ArrayTree
    opt_state: optax.OptState
    key: chex.Array  # [2] uint32, the data of the seed's key
    step: chex.Array  # [] int32, finished updates and the position in the data
    carry: chex.ArrayTree  # [B, ...]
    level: chex.ArrayTree = ()  # [2] int32, of the curriculum, and evaluations without success; ()


class Report(NamedTuple):
    """What the updates of a call report, equal on all devices."""

    num_updates: chex.Array  # [] int32, without one that was not finite
    finite: chex.Array  # [] bool, whether the last one was; after one that was not there is none
    metrics: task_lib.Metrics  # summed over the updates; 'grad_norm' has a weight of 1 for each


class _Attempt(NamedTuple):
    """An update before it is known to be finite."""

    state: TrainState
    metrics: dict[str, losses.WeightedSum]
    grads: chex.ArrayTree
    bad_carry: chex.Array  # [] int32, numbers that are not finite, on all devices


def make_update(
    task: task_lib.Task,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    accumulate: int = 1,
) -> Callable[..., tuple[TrainState, Report]]:
    """Returns one update, `(state, batch) -> (state, report)`.

    The loss is the mean over the whole batch whatever the number of devices and parts. An update
    that is not finite leaves parameters, optimizer and carry as they were and counts as a step.

    Args:
      task: what to train.
      optimizer: what makes updates of gradients.
      batch_size: B.
      accumulate: A, the parts that a device's share of the batch is computed in.
    """

    def update(state: TrainState, batch: chex.ArrayTree) -> tuple[TrainState, Report]:
        attempt = _attempt(task, optimizer, batch_size, accumulate, state, batch, state.carry)
        return _accept(state, attempt)

    return update


def make_sampled_updates(
    task: task_lib.Task,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    accumulate: int = 1,
) -> Callable[..., tuple[TrainState, Report]]:
    """Returns updates on batches sampled on the device, as many as a call is given.

    They end after the first one that is not finite. However many are made in a call, the results
    are the same bits.

    Args:
      task: what to train; it has `sample`.
      optimizer: as in `make_update`.
      batch_size: as in `make_update`.
      accumulate: as in `make_update`.

    Returns:
      `(state, count) -> (state, report)`; count is [] int32, at least 1.
    """

    def one(state: TrainState) -> tuple[TrainState, Report]:
        batch, carry = _sample(task, batch_size, state)
        attempt = _attempt(task, optimizer, batch_size, accumulate, state, batch, carry)
        return _accept(state, attempt)

    def again(loop: tuple) -> tuple:
        left, state, sums = loop
        state, report = one(state)
        metrics = jax.tree.map(jnp.add, sums.metrics, report.metrics)
        report = Report(sums.num_updates + report.num_updates, report.finite, metrics)
        return left - 1, state, report

    def updates(state: TrainState, count: chex.Array) -> tuple[TrainState, Report]:
        shapes = jax.eval_shape(one, state)[1]
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        nothing = nothing._replace(finite=jnp.ones_like(nothing.finite))
        _, state, report = jax.lax.while_loop(
            lambda loop: (loop[0] > 0) & loop[2].finite, again, (count, state, nothing)
        )
        return state, report

    return updates


def make_diagnosis(
    task: task_lib.Task,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    accumulate: int = 1,
) -> Callable[..., dict[str, chex.ArrayTree]]:
    """Returns what repeats an update that was not finite, to find what in it was not.

    Args:
      task: as in `make_update`.
      optimizer: as in `make_update`.
      batch_size: as in `make_update`.
      accumulate: as in `make_update`.

    Returns:
      `(state after the update, batch) -> found`, for `first_nonfinite`; a task that samples its
      batches takes no account of `batch`.
    """

    def diagnose(state: TrainState, batch: chex.ArrayTree) -> dict[str, chex.ArrayTree]:
        state, carry = state._replace(step=state.step - 1), state.carry
        if task.sample:
            batch, carry = _sample(task, batch_size, state)
        attempt = _attempt(task, optimizer, batch_size, accumulate, state, batch, carry)
        all_finite = lambda tree: jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), tree)  # noqa: E731
        loss = jnp.isfinite(attempt.metrics['loss'].total)
        grads, params = all_finite(attempt.grads), all_finite(attempt.state.params)
        return dict(zip(_PARTS, (loss, grads, attempt.bad_carry == 0, params), strict=True))

    return diagnose


def first_nonfinite(found: dict[str, Any]) -> str:
    """Returns the name of the first thing in an update that was not finite.

    Args:
      found: by a function of `make_diagnosis`, on the host.
    """
    for name in _PARTS:
        for path, finite in jax.tree_util.tree_leaves_with_path(found[name]):
            if not finite:
                return f'{name}{jax.tree_util.keystr(path)}'
    return 'an update'  # on another device kind the repetition may differ in the last bits


def _attempt(
    task: task_lib.Task,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    accumulate: int,
    state: TrainState,
    batch: chex.ArrayTree,
    carry: chex.ArrayTree,
) -> _Attempt:
    """Returns the result of an update of a state, whether it is finite or not."""
    keys = _element_keys(state, batch_size)
    shares = batch, carry, keys
    grads, metrics, new_carry = _gradients(task.loss, state.params, shares, accumulate)
    grads, metrics = devices.total((grads, metrics))
    grads = jax.tree.map(lambda leaf: leaf / metrics['loss'].weight, grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics['grad_norm'] = losses.WeightedSum(optax.tree.norm(grads), jnp.ones(()))
    bad_carry = devices.total(_count_bad(new_carry))
    new = state._replace(params=params, opt_state=opt_state, carry=new_carry)
    return _Attempt(new, metrics, grads, bad_carry)


def _accept(state: TrainState, attempt: _Attempt) -> tuple[TrainState, Report]:
    """Returns the new state of a finite update; of another the old one, a step later."""
    sums = jnp.stack([attempt.metrics['loss'].total, attempt.metrics['grad_norm'].total])
    bad = attempt.bad_carry + _count_bad(attempt.state.params)
    finite = jnp.all(jnp.isfinite(sums)) & (bad == 0)
    choose = lambda new, old: jnp.where(finite, new, old)  # noqa: E731
    kept = jax.tree.map(choose, attempt.state, state)
    metrics = jax.tree.map(lambda x: choose(x, jnp.zeros_like(x)), attempt.metrics)
    return kept._replace(step=state.step + 1), Report(finite.astype(jnp.int32), finite, metrics)


def _sample(
    task: task_lib.Task, batch_size: int, state: TrainState
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Returns a batch of this device and the carry after it."""
    assert task.sample
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(_element_keys(state, batch_size))
    level = (_level(task.curriculum, state),) if task.curriculum else ()
    return task.sample(state.params, state.carry, keys, *level)


def _level(curriculum: task_lib.Curriculum, state: TrainState) -> chex.Array:
    """Returns the level [] int32 of a batch, the same on all devices."""
    key = jax.random.fold_in(_step_key(state), _NO_PLACE)
    for_share, for_level = jax.random.split(key)
    earlier = jax.random.randint(for_level, (), 0, state.level[0] + 1)
    chosen = jax.random.bernoulli(for_share, curriculum.earlier_share)
    return jnp.where(chosen, earlier, state.level[0])


def _gradients(
    loss: Callable[..., Any], params: chex.ArrayTree, shares: tuple, parts: int
) -> tuple[chex.ArrayTree, dict[str, losses.WeightedSum], chex.ArrayTree]:
    """Returns the gradient of this device's summed loss, its metrics, and the carry.

    Args:
      loss: of a `Task`.
      params: the parameters.
      shares: batch, carry and keys of this device.
      parts: A.
    """

    def objective(params: chex.ArrayTree, shares: tuple) -> tuple:
        metrics, carry = loss(params, *shares)
        return metrics['loss'].total, (dict(metrics), carry)

    gradient = jax.grad(objective, has_aux=True)
    if parts == 1:
        grads, (metrics, carry) = gradient(params, shares)
        return grads, metrics, carry

    def add(sums: tuple, part: tuple) -> tuple:
        grads, (metrics, carry) = gradient(params, part)
        return jax.tree.map(jnp.add, sums, (grads, metrics)), carry

    batch, carry, keys = shares
    cut = _cut(batch, 1, parts), _cut(carry, 0, parts), _cut(keys, 0, parts)
    grads, (metrics, _) = jax.eval_shape(gradient, params, jax.tree.map(lambda x: x[0], cut))
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (grads, metrics))
    carries: chex.ArrayTree
    (grads, metrics), carries = jax.lax.scan(add, sums, cut)
    return grads, metrics, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carries)


def _cut(tree: chex.ArrayTree, axis: int, parts: int) -> chex.ArrayTree:
    """Splits a batch on its axis B into parts: [..., B / n, ...] -> [A, ..., B / n / A, ...]."""

    def cut(x: chex.Array) -> chex.Array:
        shape = *x.shape[:axis], parts, -1, *x.shape[axis + 1 :]
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    return jax.tree.map(cut, tree)


def _element_keys(state: TrainState, batch_size: int) -> chex.Array:
    """Returns a key [B / n] for each of this device's batch elements, by its place in the batch."""
    places = devices.global_places(batch_size // devices.count())
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(_step_key(state), places)


def _step_key(state: TrainState) -> chex.PRNGKey:
    """Returns the key of all that is random in an update."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)


def _count_bad(tree: chex.ArrayTree) -> chex.Array:
    """Returns how many numbers are not finite, [] int32; joined, for fewer kernels on a GPU."""
    bad = [~jnp.isfinite(leaf).ravel() for leaf in jax.tree.leaves(tree)]
    return jnp.sum(jnp.concatenate([jnp.zeros(1, bool), *bad]), dtype=jnp.int32)
