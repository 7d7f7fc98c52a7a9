"""Data parallelism over devices and processes: the only place that uses `jax.pmap`.

Parameters and optimizer state have no device axis: they enter whole on every device and come back
equal, because gradients are summed over the devices. Batches and the state that is carried from
batch to batch are split along B: first over the processes, then over the devices of each, so
process 0 has the first rows. A process only ever holds its own rows.

Glossary of shapes:
  P: processes; n: devices of this process; B: global batch size; T: time steps.
"""

from collections.abc import Callable
import functools
import json
from typing import Any

import chex
import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from launch.runs import errors

AXIS = 'devices'


def is_first() -> bool:
    """Returns whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def describe_devices() -> str:
    """Returns number and kind of all devices, for example '8 x NVIDIA H100'."""
    return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def check_batch_size(batch_size: int, parts: int = 1) -> None:
    """Raises a RunError unless the batch can be split over all devices and, there, into parts."""
    devices = jax.device_count()
    if batch_size % (devices * parts):
        wanted = f'wanted a multiple of the {devices} devices'
        if parts > 1:
            wanted += f' x --accumulate={parts}'
        message = f'--batch_size: {wanted}, got {batch_size}'
        raise errors.RunError(errors.USAGE, message)


def own_rows(batch_size: int) -> slice:
    """Returns which rows of a global batch of B are this process's."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def compile_update(update: Callable[..., Any]) -> Any:
    """Compiles `(replicated, carry, batch) -> (replicated, carry, metrics)` for all devices.

    Args:
      update: sees its share of carry and batch, and must return equal `replicated` and metrics on
        every device: it sums over the axis `AXIS`.

    Returns:
      The compiled function; carry and batch as from `split`. The buffers of `replicated` and
      carry are given up to it.
    """
    return jax.pmap(
        update,
        axis_name=AXIS,
        in_axes=(None, 0, 0),
        out_axes=(None, 0, None),
        donate_argnums=(0, 1),
        devices=_devices() if jax.process_count() > 1 else None,
    )


def _devices() -> list[jax.Device]:
    """Returns all devices, those of a process together, whatever order their ids have."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def split(tree: chex.ArrayTree, axis: int) -> chex.ArrayTree:
    """Splits a process's rows over its devices: [..., B / P, ...] -> [n, ..., B / P / n, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: np.stack(np.split(np.asarray(x), devices, axis)), tree)


def merge(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Undoes `split` along the first axis, with all processes' rows, on the host: [B, ...]."""
    tree = jax.tree.map(_join, tree)
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def _join(x: Any) -> np.ndarray:
    """Joins this process's rows: [n, B / P / n, ...] -> [B / P, ...]."""
    shards = getattr(x, 'addressable_shards', None)
    if shards:
        parts = sorted(shards, key=lambda shard: shard.index[0].start or 0)
        x = np.concatenate([np.asarray(part.data) for part in parts])
    return np.asarray(x).reshape(-1, *x.shape[2:])


def to_host(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Copies replicated arrays to the host, from one device."""
    return jax.tree.map(_first_copy, tree)


def _first_copy(x: Any) -> np.ndarray:
    shards = getattr(x, 'addressable_shards', None)
    return np.array(shards[0].data if shards else x)


def global_rows(local_rows: int) -> chex.Array:
    """Returns which rows of the global batch this device holds, inside an update."""
    return jax.lax.axis_index(AXIS) * local_rows + jnp.arange(local_rows)


def total(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Sums over the devices, inside an update."""
    return jax.lax.psum(tree, AXIS) if jax.device_count() > 1 else tree


def share(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Sends host arrays of process 0 to all, bit by bit; every process gives the same shapes."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(_share_bytes, tree)


def _share_bytes(x: np.ndarray) -> np.ndarray:
    # As bytes, for the sum that JAX sends floats with turns -0.0 into 0.0.
    flat = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(flat)).view(x.dtype).reshape(x.shape)


def share_record(record: Any) -> Any:
    """Sends what JSON can hold from process 0 to all; the others' argument is not looked at."""
    if jax.process_count() == 1:
        return record
    text = np.frombuffer(json.dumps(record).encode(), np.uint8) if is_first() else np.zeros(0)
    size = int(share(np.array(len(text))))
    return json.loads(share(text if is_first() else np.zeros(size, np.uint8)).tobytes())


def any_process(flag: bool) -> bool:
    """Returns whether the flag of any process is set."""
    if jax.process_count() == 1:
        return flag
    flags = np.full(jax.local_device_count(), flag, np.int32)
    return bool(_first_copy(_sum_flags()(flags)))


@functools.cache
def _sum_flags() -> Callable[[np.ndarray], chex.Array]:
    add = functools.partial(jax.lax.psum, axis_name=AXIS)
    return jax.pmap(add, axis_name=AXIS, out_axes=None, devices=_devices())
