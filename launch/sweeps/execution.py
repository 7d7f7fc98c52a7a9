"""The runs of a sweep, each a process of its own, some of them at a time.

A run's directory is `SWEEP/NAME`, and what it prints goes to `output.log` there. A run that was
stopped goes on where it was, for so do the programs when their command is repeated.
"""

import collections
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import BinaryIO, NamedTuple

from launch.runs import errors, signals
from launch.sweeps import grid as grid_lib
from launch.sweeps import results

LOG = 'output.log'
_PAUSE = 0.1  # seconds between looks at the processes
_GPU_SHARE = 0.9  # of a GPU's memory, for all processes together
_MEMORY_LIMITS = {'XLA_CLIENT_MEM_FRACTION', 'XLA_PYTHON_CLIENT_MEM_FRACTION'}


class Failure(NamedTuple):
    """How a run ended that did not end well."""

    name: str
    code: int  # one of `errors`
    reason: str


class _Child(NamedTuple):
    point: grid_lib.Point
    process: subprocess.Popen[bytes]
    log_start: int  # bytes that the log had before


def run(
    folder: pathlib.Path,
    grid: grid_lib.Grid,
    num_processes: int,
) -> list[Failure]:
    """Runs all points that are not done, and prints a line when one starts or ends.

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
    print(f'{runs.describe()}; each prints into {folder}/POINT/{LOG}', flush=True)
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
            runs.stop()  # those that an error here leaves behind
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
        self._folder = folder
        self._grid = grid
        self._num_processes = num_processes
        self._stopped = False
        self.waiting = collections.deque(
            point for point in grid.ordered() if not results.is_done(folder, grid, point)
        )
        self.children: list[_Child] = []
        self.failures: list[Failure] = []
        self._num_done = len(grid.points) - len(self.waiting)

    def describe(self) -> str:
        """Returns how many points are in which state."""
        counts = {
            'done': self._num_done,
            'failed': len(self.failures),
            'running': len(self.children),
            'waiting': len(self.waiting),
        }
        left = ', '.join(f'{count} {state}' for state, count in counts.items() if count)
        return f'{len(self._grid.points)} points: {left}'

    def start(self) -> None:
        """Starts as many points as there is room for."""
        while self.waiting and len(self.children) < self._num_processes:
            point = self.waiting.popleft()
            run_dir = self._folder / self._grid.name(point)
            try:
                run_dir.mkdir(parents=True, exist_ok=True)
                with open(run_dir / LOG, 'ab') as log:
                    process = self._launch(point, run_dir, log)
                    self.children.append(_Child(point, process, log.tell()))
            except OSError as error:
                message = f'{run_dir}: cannot be used: {error.strerror}'
                raise errors.RunError(errors.CANNOT_SAVE, message) from error
            print(f'started   {self._grid.name(point)}', flush=True)

    def _launch(
        self, point: grid_lib.Point, run_dir: pathlib.Path, log: BinaryIO
    ) -> subprocess.Popen[bytes]:
        grid = self._grid
        program = [sys.executable, '-m', f'{grid_lib.PACKAGE}.{grid.program}']
        return subprocess.Popen(
            [*program, *grid_lib.command(grid, point), f'--run_dir={run_dir}'],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(self._num_processes),
            start_new_session=True,  # a terminal's Ctrl-C shall reach it once, through us
        )

    def stop(self) -> None:
        """Asks the processes that run to save and end, once."""
        for child in [] if self._stopped else self.children:
            child.process.send_signal(signal.SIGTERM)
        self._stopped = True

    def collect(self) -> None:
        """Takes note of the processes that have ended."""
        for child in [child for child in self.children if child.process.poll() is not None]:
            self.children.remove(child)
            self._collect_one(child)

    def _collect_one(self, child: _Child) -> None:
        name = self._grid.name(child.point)
        code = child.process.returncode
        if not code:
            results.mark_done(self._folder, self._grid, child.point)
            self._num_done += 1
            result = results.read_point(self._folder, self._grid, child.point)
            line = f'finished  {name}: {results.describe(result)}'
        elif self._stopped and code in (errors.INTERRUPTED, -signal.SIGTERM):
            self.waiting.append(child.point)
            line = f'stopped   {name}'
        else:
            reason = _reason(self._folder / name / LOG, child.log_start, code)
            self.failures.append(Failure(name, code if code > 0 else errors.INTERNAL, reason))
            line = f'failed    {name}: {reason}'
        print(f'{line}  [{self.describe()}]', flush=True)


def _environment(num_processes: int) -> dict[str, str]:
    """Returns the environment of a run: JAX takes most of a GPU's memory unless it is told not to.

    Without buffers, what a run says last stands last in its log.
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
    return f'{lines[-1] if lines else "no word why"} (exit {code})'
