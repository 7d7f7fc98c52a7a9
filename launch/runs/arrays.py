"""The arrays of a training state on disk, by Orbax: each is named by its path in the tree."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import errno
import logging
import os
import pathlib
import re
import shutil
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from launch.runs import errors, signals

Arrays = dict[str, np.ndarray]


def named(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their path, `.params['w']`, in the order of the tree."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in pairs}


def describe(leaves: Mapping[str, Any]) -> dict[str, str]:
    """Returns dtype and shape of arrays, numbers or `jax.ShapeDtypeStruct`s: 'float32[5, 7]'."""
    shaped = {name: x if hasattr(x, 'shape') else np.asarray(x) for name, x in leaves.items()}
    return {name: f'{x.dtype}{list(x.shape)}' for name, x in shaped.items()}


def non_finite(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns the name of the first array that holds NaN or Inf, None if there is none.

    Raises:
      ValueError: one is empty or holds no numbers.
    """
    for name, array in arrays.items():
        if array.dtype.kind in 'OSUMm' or array.size == 0:
            got = f'{array.dtype}{list(array.shape)}'
            raise ValueError(f'{name}: wanted an array of numbers, got {got}')
        if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array).all():
            return name
    return None


def save(folder: pathlib.Path, arrays: Arrays) -> None:
    """Writes arrays into a new folder.

    Raises:
      OSError: there is no space, or something could not be written.
    """
    size = sum(array.nbytes for array in arrays.values()) + 2**20  # a margin for the small files
    free = shutil.disk_usage(folder.parent).free
    if free < size:  # one line here, where Orbax would fail half-way
        reason = os.strerror(errno.ENOSPC)
        raise OSError(f'{reason}, wanted {size:,} bytes, {free:,} are free')
    try:
        with _quiet(), _orbax() as checkpointer:
            checkpointer.save(folder, ocp.args.PyTreeSave(arrays))
    except Exception as error:  # Orbax reports I/O errors as ValueError
        code = re.search(r"os_error_code='(\d+)'", str(error))
        raise OSError(os.strerror(int(code[1])) if code else errors.first_line(error)) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps writes that end after one has failed from printing tracebacks, also after its block."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != 'Event loop is closed':  # Orbax has left it
            before(unraisable)

    def wanted(record: logging.LogRecord) -> bool:  # that a write failed has been reported
        return not (record.exc_info and 'os_error_code=' in str(record.exc_info[1]))

    logger = logging.getLogger('asyncio')
    sys.unraisablehook = hook
    logger.addFilter(wanted)
    yield
    sys.unraisablehook = before  # all are written
    logger.removeFilter(wanted)


@signals.deferred()  # Orbax may turn what is raised inside it into something else
def load(folder: pathlib.Path, names: Sequence[str]) -> Arrays:
    """Reads the arrays of these names out of a folder that `save` wrote."""
    kinds = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    part = ocp.args.PyTreeRestore(dict.fromkeys(names, 0), restore_args=kinds, transforms={})
    with _orbax() as checkpointer:
        return {name: np.asarray(x) for name, x in checkpointer.restore(folder, args=part).items()}


@contextlib.contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
    """Yields an Orbax checkpointer that logs nothing; uncompressed, as weights do not compress.

    It does not wait for other processes: they do not save.
    """
    logger = logging.getLogger('absl')
    before, logger.disabled = logger.disabled, True
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f'process_{jax.process_index()}',
    )
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    finally:
        logger.disabled = before
