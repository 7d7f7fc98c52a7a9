"""The runs of a sweep as jobs of Slurm: one array of jobs, a job for each run.

`sbatch` takes the whole array, and Slurm starts the jobs when it can, whether the sweep still runs
or not. A run's `job.json` has the number of its job, so that the same command watches the jobs that
are there and submits the others only. What a job does is in `launch/sweeps/job.py`.

Slurm's own commands are used, not submitit (1.5.4 was tried). That pickles a function for each job
where here are a command and JSON; it requeues what gets its signal, but not what gets SIGTERM; and
it reads how jobs end from `sacct`, which a cluster without accounting does not have: there a job
that was killed stays UNKNOWN. Neither does its executor for one machine replace
`launch/sweeps/execution.py`: processes outlive a sweep that is killed, and nothing limits how many
run at a time.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from typing import ClassVar, Literal, NamedTuple

from launch.runs import directory, errors, flags, signals
from launch.sweeps import execution, results
from launch.sweeps import grid as grid_lib

FILE = 'job.json'  # of a run: its job, its program and its flags
FAILED = 'failed.json'  # of a run: how its job ended, if it did not end well
LOGS = 'jobs'  # folder of the sweep for what the jobs print, but for their runs
WARNING = 120  # seconds before the end of its time that a job is asked to save
_LEAST_MINUTES = 5  # Slurm may warn a minute early
_PAUSE = 10  # seconds between two questions to Slurm, which has other users
_SETTLE = 30  # seconds until files of other machines are visible here
_SET_HERE = ('array', 'job-name', 'output', 'open-mode', 'requeue', 'no-requeue', 'signal', 'wrap')
_UNREACHABLE = 'unable to contact', 'timed out', 'connection refused'


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that say where the runs of a sweep are executed."""

    GROUPS: ClassVar = {'cluster': '*'}

    executor: Literal['local', 'slurm'] = flags.flag(
        'local', 'where the runs are: processes here, or jobs of Slurm', 'free'
    )
    slurm_partition: str | None = flags.flag(None, "default: the cluster's", 'free')
    slurm_minutes: int | None = flags.flag(
        None, 'time limit of a job; then it is saved and requeued', 'free', _LEAST_MINUTES
    )
    slurm_gpus: int | None = flags.flag(None, 'GPUs of a run, on each node', 'free', 1)
    slurm_cpus: int | None = flags.flag(None, 'cores of a run, for each task', 'free', 1)
    slurm_memory: int | None = flags.flag(None, 'GB of a run, on each node', 'free', 1)
    slurm_options: str | None = flags.flag(
        None, 'other options of sbatch, NAME=VALUE,NAME=VALUE', 'free'
    )

    def __post_init__(self) -> None:
        """Raises a ValueError if a flag does not fit the executor."""
        flags.check(self)
        if self.executor == 'local':
            for field in dataclasses.fields(Config):
                if field.name != 'executor' and getattr(self, field.name) is not None:
                    raise ValueError(f'--{field.name}: wanted --executor=slurm with it')
            return
        sbatch_options(self)


def check_is_here() -> None:
    """Raises a RunError if this machine has no Slurm."""
    if absent := [each for each in ('sbatch', 'squeue') if not shutil.which(each)]:
        wanted = 'wanted the commands of Slurm on PATH'
        got = ' and no '.join(absent)
        raise errors.RunError(errors.USAGE, f'--executor=slurm: {wanted}, got no {got}')


def sbatch_options(config: Config) -> list[str]:
    """Returns the flags as options of sbatch.

    Raises:
      ValueError: an option has no name, or one that the sweep sets itself.
    """
    words = {
        'partition': config.slurm_partition,
        'time': config.slurm_minutes,
        'gpus-per-node': config.slurm_gpus,
        'cpus-per-task': config.slurm_cpus,
        'mem': f'{config.slurm_memory}G' if config.slurm_memory else None,
    }
    options = [f'--{name}={value}' for name, value in words.items() if value is not None]
    for pair in config.slurm_options.split(',') if config.slurm_options else []:
        name = pair.partition('=')[0]
        if not re.fullmatch('[a-z][a-z0-9-]+', name):
            raise ValueError(f'--slurm_options: wanted NAME=VALUE,NAME=VALUE, got {pair!r}')
        if name in _SET_HERE:
            raise ValueError(f'--slurm_options: the sweep sets {name} itself')
        options.append(f'--{pair}')
    return options


class _Job(NamedTuple):
    """What Slurm says about a job."""

    state: str  # PENDING, RUNNING, ..., or HELD: it waits until somebody releases it
    name: str


def execute(
    program: str, runs: list[grid_lib.Run], num_processes: int | None, options: Sequence[str]
) -> list[execution.Failure]:
    """Submits the runs that are neither done nor submitted, and watches all until their jobs end.

    Args:
      program: the module's name in `launch`.
      runs: all of a sweep, whose directory the caller owns.
      num_processes: jobs of a submission that run at a time; None for no limit.
      options: of sbatch.

    Returns:
      The runs that failed; the others are done.

    Raises:
      RunError: Slurm refuses the jobs, a job has other flags than its run has now, or a signal
        came, after which the jobs go on.
    """
    jobs, waiting = _find(runs)
    if waiting:
        with signals.deferred():  # or a job would be submitted and not known
            jobs |= _submit(program, waiting, num_processes, options)
    watch = _Watch(runs, jobs)
    try:
        while watch.jobs:
            watch.look()
            if watch.jobs:
                time.sleep(_PAUSE)
    except signals.Interrupted as error:
        ids = ' '.join(sorted({job.partition('_')[0] for job in watch.jobs}))
        message = f'stopped by {error.signal}, {watch.describe()}; the jobs go on, the same command'
        message += f' watches them again, and scancel {ids} ends them'
        raise errors.RunError(errors.INTERRUPTED, message) from error
    return watch.failures


def _find(runs: list[grid_lib.Run]) -> tuple[dict[str, grid_lib.Run], list[grid_lib.Run]]:
    """Returns the runs that have jobs, by these, and those that need one."""
    queue = _queue()
    known = {directory.read_json(run.folder / FILE).get('job'): run for run in runs}
    lost = [job for job in queue if job not in known and queue[job].name == _name(runs)]
    if lost:  # the sweep was killed between sbatch and the writing of its answer
        message = f'job {", ".join(lost)} is of this sweep, and of no run that is known'
        raise errors.RunError(errors.IN_USE, f'{message}; wait for it or scancel it')
    jobs = {job: run for job, run in known.items() if job in queue}
    for job, run in jobs.items():
        if directory.read_json(run.folder / FILE).get('flags') != run.flags:
            message = f'{run.name}: job {job} has other flags'
            raise errors.RunError(errors.IN_USE, f'{message}; wait for it or scancel it')
    busy = {run.name for run in jobs.values()}
    return jobs, [run for run in runs if run.name not in busy and not results.is_done(run)]


def _submit(
    program: str, runs: list[grid_lib.Run], num_processes: int | None, options: Sequence[str]
) -> dict[str, grid_lib.Run]:
    """Submits runs, notes their jobs and returns the runs by them."""
    folder = runs[0].folder.parent.absolute()
    (folder / LOGS).mkdir(exist_ok=True)
    module = f'{grid_lib.PACKAGE}.{program}'
    orders = [{'module': module, 'flags': run.flags} for run in runs]
    for run, order in zip(runs, orders, strict=True):
        run.folder.mkdir(exist_ok=True)
        directory.write_json(run.folder / FILE, order)  # a job may start before its number is here
    words = [sys.executable, '-m', 'launch.sweeps.job', *(str(run.folder) for run in runs)]
    limit = f'%{num_processes}' if num_processes else ''
    number = _sbatch(
        [
            f'--array=0-{len(runs) - 1}{limit}',
            f'--job-name={_name(runs)}',
            f'--output={str(folder / LOGS).replace("%", "%%")}/%A_%a.log',
            '--open-mode=append',
            '--requeue',
            f'--signal=B:USR1@{WARNING}',
            *options,
        ],
        f'#!/bin/sh\nexec {shlex.join(words)}\n',
    )
    print(f'submitted {len(runs)} configurations as job {number}', flush=True)
    jobs = {f'{number}_{index}': run for index, run in enumerate(runs)}
    for (job, run), order in zip(jobs.items(), orders, strict=True):
        directory.write_json(run.folder / FILE, {'job': job, **order})
    return jobs


def _name(runs: list[grid_lib.Run]) -> str:
    """Returns what the jobs of a sweep are called, and no others."""
    folder = runs[0].folder.parent.resolve()
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return f'{re.sub("[^A-Za-z0-9_.-]", "_", folder.name)[:40]}-{digest}'


def _sbatch(options: list[str], script: str) -> str:
    """Submits a script and returns its job's number."""
    command = ['sbatch', '--parsable', *options]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    if not done.returncode:
        return done.stdout.strip().partition(';')[0]  # a cluster's name may follow
    reasons = [line.removeprefix('sbatch: error: ') for line in done.stderr.splitlines()]
    away = any(word in done.stderr.lower() for word in _UNREACHABLE)
    code = errors.INTERRUPTED if away else errors.USAGE
    message = f'--executor=slurm: sbatch does not take the jobs: {" ".join(reasons)}'
    raise errors.RunError(code, errors.shorten(message, 500))


def _queue() -> dict[str, _Job]:
    """Returns the jobs of this user that have not ended.

    Raises:
      RunError: Slurm does not answer.
    """
    columns = '%i|%T|%r|%j'  # number, state, why it waits, name
    command = ['squeue', f'--user={os.getuid()}', '--noheader', '--array', f'--format={columns}']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = errors.shorten(done.stderr or 'it gives no reason')
        raise errors.RunError(errors.INTERRUPTED, f'squeue does not answer: {reason}')
    jobs = {}
    for line in done.stdout.splitlines():
        job, state, reason, name = line.split('|', 3)
        is_held = state == 'PENDING' and 'held' in reason.lower()  # also after a failed launch
        jobs[job] = _Job('HELD' if is_held else state, name)
    return jobs


class _Watch:
    """The jobs of a sweep that have not ended, and how others ended."""

    def __init__(self, runs: list[grid_lib.Run], jobs: dict[str, grid_lib.Run]):
        self._num_runs = len(runs)
        self._states = dict.fromkeys(jobs, 'PENDING')  # as printed last
        self._missed: dict[str, float] = {}  # when a job was gone and had left no word
        self.jobs = jobs
        self.failures: list[execution.Failure] = []
        logs = runs[0].folder.parent / 'CONFIGURATION' / execution.LOG
        print(f'{self.describe()}; each prints into {logs}', flush=True)

    def describe(self) -> str:
        """Returns how many configurations are in which state."""
        counts = {'failed': len(self.failures)}
        for state in self._states.values():
            counts[state.lower()] = counts.get(state.lower(), 0) + 1
        return execution.describe_states(self._num_runs, counts)

    def look(self) -> None:
        """Asks Slurm once, and prints a line for each job that has begun, ended or stopped."""
        try:
            queue = _queue()
        except errors.RunError as error:  # its controller may be started again
            print(f'warning: {error}; asks again', file=sys.stderr, flush=True)
            return
        for job, run in list(self.jobs.items()):
            if job not in queue:
                self._collect(job, run)
            elif (state := queue[job].state) not in (self._states[job], 'COMPLETING'):
                self._states[job] = state
                hint = f'; scontrol release {job} starts it' if state == 'HELD' else ''
                print(f'{state.lower():9} {run.name}: job {job}{hint}', flush=True)

    def _collect(self, job: str, run: grid_lib.Run) -> None:
        """Takes note of a job that has ended, when what it left can be seen."""
        failed = directory.read_json(run.folder / FAILED)
        if results.is_done(run):
            line = f'finished  {run.name}: {results.describe(results.read(run))}'
        elif failed.get('job') == job:
            self._fail(run, failed['code'], failed['reason'])
            line = f'failed    {run.name}: {failed["reason"]}'
        elif time.monotonic() - self._missed.setdefault(job, time.monotonic()) < _SETTLE:
            return
        else:
            reason = f'job {job} ended: {_why_ended(run.folder.parent / LOGS / f"{job}.log")}'
            self._fail(run, errors.INTERRUPTED, reason)
            line = f'failed    {run.name}: {reason}'
        del self.jobs[job], self._states[job]
        print(f'{line}  [{self.describe()}]', flush=True)

    def _fail(self, run: grid_lib.Run, code: int, reason: str) -> None:
        self.failures.append(execution.Failure(run, code, reason))


def _why_ended(log: pathlib.Path) -> str:
    """Returns what Slurm wrote about a job that it ended, or where to look."""
    with contextlib.suppress(OSError, IndexError):
        lines = log.read_text('utf-8', 'replace').splitlines()
        return [line for line in lines if '*** JOB' in line][-1].partition('*** ')[2].strip(' *')
    return f'see {log}'
