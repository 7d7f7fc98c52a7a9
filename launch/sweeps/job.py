"""What a job of `launch.sweep --executor=slurm` does: it starts one run, and is requeued for it.

  python -m launch.sweeps.job FOLDER FOLDER ...    the runs of an array of jobs

Slurm sends SIGUSR1, to this process alone, before the job's time is up, and SIGTERM when a job is
cancelled or preempted: to all processes of the job, but where preempted jobs have a grace time
first to those that `srun` started. Therefore the run is started by `srun`. It saves and exits with
75, and the job is requeued, unless SIGTERM came here too; then Slurm itself requeues the job, or it
was cancelled. The run resumes when its job starts again.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time
import types

from launch.runs import directory, errors, starting
from launch.sweeps import execution, results, slurm
from launch.sweeps import grid as grid_lib

_PAUSE = 0.2  # seconds between two checks of the run
_TOGETHER = 1  # second in which all processes of a job get a signal


def main(folder: pathlib.Path) -> int:
    """Executes a run, and returns its exit code.

    Args:
      folder: the run's directory, with its `job.json`.
    """
    received: list[int] = []

    def receive(number: int, frame: types.FrameType | None) -> None:
        del frame
        received.append(number)

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, receive)
    order = directory.read_json(folder / slurm.FILE)
    run = grid_lib.Run(folder.name, {}, order['flags'], folder)
    log = run.folder / execution.LOG
    log_start = log.stat().st_size if log.exists() else 0
    code = _wait(_launch(order['module'], run), received)
    if not code:
        results.mark_done(run)
        return 0
    if code == errors.INTERRUPTED:
        time.sleep(_TOGETHER)
    if signal.SIGTERM in received or (code == errors.INTERRUPTED and _requeue()):
        return code
    # srun adds 128 to the number of the signal that killed the run
    reason = execution.why_ended(log, log_start, 128 - code if code > 128 else code)
    _fail(run, errors.INTERNAL if code > 128 else code, reason)
    return code


def _launch(module: str, run: grid_lib.Run) -> subprocess.Popen[bytes]:
    environment = execution.run_environment(1)
    if cores := os.environ.get('SLURM_CPUS_PER_TASK'):  # srun does not take it over since 22.05
        environment['SRUN_CPUS_PER_TASK'] = cores
    log = str(run.folder / execution.LOG).replace('%', '%%')
    srun = ['srun', f'--output={log}', '--open-mode=append']
    return subprocess.Popen(
        [*srun, sys.executable, '-m', module, *run.words], stdin=subprocess.PIPE, env=environment
    )


def _wait(process: subprocess.Popen[bytes], received: list[int]) -> int:
    """Returns the exit code of a run, which is asked to save and end after SIGUSR1."""
    while process.poll() is None:
        if signal.SIGUSR1 in received and process.stdin and not process.stdin.closed:
            process.stdin.close()  # its lifeline
        time.sleep(_PAUSE)
    return process.returncode


def _requeue() -> bool:
    """Has this job started again later; returns whether Slurm agrees. Slurm then ends the job."""
    command = ['scontrol', 'requeue', os.environ['SLURM_JOB_ID']]
    return not subprocess.run(command, check=False).returncode


def _fail(run: grid_lib.Run, code: int, reason: str) -> None:
    """Notes how the run ended, for the sweep."""
    number, index = os.environ['SLURM_ARRAY_JOB_ID'], os.environ['SLURM_ARRAY_TASK_ID']
    values = {'job': f'{number}_{index}', 'code': code, 'reason': reason}
    directory.write_json(run.folder / slurm.FAILED, values)


if __name__ == '__main__':
    starting.prepare('sweeps.job')
    FOLDERS = sys.argv[1:]
    errors.leave(main(pathlib.Path(FOLDERS[int(os.environ['SLURM_ARRAY_TASK_ID'])])))
