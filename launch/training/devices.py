"""Data parallelism over devices and processes: the only file that uses `jax.pmap`.

Parameters and optimizer state have no device axis: they enter whole on every device and come back
equal, because gradients are summed over the devices. Batches and the state that is carried from
batch to batch are split along B: first over the processes, then over the devices of each, so
process 0 has the first batch elements. A process only ever holds its own.

Glossary of shapes:
  P: processes; n: devices of this process; B: global batch size; T: time steps.
"""

from collections.abc import Callable, Sequence
import contextlib
import functools
import json
import os
import pathlib
import sys
from typing import Any

import chex
import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from launch.runs import errors

AXIS = 'devices'


def is_primary() -> bool:
    """Returns whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def describe_devices() -> str:
    """Returns number and kind of all devices, for example '8 x NVIDIA H100'."""
    return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def check_batch_size(batch_size: int, parts: int = 1, count: int = 0) -> None:
    """Raises a RunError unless the batch can be split over the devices and, there, into parts.

    Args:
      batch_size: B.
      parts: of each device's share.
      count: of the devices; 0 for all that there are.
    """
    devices = count or jax.device_count()
    if batch_size % (devices * parts):
        wanted = f'wanted a multiple of the {devices} devices'
        if parts > 1:
            wanted += f' x --accumulate={parts}'
        message = f'--batch_size: {wanted}, got {batch_size}'
        raise errors.RunError(errors.USAGE, message)


def memory_bytes() -> int:
    """Returns the memory of each device of this process; on CPUs its share of the machine's."""
    own = jax.local_devices()[0].memory_stats() or {}
    return own.get('bytes_limit') or _host_bytes() // jax.local_device_count()


def _host_bytes() -> int:
    """Returns the memory of this machine, or of the container that the process is in."""
    found = [sys.maxsize]  # where nothing is known, nothing is refused
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
    for name in ('memory.max', 'memory/memory.limit_in_bytes'):  # cgroups, versions 2 and 1
        with contextlib.suppress(OSError, ValueError):  # the first may say 'max'
            found.append(int(pathlib.Path('/sys/fs/cgroup', name).read_text('utf-8')))
    return min(found)


def process_slice(batch_size: int) -> slice:
    """Returns which elements of a global batch of B are this process's."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def compile_update(
    update: Callable[..., Any], state: Any, donate: bool = True, target: Sequence[Any] = ()
) -> Any:
    """Compiles `(state, work) -> (state, report)` for all devices.

    Args:
      update: sees its share of `state.carry` and of the work, and must return an equal rest of the
        state and report on every device: it sums over the axis `AXIS`.
      state: of the structure of the states, a `NamedTuple` with the field `carry`.
      donate: whether the state's buffers are given up, and a state is returned before the report.
      target: devices that are not here, for which it can be lowered but not run; none for those of
        all processes.

    Returns:
      The compiled function; carry and work as from `split`.
    """
    axes = type(state)(*[0 if name == 'carry' else None for name in state._fields])
    return jax.pmap(
        update,
        axis_name=AXIS,
        in_axes=(axes, 0),
        out_axes=(axes, None) if donate else None,
        donate_argnums=(0,) if donate else (),
        devices=target or (_devices() if jax.process_count() > 1 else None),
    )


def _devices() -> list[jax.Device]:
    """Returns all devices, ordered by process, then by id."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def split(tree: chex.ArrayTree, axis: int) -> chex.ArrayTree:
    """Splits a process's batch over its devices: [..., B / P, ...] -> [n, ..., B / P / n, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: np.stack(np.split(np.asarray(x), devices, axis)), tree)


def split_shapes(tree: chex.ArrayTree, axis: int, count: int) -> chex.ArrayTree:
    """Returns the shapes of what `split` returns for a number of devices, n."""

    def share(x: Any) -> jax.ShapeDtypeStruct:
        shape = count, *x.shape[:axis], x.shape[axis] // count, *x.shape[axis + 1 :]
        return jax.ShapeDtypeStruct(shape, x.dtype)

    return jax.tree.map(share, tree)


def merge(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Undoes `split` along the first axis, for all processes, on the host: [B, ...]."""
    tree = jax.tree.map(_join, tree)
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def place(state: Any) -> Any:
    """Puts a host state where updates return it, or the next one would be compiled again."""
    carry = jax.device_put(split_carry(state.carry), _sharding(AXIS))
    return replicate(state._replace(carry=()))._replace(carry=carry)


def replicate(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Puts host arrays on all devices of this process, whole on each."""
    return jax.device_put(tree, _sharding())


def _sharding(*axes: str) -> jax.sharding.Sharding:
    mesh = jax.sharding.Mesh(jax.local_devices(), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def split_carry(carry: chex.ArrayTree) -> chex.ArrayTree:
    """Splits this process's share of a carry over its devices: [B, ...] -> [n, B / P / n, ...]."""
    return split(jax.tree.map(lambda x: np.asarray(x)[process_slice(len(x))], carry), axis=0)


def gather(state: Any) -> Any:
    """Undoes `place`: returns the state on the host, with the carry of all processes."""
    host = to_host(state._replace(carry=()))
    return host._replace(carry=merge(state.carry))


def _join(x: Any) -> np.ndarray:
    """Joins this process's share: [n, B / P / n, ...] -> [B / P, ...]."""
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


def global_places(share: int) -> chex.Array:
    """Returns which elements of the global batch this device holds, inside an update."""
    return jax.lax.axis_index(AXIS) * share + jnp.arange(share)


def total(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Sums over the devices, inside an update."""
    return jax.lax.psum(tree, AXIS) if count() > 1 else tree


def count() -> int:
    """Returns the number of devices of all processes, inside an update."""
    return jax.lax.axis_size(AXIS)


def broadcast(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Sends host arrays of process 0 to all, bit by bit; every process gives the same shapes."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(_broadcast_bytes, tree)


def _broadcast_bytes(x: np.ndarray) -> np.ndarray:
    # As bytes, for the sum that JAX sends floats with turns -0.0 into 0.0.
    flat = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(flat)).view(x.dtype).reshape(x.shape)


def broadcast_json(value: Any) -> Any:
    """Sends what JSON can hold from process 0 to all; the others' argument is ignored."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8) if is_primary() else np.zeros(0)
    size = int(broadcast(np.array(len(text))))
    return json.loads(broadcast(text if is_primary() else np.zeros(size, np.uint8)).tobytes())


def any_across_processes(flag: bool) -> bool:
    """Returns whether the flag of any process is set."""
    if jax.process_count() == 1:
        return flag
    flags = np.full(jax.local_device_count(), flag, np.int32)
    return bool(_first_copy(_sum_flags()(flags)))


@functools.cache
def _sum_flags() -> Callable[[np.ndarray], chex.Array]:
    add = functools.partial(jax.lax.psum, axis_name=AXIS)
    return jax.pmap(add, axis_name=AXIS, out_axes=None, devices=_devices())
