"""Data parallelism: the only place that uses `jax.pmap`.

Parameters and optimizer state have no device axis: they enter whole on every device and come back
equal, because gradients are summed over the devices. Batches and the state that is carried from
batch to batch are split along B.

Glossary of shapes:
  n: devices; B: global batch size; T: time steps.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch import _errors

AXIS = 'devices'


def check_batch_size(batch_size: int) -> None:
    """Raises a RunError unless the batch can be split over this process's devices."""
    devices = jax.local_device_count()
    if batch_size % devices:
        message = f'--batch_size: wanted a multiple of the {devices} devices, got {batch_size}'
        raise _errors.RunError(_errors.USAGE, message)


def compile_update(update: Callable[..., Any]) -> Callable[..., Any]:
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
    )


def split(tree: chex.ArrayTree, axis: int) -> chex.ArrayTree:
    """Splits host arrays along their batch axis: [..., B, ...] -> [n, ..., B / n, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: np.stack(np.split(np.asarray(x), devices, axis)), tree)


def merge(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Undoes `split` along the first axis and brings the arrays to the host: [B, ...]."""

    def join(x: chex.Array) -> np.ndarray:
        x = np.asarray(x)
        return x.reshape(-1, *x.shape[2:])

    return jax.tree.map(join, tree)


def to_host(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Copies replicated arrays to the host, from one device."""
    return jax.tree.map(_first_copy, tree)


def _first_copy(x: Any) -> np.ndarray:
    shards = getattr(x, 'addressable_shards', None)
    return np.array(shards[0].data if shards else x)


def global_rows(local_rows: int) -> chex.Array:
    """Returns which rows of the global batch this device holds, [B / n], inside an update."""
    return jax.lax.axis_index(AXIS) * local_rows + jnp.arange(local_rows)


def total(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Sums over the devices, inside an update."""
    return jax.lax.psum(tree, AXIS) if jax.local_device_count() > 1 else tree
