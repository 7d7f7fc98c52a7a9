"""How much memory an update needs, estimated from shapes alone, before anything is allocated.

An update holds the training state, the gradient, its batch, and what the forward pass keeps for
the backward pass. The compiler needs more for what is in flight, such as a part of a large softmax,
or less where it computes something again; `--mode=benchmark --repeats=0` reports what it plans.

Glossary of shapes:
  B: batch size; n: devices of all processes; A: parts of a device's batch; T: time steps.
"""

import math
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from launch.runs import errors
from launch.training import cost, devices, loop
from launch.training import task as task_lib


class Footprint(NamedTuple):
    """Bytes on each device."""

    state: int  # parameters, optimizer, gradient, carry
    batch: int
    activations: int  # what the backward pass reads

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


def check(config: loop.Config, task: task_lib.Task) -> None:
    """Raises a RunError for an update that needs more memory than a device has."""
    memory = devices.memory_bytes()
    needed = estimate(config, task)
    if needed.total <= memory:
        return
    sizes = [number / 1e9 for number in (needed.total, *needed, memory)]
    found = 'an update needs about {:.1f} GB: {:.1f} of parameters and optimizer, {:.1f} of batch, '
    found += '{:.1f} of activations; each device has {:.1f} GB'
    remedy = 'lower --batch_size or the sizes of the network or the task, or raise --accumulate'
    raise errors.RunError(errors.USAGE, f'{found.format(*sizes)}; {remedy}')


def estimate(config: loop.Config, task: task_lib.Task) -> Footprint:
    """Returns what an update needs; nothing but a batch of the host is allocated.

    Args:
      config: the flags; the batch can be split over devices and parts.
      task: what to train.
    """
    count = jax.device_count()
    state = jax.eval_shape(lambda: loop.initial_state(config, task, host=False))
    state = state._replace(carry=_split(state.carry, 0, count))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), config.batch_size // count))
    if task.batch:
        batch, carry = _split(cost.batch(task, 0), 1, jax.local_device_count()), state.carry
    else:
        assert task.sample
        level = (jax.ShapeDtypeStruct((), np.int32),) if task.curriculum else ()
        batch, carry = jax.eval_shape(task.sample, state.params, state.carry, keys, *level)
    parts = config.accumulate
    part = _split(batch, 1, parts), _split(carry, 0, parts), _split(keys, 0, parts)

    def backward(params: chex.ArrayTree, *part: Any) -> Any:
        return jax.vjp(lambda params: task.loss(params, *part)[0]['loss'].total, params)[1]

    activations = jax.eval_shape(backward, state.params, *part)
    kept = _bytes(state) + _bytes(state.params)
    return Footprint(kept, _bytes(batch), max(0, _bytes(activations) - _bytes(state.params)))


def _split(tree: chex.ArrayTree, axis: int, count: int) -> chex.ArrayTree:
    """Returns the shapes of one of `count` equal parts along an axis."""

    def share(x: Any) -> jax.ShapeDtypeStruct:
        shape = *x.shape[:axis], x.shape[axis] // count, *x.shape[axis + 1 :]
        return jax.ShapeDtypeStruct(shape, x.dtype)

    return jax.tree.map(share, tree)


def _bytes(tree: chex.ArrayTree) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
