"""The runs of a sweep, each a process of its own, some of them at a time.

A run's directory is `SWEEP/NAME`, and what it prints goes to `output.log` there. A run that was
stopped is resumed, for that is what the programs do when their command is repeated.
"""

import collections
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from launch.runs import errors, signals
from launch.sweeps import grid as grid_lib
from launch.sweeps import results

LOG = 'output.log'
_PAUSE = 0.1  # seconds between two checks of the processes
_GPU_SHARE = 0.9  # of a GPU's memory, for all processes together
_MEMORY_LIMITS = {'XLA_CLIENT_MEM_FRACTION', 'XLA_PYTHON_CLIENT_MEM_FRACTION'}


class Failure(NamedTuple):
    """How a run ended that did not end well."""

    name: str
    code: int  # one of `errors`
    reason: str


class _Child(NamedTuple):
    configuration: grid_lib.Configuration
    process: subprocess.Popen[bytes]
    log_start: int  # bytes that the log had before


def run(folder: pathlib.Path, grid: grid_lib.Grid, num_processes: int) -> list[Failure]:
    """Runs the configurations that are not done, and prints a line when one starts or ends.

    A signal is passed on to the processes, and they are waited for.

    Args:
      folder: the sweep's directory, owned by the caller.
      grid: what to run.
      num_processes: how many at a time.

    Returns:
      The runs that failed; the others are done.

    Raises:
      RunError: after a signal, when all processes have ended, or a directory cannot be written.
    """
    runs = _Runs(folder, grid, num_processes)
    print(f'{runs.describe()}; each prints into {folder}/CONFIGURATION/{LOG}', flush=True)
    with signals.deferred():
        try:
            while runs.children or (runs.waiting and not signals.received()):
                if signals.received():
                    runs.stop()
                else:
                    runs.start()
                time.sleep(_PAUSE)
                runs.collect()
        finally:
            runs.stop()  # those that an error leaves behind
            for child in runs.children:
                child.process.wait()
        if signals.received() and runs.waiting:
            message = f'stopped by {signals.received()}, {runs.describe()}'
            message += '; run the same command again to resume'
            raise errors.RunError(errors.INTERRUPTED, message)
    return runs.failures


class _Runs:
    """The processes of a sweep, and what is left to do."""

    def __init__(self, folder: pathlib.Path, grid: grid_lib.Grid, num_processes: int):
        self._folder, self._grid, self._num_processes = folder, grid, num_processes
        self._stopped = False
        self.waiting = collections.deque(
            each for each in grid.configurations if not results.is_done(folder, grid, each)
        )
        self.children: list[_Child] = []
        self.failures: list[Failure] = []
        self._num_done = len(grid.configurations) - len(self.waiting)

    def describe(self) -> str:
        """Returns how many configurations are in which state."""
        counts = {
            'done': self._num_done,
            'failed': len(self.failures),
            'running': len(self.children),
            'waiting': len(self.waiting),
        }
        states = ', '.join(f'{count} {state}' for state, count in counts.items() if count)
        return f'{len(self._grid.configurations)} configurations: {states}'

    def start(self) -> None:
        """Starts as many configurations as there is room for."""
        while self.waiting and len(self.children) < self._num_processes:
            configuration = self.waiting.popleft()
            run_dir = self._folder / grid_lib.name(configuration)
            try:
                run_dir.mkdir(parents=True, exist_ok=True)
                self.children.append(self._launch(configuration, run_dir))
            except OSError as error:
                message = f'{run_dir}: cannot be used: {error.strerror}'
                raise errors.RunError(errors.CANNOT_SAVE, message) from error
            print(f'started   {run_dir.name}', flush=True)

    def _launch(self, configuration: grid_lib.Configuration, run_dir: pathlib.Path) -> _Child:
        program = [sys.executable, '-m', f'{grid_lib.PACKAGE}.{self._grid.program}']
        with open(run_dir / LOG, 'ab') as log:
            process = subprocess.Popen(
                [*program, *grid_lib.command(self._grid, configuration), f'--run_dir={run_dir}'],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(self._num_processes),
                start_new_session=True,  # a terminal's Ctrl-C shall reach it once, through us
            )
            return _Child(configuration, process, log.tell())

    def stop(self) -> None:
        """Asks the processes that run to save and end, once."""
        for child in [] if self._stopped else self.children:
            child.process.send_signal(signal.SIGTERM)
        self._stopped = True

    def collect(self) -> None:
        """Takes note of the processes that have ended."""
        for child in [child for child in self.children if child.process.poll() is not None]:
            self.children.remove(child)
            line = self._note(child)
            print(f'{line}  [{self.describe()}]', flush=True)

    def _note(self, child: _Child) -> str:
        """Takes note of a process that has ended, and returns a line about it."""
        name, code = grid_lib.name(child.configuration), child.process.returncode
        if not code:
            results.mark_done(self._folder, self._grid, child.configuration)
            self._num_done += 1
            result = results.read(self._folder, self._grid, child.configuration)
            return f'finished  {name}: {results.describe(result)}'
        if self._stopped and code in (errors.INTERRUPTED, -signal.SIGTERM):
            self.waiting.append(child.configuration)
            return f'stopped   {name}'
        reason = _reason(self._folder / name / LOG, child.log_start, code)
        self.failures.append(Failure(name, code if code > 0 else errors.INTERNAL, reason))
        return f'failed    {name}: {reason}'


def _environment(num_processes: int) -> dict[str, str]:
    """Returns the environment of a run, which has its share of a GPU's memory, and no buffers.

    JAX takes most of a GPU's memory unless it is told not to; without buffers the last line of a
    log is what a run printed last.
    """
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    if num_processes > 1 and not environment.keys() & _MEMORY_LIMITS:
        environment['XLA_CLIENT_MEM_FRACTION'] = f'{_GPU_SHARE / num_processes:.3f}'
    return environment


def _reason(log: pathlib.Path, start: int, code: int) -> str:
    """Returns why a run ended: the signal that killed it, or the last line it wrote."""
    if code < 0:
        return f'killed by {signal.Signals(-code).name}'
    text = log.read_bytes()[start:].decode('utf-8', errors='replace')
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f'{lines[-1] if lines else "it printed nothing"} (exit {code})'
