"""Checkpoints that are whole or are not used.

A checkpoint is the folder `run_dir/checkpoints/<step>/`:

  state/         every array of the training state, see `arrays`
  metadata.json  what the caller adds (the configuration), and dtype and shape of every array
  manifest.json  seals the other files, see `integrity`

It is written as `<step>.partial` and renamed once it is complete, so a folder without that suffix
was whole at some time. One that no longer agrees with its manifest is damaged, and the newest whole
checkpoint is used. The owner of the run's directory (see `directory`) has a `Checkpointer`, which
keeps the damaged one as `<step>.damaged`; anybody else has a `Reader`, which writes nothing.
Nothing is pickled.
"""

from collections.abc import Callable, Iterable, Mapping
import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from launch.runs import arrays as arrays_lib
from launch.runs import errors, integrity, plain, signals
from tasks import storage

MAX_FAILURES = 3  # saves in a row that end the run
_ARRAYS = 'state'
_METADATA = 'metadata.json'
_PARTIAL = '.partial'  # the suffix of a folder that is not complete
_Read = TypeVar('_Read')


class Restored(NamedTuple):
    """A checkpoint as it was saved."""

    step: int
    state: Any  # the template's structure with NumPy leaves
    metadata: dict[str, Any]


class Reader:
    """Reads the newest whole checkpoint of a run, also of one that is training; writes nothing."""

    def __init__(
        self, run_dir: str | os.PathLike[str], warn: Callable[[str], None] = plain.warn
    ) -> None:
        """Opens a run; nothing is read yet.

        Args:
          run_dir: the run's directory; its checkpoints are in its folder `checkpoints`.
          warn: receives the one-line warnings.
        """
        self._folder = pathlib.Path(run_dir).absolute() / 'checkpoints'
        self._warn = warn

    def restore(self, template: Any, path: str = '') -> Restored | None:
        """Restores the newest whole checkpoint; damaged ones are reported.

        Args:
          template: a tree with the structure, shapes and dtypes that are expected.
          path: of the part of the state to restore, `.params`; the whole by default.

        Returns:
          The checkpoint, or None where none was ever finished.

        Raises:
          RunError: there are checkpoints but none is whole, or it does not fit the template.
        """
        return self._of_newest(lambda step: self._load(step, template, path))

    def newest_metadata(self) -> tuple[int, dict[str, Any]] | None:
        """Reads step and metadata of the newest whole checkpoint, under the rules of `restore`."""
        return self._of_newest(lambda step: (step, self._record(step)['metadata']))

    def _of_newest(self, read: Callable[[int], _Read]) -> _Read | None:
        """Returns what is read of the newest whole checkpoint, None where there is none."""
        while (step := self._newest_whole()) is not None:
            try:
                return read(step)
            except errors.RunError:
                if (self._folder / str(step)).exists():
                    raise  # else the run that is training has removed it, and has newer ones
        return None

    def _load(self, step: int, template: Any, path: str) -> Restored:
        folder, record = self._folder / str(step), self._record(step)
        wanted = arrays_lib.describe(arrays_lib.named(template))
        wanted = {path + name: spec for name, spec in wanted.items()}
        saved = {name: spec for name, spec in record['leaves'].items() if _below(name, path)}
        _check_fit(folder, saved, wanted)
        try:
            arrays = arrays_lib.load(folder / _ARRAYS, list(wanted))
        except errors.RunError:  # a signal
            raise
        except Exception as error:  # sealed, but nothing that this version can read
            raise _unreadable(folder / _ARRAYS, errors.first_line(error)) from error
        _check_fit(folder, arrays_lib.describe(arrays), wanted)
        structure = jax.tree_util.tree_structure(template)
        state = jax.tree_util.tree_unflatten(structure, [arrays[name] for name in wanted])
        return Restored(step, state, record['metadata'])

    def _record(self, step: int) -> dict[str, dict[str, Any]]:
        """Returns the `metadata` and the `leaves` of a checkpoint."""
        path = self._folder / str(step) / _METADATA
        try:
            record = json.loads(path.read_text('utf-8'))
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(path, errors.first_line(error)) from error
        for name in ('metadata', 'leaves'):
            if not isinstance(record, dict) or not isinstance(record.get(name), dict):
                raise _unreadable(path, f'wanted an object with an object {name!r}')
        return record

    def _newest_whole(self) -> int | None:
        """Returns the step of the newest whole checkpoint; reports those that are damaged."""
        names = [x.name for x in self._folder.iterdir()] if self._folder.is_dir() else []
        damaged: dict[int, str] = {}
        for step in self._steps(names):
            reason = integrity.damage(self._folder / str(step), step)
            if reason is None:
                for bad_step, bad_reason in damaged.items():
                    self._report(bad_step, bad_reason, step)
                return step
            if not (self._folder / str(step)).exists():  # a run is training, and has newer ones
                return self._newest_whole()
            damaged[step] = reason
        if all(name.endswith(_PARTIAL) for name in names):
            return None
        reasons = '; '.join(f'{step}: {reason}' for step, reason in damaged.items())
        line = f'no whole checkpoint in {self._folder} ({reasons or "only moved ones"})'
        remedy = 'repair it, or move the folder away to start again from step 0'
        raise errors.RunError(errors.BAD_DATA, f'{line}; {remedy}')

    def _steps(self, names: Iterable[str]) -> list[int]:
        """Returns which of the names are folders of steps, newest first."""
        is_step = re.compile('0|[1-9][0-9]{0,17}').fullmatch
        steps = [int(x) for x in names if is_step(x) and (self._folder / x).is_dir()]
        return sorted(steps, reverse=True)

    def _report(self, step: int, reason: str, used: int) -> None:
        """Reports a damaged checkpoint."""
        self._warn(f'warning: {self._folder / str(step)}: {reason}; using step {used}')


class Checkpointer(Reader):
    """Saves and restores the newest checkpoints of a run whose directory this process owns."""

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        keep: int = 3,
        warn: Callable[[str], None] = plain.warn,
    ):
        """Opens a run; nothing is read or written yet.

        Args:
          run_dir: the run's directory; checkpoints go into its folder `checkpoints`.
          keep: how many of the newest checkpoints stay.
          warn: receives the one-line warnings.
        """
        if keep < 1:
            raise ValueError(f'wanted keep >= 1, got {keep}')
        super().__init__(run_dir, warn)
        self._keep = keep
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

    def _write(self, step: int, arrays: arrays_lib.Arrays, text: str) -> None:
        partial = self._folder / f'{step}{_PARTIAL}'
        _remove(partial)
        partial.mkdir(parents=True)
        arrays_lib.save(partial / _ARRAYS, arrays)
        storage.write_text(partial / _METADATA, text)
        integrity.seal(partial, step)
        os.replace(partial, self._folder / str(step))
        storage.sync(self._folder)

    def _remove_partial(self) -> bool:
        """Removes what interrupted saves left behind; returns whether there was any."""
        partial = list(self._folder.glob(f'*{_PARTIAL}'))
        for path in partial:
            try:
                _remove(path)
            except OSError as error:
                self._warn(f'warning: {path} cannot be removed: {error.strerror}')
        return bool(partial)

    def _count_failure(self, step: int, error: OSError) -> None:
        self._failures += 1
        reason = errors.first_line(error)
        message = f'checkpoint of step {step} not saved in {self._folder}: {reason}'
        if self._failures >= MAX_FAILURES:
            message += f' ({self._failures} saves in a row failed; the older ones are whole)'
            raise errors.RunError(errors.CANNOT_SAVE, message) from error
        self._warn(f'warning: {message}; training continues')

    def _prune(self) -> None:
        for step in self._steps(os.listdir(self._folder))[self._keep :]:
            old = self._folder / f'{step}{_PARTIAL}'
            with contextlib.suppress(OSError):  # tried again after the next save
                os.replace(self._folder / str(step), old)
                _remove(old)

    def _newest_whole(self) -> int | None:
        interrupted = self._remove_partial()
        step = super()._newest_whole()
        if step is None and interrupted:
            self._warn(f'the first save in {self._folder} was interrupted: starting from step 0')
        return step

    def _report(self, step: int, reason: str, used: int) -> None:
        """Reports a damaged checkpoint and moves it aside."""
        source = self._folder / str(step)
        suffixes = (f'.damaged.{i}' if i else '.damaged' for i in itertools.count())
        target = next(x for x in map(source.with_suffix, suffixes) if not os.path.lexists(x))
        try:
            os.replace(source, target)
            kept = f'kept as {target.name}'
        except OSError as error:
            kept = f'cannot be renamed ({error.strerror})'
        self._warn(f'warning: {source}: {reason}; {kept}, using step {used}')


def _remove(path: pathlib.Path) -> None:
    """Removes a folder, a file or a link, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unreadable(path: pathlib.Path, reason: str) -> errors.RunError:
    return errors.RunError(errors.BAD_DATA, f'{path} is sealed, but cannot be read: {reason}')


def _below(name: str, path: str) -> bool:
    """Returns whether a leaf stands below a path, or is what stands there."""
    return name.startswith(path) and name[len(path) :][:1] in ('', '.', '[')


def _check_fit(folder: pathlib.Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    names = [name for name in {**wanted, **saved} if saved.get(name) != wanted.get(name)]
    if names:
        first, more = names[0], f' (and {len(names) - 1} more)' if len(names) > 1 else ''
        got, want = errors.shorten(saved.get(first, 'nothing')), wanted.get(first, 'nothing')
        where = f'state{errors.shorten(first)}'
        message = f'{folder} does not fit: {where}: wanted {want}, got {got}{more}'
        raise errors.RunError(errors.MISMATCH, message)
