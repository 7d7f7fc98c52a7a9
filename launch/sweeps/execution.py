"""The runs of a sweep, each a process of its own, some of them at a time.

What a run prints goes to `output.log` in its directory. A run that was stopped is resumed, for that
is what the programs do when their command is repeated. Runs end in order when the sweep is killed;
one that still does so, or that another program owns, is waited for.
"""

from collections.abc import Mapping
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from launch.runs import directory, errors, signals, starting
from launch.sweeps import grid as grid_lib
from launch.sweeps import results

LOG = 'output.log'
_PAUSE = 0.1  # seconds between two checks of the processes
_GPU_SHARE = 0.9  # of a GPU's memory, for all processes together
_MEMORY_LIMITS = {'XLA_CLIENT_MEM_FRACTION', 'XLA_PYTHON_CLIENT_MEM_FRACTION'}


class Failure(NamedTuple):
    """How a run ended that did not end well."""

    run: grid_lib.Run
    code: int  # one of `errors`
    reason: str


class _Child(NamedTuple):
    run: grid_lib.Run
    process: subprocess.Popen[bytes]
    log_start: int  # bytes that the log had before


def execute(program: str, runs: list[grid_lib.Run], num_processes: int) -> list[Failure]:
    """Executes the runs that are not done, and prints a line when one starts or ends.

    A signal is passed on to the processes, and they are waited for.

    Args:
      program: the module's name in `launch`.
      runs: all of a sweep, whose directory the caller owns.
      num_processes: how many at a time.

    Returns:
      The runs that failed; the others are done.

    Raises:
      RunError: after a signal, when all processes have ended, or a directory cannot be written.
    """
    state = _State(program, runs, num_processes)
    logs = runs[0].folder.parent / 'CONFIGURATION' / LOG
    print(f'{state.describe()}; each prints into {logs}', flush=True)
    with signals.deferred():
        try:
            while state.children or (state.waiting and not signals.received()):
                if signals.received():
                    state.stop()
                else:
                    state.start()
                time.sleep(_PAUSE)
                state.collect()
        finally:
            state.stop()  # those that an error leaves behind
            for child in state.children:
                child.process.communicate()
        if signals.received() and state.waiting:
            message = f'stopped by {signals.received()}, {state.describe()}'
            message += '; run the same command again to resume'
            raise errors.RunError(errors.INTERRUPTED, message)
    return state.failures


def describe_states(num_runs: int, counts: Mapping[str, int]) -> str:
    """Returns how many configurations are in which state.

    Args:
      num_runs: configurations in all.
      counts: those that are not done, by their state.
    """
    counts = {'done': num_runs - sum(counts.values()), **counts}
    states = ', '.join(f'{count} {state}' for state, count in counts.items() if count)
    return f'{num_runs} configurations: {states}'


class _State:
    """The processes of a sweep, and what is left to do."""

    def __init__(self, program: str, runs: list[grid_lib.Run], num_processes: int):
        self._program, self._num_runs, self._num_processes = program, len(runs), num_processes
        self._stopped = False
        self._reported: list[grid_lib.Run] = []  # as owned by another process
        self.waiting = [run for run in runs if not results.is_done(run)]
        self.children: list[_Child] = []
        self.failures: list[Failure] = []

    def describe(self) -> str:
        """Returns how many configurations are in which state."""
        counts = {
            'failed': len(self.failures),
            'running': len(self.children),
            'waiting': len(self.waiting),
        }
        return describe_states(self._num_runs, counts)

    def start(self) -> None:
        """Starts as many runs as there is room for, of those whose directories are free."""
        for run in list(self.waiting):
            if len(self.children) == self._num_processes:
                return
            if not self._is_free(run):
                continue
            self.waiting.remove(run)
            try:
                self.children.append(self._launch(run))
            except OSError as error:
                message = f'{run.folder}: cannot be used: {error.strerror}'
                raise errors.RunError(errors.CANNOT_SAVE, message) from error
            print(f'started   {run.name}', flush=True)

    def _is_free(self, run: grid_lib.Run) -> bool:
        """Returns whether no other process owns a run, and prints once if one does."""
        try:
            with directory.owned(run.folder):
                return True
        except errors.RunError as error:
            if error.code != errors.IN_USE:
                raise
            if run not in self._reported:
                self._reported.append(run)
                print(f'waits     {run.name}: {error}', flush=True)
            return False

    def _launch(self, run: grid_lib.Run) -> _Child:
        run.folder.mkdir(parents=True, exist_ok=True)
        with open(run.folder / LOG, 'ab') as log:
            process = subprocess.Popen(
                [sys.executable, '-m', f'{grid_lib.PACKAGE}.{self._program}', *run.words],
                stdin=subprocess.PIPE,  # is closed when this process ends, however it does
                stdout=log,
                stderr=subprocess.STDOUT,
                env=run_environment(self._num_processes),
                start_new_session=True,  # a terminal's Ctrl-C shall reach it once, through us
            )
            return _Child(run, process, log.tell())

    def stop(self) -> None:
        """Asks the processes that run to save and end, once."""
        for child in [] if self._stopped else self.children:
            child.process.send_signal(signal.SIGTERM)
        self._stopped = True

    def collect(self) -> None:
        """Takes note of the processes that have ended."""
        for child in [child for child in self.children if child.process.poll() is not None]:
            self.children.remove(child)
            child.process.communicate()  # closes its input
            line = self._note(child.run, child.process.returncode, child.log_start)
            print(f'{line}  [{self.describe()}]', flush=True)

    def _note(self, run: grid_lib.Run, code: int, log_start: int) -> str:
        """Takes note of a run that has ended, and returns a line about it."""
        if not code:
            results.mark_done(run)
            return f'finished  {run.name}: {results.describe(results.read(run))}'
        if self._stopped and code in (errors.INTERRUPTED, -signal.SIGTERM):
            self.waiting.append(run)
            return f'stopped   {run.name}'
        reason = why_ended(run.folder / LOG, log_start, code)
        self.failures.append(Failure(run, code if code > 0 else errors.INTERNAL, reason))
        return f'failed    {run.name}: {reason}'


def run_environment(num_processes: int) -> dict[str, str]:
    """Returns the environment of a run, which has its share of a GPU's memory, and no buffers.

    JAX takes most of a GPU's memory unless it is told not to; without buffers the last line of a
    log is what a run printed last.
    """
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1', starting.LIFELINE: '1'}
    if num_processes > 1 and not environment.keys() & _MEMORY_LIMITS:
        environment['XLA_CLIENT_MEM_FRACTION'] = f'{_GPU_SHARE / num_processes:.3f}'
    return environment


def why_ended(log: pathlib.Path, start: int, code: int) -> str:
    """Returns why a run ended: the signal that killed it, or the last line it wrote."""
    if code < 0:
        return f'killed by {signal.Signals(-code).name}'
    text = log.read_bytes()[start:].decode('utf-8', errors='replace')
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f'{lines[-1] if lines else "it printed nothing"} (exit {code})'
