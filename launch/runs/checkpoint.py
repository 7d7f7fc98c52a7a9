"""Checkpoints that are whole or are not used.

A checkpoint is the folder `run_dir/checkpoints/<step>/`:

  state/         every array of the training state, see `arrays`
  metadata.json  what the caller adds (the configuration), and dtype and shape of every array
  manifest.json  seals the other files, see `integrity`

It is written as `<step>.partial` and renamed once it is complete, so a folder without that suffix
was whole at some time. One that no longer agrees with its manifest is damaged: it is kept as
`<step>.damaged` and the newest whole checkpoint is used. Only the owner of the run's directory
(see `directory`) may save or restore. Nothing is pickled.
"""

from collections.abc import Callable, Mapping
import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np

from launch.runs import arrays as arrays_lib
from launch.runs import console, errors, integrity, signals
from tasks import storage

MAX_FAILURES = 3  # saves in a row that end the run
_ARRAYS = 'state'
_METADATA = 'metadata.json'


class Restored(NamedTuple):
    """A checkpoint as it was saved."""

    step: int
    state: Any  # the template's structure with NumPy leaves
    metadata: dict[str, Any]


class Checkpointer:
    """Saves and restores the newest checkpoints of one run."""

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        keep: int = 3,
        warn: Callable[[str], None] = console.warn,
    ):
        """Opens a run; nothing is read or written yet.

        Args:
          run_dir: the run's directory; checkpoints go into its folder `checkpoints`.
          keep: how many of the newest checkpoints stay.
          warn: receives the one-line warnings.
        """
        if keep < 1:
            raise ValueError(f'wanted keep >= 1, got {keep}')
        self._folder = pathlib.Path(run_dir).absolute() / 'checkpoints'
        self._keep = keep
        self._warn = warn
        self._failures = 0  # saves in a row

    @signals.deferred()
    def save(self, step: int, state: Any, metadata: Mapping[str, Any]) -> bool:
        """Saves the state of a step that has no checkpoint yet.

        Args:
          step: a count of steps, >= 0.
          state: a tree of arrays and numbers, none empty.
          metadata: what JSON can hold.

        Returns:
          Whether it was saved; if not, a warning was given and older checkpoints are untouched.

        Raises:
          RunError: a leaf holds NaN or Inf, or too many saves in a row have failed.
        """
        arrays = {name: np.asarray(leaf) for name, leaf in arrays_lib.named(state).items()}
        bad = arrays_lib.non_finite(arrays)
        if bad is not None:
            message = f'checkpoint of step {step} not saved: state{bad} holds NaN or Inf'
            raise errors.RunError(errors.INTERNAL, message)
        record = {'metadata': dict(metadata), 'leaves': arrays_lib.describe(arrays)}
        try:
            self._write(step, arrays, json.dumps(record, indent=1))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._remove_partial()
            self._count_failure(step, error)
            return False
        self._failures = 0
        self._prune()
        return True

    def restore(self, template: Any, path: str = '') -> Restored | None:
        """Restores the newest whole checkpoint; damaged ones are reported and moved aside.

        Args:
          template: a tree with the structure, shapes and dtypes that are expected.
          path: of the part of the state to restore, `.params`; the whole by default.

        Returns:
          The checkpoint, or None where none was ever finished.

        Raises:
          RunError: there are checkpoints but none is whole, or it does not fit the template.
        """
        step = self._newest_whole()
        if step is None:
            return None
        folder = self._folder / str(step)
        wanted = arrays_lib.describe(arrays_lib.named(template))
        wanted = {path + name: spec for name, spec in wanted.items()}
        try:
            record = self._record(step)
            saved = {name: spec for name, spec in record['leaves'].items() if _below(name, path)}
            _check_fit(folder, saved, wanted)
            arrays = arrays_lib.load(folder / _ARRAYS, list(wanted))
        except errors.RunError:
            raise
        except Exception as error:  # a sealed checkpoint that this version cannot read
            reason = f'{folder}: cannot be read: {errors.first_line(error)}'
            raise errors.RunError(errors.BAD_DATA, reason) from error
        _check_fit(folder, arrays_lib.describe(arrays), wanted)
        structure = jax.tree_util.tree_structure(template)
        state = jax.tree_util.tree_unflatten(structure, [arrays[name] for name in wanted])
        return Restored(step, state, record['metadata'])

    def newest_metadata(self) -> tuple[int, dict[str, Any]] | None:
        """Reads step and metadata of the newest whole checkpoint, under the rules of `restore`."""
        step = self._newest_whole()
        return None if step is None else (step, self._record(step)['metadata'])

    def _record(self, step: int) -> dict[str, Any]:
        return json.loads((self._folder / str(step) / _METADATA).read_text('utf-8'))

    def _write(self, step: int, arrays: arrays_lib.Arrays, text: str) -> None:
        partial = self._folder / f'{step}.partial'
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        arrays_lib.save(partial / _ARRAYS, arrays)
        storage.write_text(partial / _METADATA, text)
        integrity.seal(partial, step)
        os.replace(partial, self._folder / str(step))
        storage.sync(self._folder)

    def _remove_partial(self) -> bool:
        """Removes what interrupted saves left behind; returns whether there was any."""
        partial = list(self._folder.glob('*.partial'))
        for folder in partial:
            shutil.rmtree(folder)
        return bool(partial)

    def _count_failure(self, step: int, error: OSError) -> None:
        self._failures += 1
        reason = errors.first_line(error)
        message = f'checkpoint of step {step} not saved in {self._folder}: {reason}'
        if self._failures >= MAX_FAILURES:
            message += f' ({self._failures} saves in a row failed; the older ones are whole)'
            raise errors.RunError(errors.CANNOT_SAVE, message) from error
        self._warn(f'warning: {message}; training continues')

    def _steps(self) -> list[int]:
        """Returns the steps that have a folder, newest first."""
        if not self._folder.is_dir():
            return []
        names = [path.name for path in self._folder.iterdir() if path.is_dir()]
        is_step = re.compile('0|[1-9][0-9]{0,17}').fullmatch
        return sorted((int(name) for name in names if is_step(name)), reverse=True)

    def _prune(self) -> None:
        for step in self._steps()[self._keep :]:
            old = self._folder / f'{step}.partial'
            with contextlib.suppress(OSError):  # tried again after the next save
                os.replace(self._folder / str(step), old)
                shutil.rmtree(old)

    def _newest_whole(self) -> int | None:
        interrupted = self._remove_partial()
        damaged: dict[int, str] = {}
        for step in self._steps():
            reason = integrity.damage(self._folder / str(step), step)
            if reason is None:
                for bad_step, bad_reason in damaged.items():
                    self._move_aside(bad_step, bad_reason, step)
                return step
            damaged[step] = reason
        if self._folder.is_dir() and any(self._folder.iterdir()):
            reasons = '; '.join(f'{step}: {reason}' for step, reason in damaged.items())
            line = f'no whole checkpoint in {self._folder} ({reasons or "only moved ones"})'
            remedy = 'repair it, or move the folder away to start again from step 0'
            raise errors.RunError(errors.BAD_DATA, f'{line}; {remedy}')
        if interrupted:
            self._warn(f'the first save in {self._folder} was interrupted: starting from step 0')
        return None

    def _move_aside(self, step: int, reason: str, used: int) -> None:
        source = self._folder / str(step)
        suffixes = (f'.damaged.{i}' if i else '.damaged' for i in itertools.count())
        target = next(x for x in map(source.with_suffix, suffixes) if not x.exists())
        os.replace(source, target)
        self._warn(f'warning: {source}: {reason}; kept as {target.name}, using step {used}')


def _below(name: str, path: str) -> bool:
    """Returns whether a leaf stands below a path, or is what stands there."""
    return name.startswith(path) and name[len(path) :][:1] in ('', '.', '[')


def _check_fit(folder: pathlib.Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    names = [name for name in {**wanted, **saved} if saved.get(name) != wanted.get(name)]
    if names:
        first, more = names[0], f' (and {len(names) - 1} more)' if len(names) > 1 else ''
        got, want = saved.get(first, 'nothing'), wanted.get(first, 'nothing')
        message = f'{folder} does not fit: state{first}: wanted {want}, got {got}{more}'
        raise errors.RunError(errors.MISMATCH, message)
