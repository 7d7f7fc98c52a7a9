"""Checkpoints that are whole or are not used.

A checkpoint is the folder `run_dir/checkpoints/<step>/`:

  state/         every array of the training state, named by its path in the tree, written by Orbax
  metadata.json  what the caller adds (the configuration), and dtype and shape of every array
  manifest.json  the step, size and SHA-256 of every other file, and the SHA-256 of that list

It is written as `<step>.partial` and renamed once it is complete, so a folder without that suffix
was whole at some time. Whatever no longer agrees with its manifest is damaged: it is kept as
`<step>.damaged` and the newest whole checkpoint is used. Only the owner of the run's directory
(see `directory`) may save or restore. Nothing is pickled.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import errno
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from launch.runs import errors

_ARRAYS = 'state'
_METADATA = 'metadata.json'
_MANIFEST = 'manifest.json'


class Restored(NamedTuple):
    """A checkpoint as it was saved."""

    step: int
    state: Any  # the template's structure with NumPy leaves
    metadata: dict[str, Any]


class _DamageError(Exception):
    """Says why a checkpoint disagrees with its manifest."""


def warn(line: str) -> None:
    """Prints one line on stderr."""
    print(line, file=sys.stderr, flush=True)


class Checkpointer:
    """Saves and restores the newest checkpoints of one run."""

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        keep: int = 3,
        max_failures: int = 3,
        tell: Callable[[str], None] = warn,
    ):
        """Opens a run; nothing is read or written yet.

        Args:
          run_dir: the run's directory; checkpoints go into its folder `checkpoints`.
          keep: how many of the newest checkpoints stay.
          max_failures: how many saves may fail in a row before the run ends.
          tell: receives the one-line warnings.
        """
        if keep < 1 or max_failures < 1:
            raise ValueError(f'wanted keep, max_failures >= 1, got {keep}, {max_failures}')
        self._folder = pathlib.Path(run_dir).absolute() / 'checkpoints'
        self._keep = keep
        self._max_failures = max_failures
        self._tell = tell
        self._failures = 0

    def save(self, step: int, state: Any, metadata: Mapping[str, Any]) -> bool:
        """Saves the state of a step, in place of an earlier checkpoint of the same step.

        Args:
          step: a count of steps, >= 0.
          state: a tree of arrays and numbers, none empty.
          metadata: what JSON can hold.

        Returns:
          Whether it was saved; if not, a warning was given and older checkpoints are untouched.

        Raises:
          RunError: a leaf holds NaN or Inf, or too many saves in a row have failed.
        """
        leaves = _named_leaves(state)
        _check_finite(step, leaves)
        specs = {name: _spec(leaf) for name, leaf in leaves.items()}
        text = json.dumps({'metadata': dict(metadata), 'leaves': specs}, indent=1)
        try:
            self._write(step, leaves, text)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._clean()
            self._count_failure(step, error)
            return False
        self._failures = 0
        self._prune()
        return True

    def restore(self, template: Any) -> Restored | None:
        """Restores the newest whole checkpoint; damaged ones are reported and moved aside.

        Args:
          template: a tree with the structure, shapes and dtypes that are expected.

        Returns:
          The checkpoint, or None where none was ever finished.

        Raises:
          RunError: there are checkpoints but none is whole, or it does not fit the template.
        """
        step = self._newest_whole()
        if step is None:
            return None
        folder = self._folder / str(step)
        wanted = {name: _spec(leaf) for name, leaf in _named_leaves(template).items()}
        try:
            record = json.loads((folder / _METADATA).read_text('utf-8'))
            _check_fit(folder, record['leaves'], wanted)
            arrays = _load_arrays(folder / _ARRAYS, list(wanted))
        except errors.RunError:
            raise
        except Exception as error:  # a sealed checkpoint that this version cannot read
            reason = f'{folder}: cannot be read: {_first_line(error)}'
            raise errors.RunError(errors.BAD_DATA, reason) from error
        _check_fit(folder, {name: _spec(array) for name, array in arrays.items()}, wanted)
        structure = jax.tree_util.tree_structure(template)
        state = jax.tree_util.tree_unflatten(structure, [arrays[name] for name in wanted])
        return Restored(step, state, record['metadata'])

    def restore_part(self, template: Any, prefix: str) -> Restored | None:
        """Restores only the leaves below a path."""
        step = self._newest_whole()
        if step is None:
            return None
        folder = self._folder / str(step)
        pairs, structure = jax.tree_util.tree_flatten_with_path(template)
        wanted = {prefix + jax.tree_util.keystr(path): _spec(leaf) for path, leaf in pairs}
        record = json.loads((folder / _METADATA).read_text('utf-8'))
        saved = {k: v for k, v in record['leaves'].items() if k.startswith(prefix)}
        _check_fit(folder, saved, wanted)
        arrays = _load_arrays(folder / _ARRAYS, list(record['leaves']))
        state = jax.tree_util.tree_unflatten(structure, [arrays[name] for name in wanted])
        return Restored(step, state, record['metadata'])

    def newest_metadata(self) -> tuple[int, dict[str, Any]] | None:
        """Reads step and metadata of the newest whole checkpoint, under the rules of `restore`."""
        step = self._newest_whole()
        if step is None:
            return None
        record = json.loads((self._folder / str(step) / _METADATA).read_text('utf-8'))
        return step, record['metadata']

    def _write(self, step: int, leaves: Mapping[str, np.ndarray], text: str) -> None:
        partial = self._folder / f'{step}.partial'
        final, replaced = self._folder / str(step), self._folder / f'{step}.replaced'
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        _save_arrays(partial / _ARRAYS, leaves)
        _write_durably(partial / _METADATA, text)
        _seal(partial, step)
        if final.exists():
            os.replace(final, replaced)
        os.replace(partial, final)
        _sync_folder(self._folder)
        shutil.rmtree(replaced, ignore_errors=True)

    def _clean(self) -> bool:
        """Removes what interrupted saves left behind; returns whether there was any."""
        partials = list(self._folder.glob('*.partial'))
        for replaced in self._folder.glob('*.replaced'):
            if replaced.with_suffix('').exists():
                shutil.rmtree(replaced)
            else:  # stopped between the two renames
                os.replace(replaced, replaced.with_suffix(''))
        for partial in partials:
            shutil.rmtree(partial)
        return bool(partials)

    def _count_failure(self, step: int, error: OSError) -> None:
        self._failures += 1
        reason = f'checkpoint of step {step} not saved in {self._folder}: {_first_line(error)}'
        if self._failures >= self._max_failures:
            reason = f'{reason} ({self._failures} saves in a row failed; the older ones are whole)'
            raise errors.RunError(errors.CANNOT_SAVE, reason) from error
        self._tell(f'warning: {reason}; the run goes on')

    def _steps(self) -> list[int]:
        """Returns the steps that have a folder, newest first."""
        if not self._folder.is_dir():
            return []
        folders = (path.name for path in self._folder.iterdir() if path.is_dir())
        return sorted((int(name) for name in folders if _is_step(name)), reverse=True)

    def _prune(self) -> None:
        for step in self._steps()[self._keep :]:
            old = self._folder / f'{step}.partial'
            with contextlib.suppress(OSError):  # tried again after the next save
                os.replace(self._folder / str(step), old)
                shutil.rmtree(old)

    def _newest_whole(self) -> int | None:
        interrupted = self._clean()
        damaged: list[tuple[int, str]] = []
        for step in self._steps():
            reason = _damage(self._folder / str(step), step)
            if reason is None:
                for bad_step, bad_reason in damaged:
                    self._move_aside(bad_step, bad_reason, step)
                return step
            damaged.append((step, reason))
        if self._folder.is_dir() and any(self._folder.iterdir()):
            reasons = '; '.join(f'{step}: {reason}' for step, reason in damaged)
            line = f'no whole checkpoint in {self._folder} ({reasons or "only moved ones"})'
            remedy = 'repair it, or move the folder away to start again from step 0'
            raise errors.RunError(errors.BAD_DATA, f'{line}; {remedy}')
        if interrupted:
            self._tell(f'the first save in {self._folder} was interrupted: starting from step 0')
        return None

    def _move_aside(self, step: int, reason: str, used: int) -> None:
        source, number = self._folder / str(step), 0
        target = self._folder / f'{step}.damaged'
        while target.exists():
            number += 1
            target = self._folder / f'{step}.damaged.{number}'
        os.replace(source, target)
        self._tell(f'warning: {source}: {reason}; kept as {target.name}, using step {used}')


def _is_step(name: str) -> bool:
    return re.fullmatch('0|[1-9][0-9]{0,17}', name) is not None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _named_leaves(tree: Any) -> dict[str, np.ndarray]:
    """Returns the leaves by their path, in the order of the tree."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in pairs}


def _spec(leaf: np.ndarray) -> str:
    return f'{leaf.dtype}{list(leaf.shape)}'


def _check_finite(step: int, leaves: Mapping[str, np.ndarray]) -> None:
    for name, leaf in leaves.items():
        if leaf.dtype.kind in 'OSUMm' or leaf.size == 0:
            raise ValueError(f'{name}: wanted an array of numbers, got {_spec(leaf)}')
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(leaf).all():
            message = f'checkpoint of step {step} not saved: state{name} holds NaN or Inf'
            raise errors.RunError(errors.INTERNAL, message)


def _check_fit(folder: pathlib.Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    names = [name for name in {**wanted, **saved} if saved.get(name) != wanted.get(name)]
    if names:
        first, more = names[0], f' (and {len(names) - 1} more)' if len(names) > 1 else ''
        got, want = saved.get(first, 'nothing'), wanted.get(first, 'nothing')
        message = f'{folder} does not fit: state{first}: wanted {want}, got {got}{more}'
        raise errors.RunError(errors.MISMATCH, message)


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


def _save_arrays(path: pathlib.Path, leaves: Mapping[str, np.ndarray]) -> None:
    size = sum(leaf.nbytes for leaf in leaves.values()) + 2**20  # a margin for the small files
    free = shutil.disk_usage(path.parent).free
    if free < size:  # said here in one line, where Orbax would fail half-way
        reason = os.strerror(errno.ENOSPC)
        raise OSError(f'{reason}, wanted {size:,} bytes, {free:,} are free')
    try:
        with _orbax() as checkpointer:
            checkpointer.save(path, ocp.args.PyTreeSave(dict(leaves)))
    except Exception as error:  # Orbax reports I/O errors as ValueError
        code = re.search(r"os_error_code='(\d+)'", str(error))
        reason = os.strerror(int(code[1])) if code else _first_line(error)
        raise OSError(reason) from error


def _load_arrays(path: pathlib.Path, names: list[str]) -> dict[str, np.ndarray]:
    how = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    with _orbax() as checkpointer:
        arrays = checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=how))
    return {name: np.asarray(array) for name, array in arrays.items()}


def _write_durably(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(f'{path.name}.tmp')
    with open(temporary, 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _sync_folder(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns all files under a folder but its manifest, by relative path."""
    paths = {str(p.relative_to(folder)): p for p in sorted(folder.rglob('*')) if p.is_file()}
    paths.pop(_MANIFEST, None)
    return paths


def _sha256(path: pathlib.Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _seal(folder: pathlib.Path, step: int) -> None:
    files = {name: [p.stat().st_size, _sha256(p)] for name, p in _files(folder).items()}
    body = json.dumps({'step': step, 'files': files})
    _write_durably(folder / _MANIFEST, f'{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n')


def _damage(folder: pathlib.Path, step: int) -> str | None:
    """Returns what is wrong with a checkpoint, None if it is whole."""
    try:
        _verify(folder, step)
    except Exception as error:  # whatever bytes the files hold, they are damaged and no defect here
        return _first_line(error)
    return None


def _verify(folder: pathlib.Path, step: int) -> None:
    found = _files(folder)
    if not (folder / _MANIFEST).is_file():
        raise _DamageError(f'{_MANIFEST} is missing')
    body, _, digest = (folder / _MANIFEST).read_bytes().partition(b'\n')
    if digest != f'{hashlib.sha256(body).hexdigest()}\n'.encode():
        raise _DamageError(f'{_MANIFEST} is altered')
    manifest = json.loads(body)
    if manifest['step'] != step:
        raise _DamageError(f'{_MANIFEST} is of step {manifest["step"]}')
    for name in sorted(found.keys() | manifest['files'].keys()):
        if name not in found:
            raise _DamageError(f'{name} is missing')
        if name not in manifest['files']:
            raise _DamageError(f'{name} does not belong here')
        wanted, size = manifest['files'][name], found[name].stat().st_size
        if size != wanted[0]:
            raise _DamageError(f'{name} has {size} bytes instead of {wanted[0]}')
        if _sha256(found[name]) != wanted[1]:
            raise _DamageError(f'{name} is altered')
