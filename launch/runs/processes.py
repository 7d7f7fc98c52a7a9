"""One program as several processes on several machines.

Every process runs the same command. `join` connects them by `jax.distributed`: with the flags
`--coordinator_address`, `--num_processes` and `--process_id`, or, without flags, by what Slurm,
Open MPI, Kubernetes or a TPU pod tell each process. Process 0 prints, owns the run's directory and
sends the others what it reads there, so they need not see its disk; theirs is a folder that is
deleted at the end. A process that dies ends the others, and all of them started again resume.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import glob
import importlib.util
import os
import sys
import tempfile
from typing import NoReturn

import jax

from launch.runs import errors
from launch.runs import flags as flags_lib

CONNECT_SECONDS = 300  # that a process waits for the others at the start
# Words of the errors that XLA raises in a collective operation whose other end is gone.
_LOST = ('gloo', 'nccl', 'coordination', 'connection', 'socket', 'unavailable', 'collective')


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of a program that may run as several processes."""

    coordinator_address: str | None = flags_lib.flag(
        None, 'HOST:PORT of process 0; default: as the cluster tells', 'free'
    )
    num_processes: int | None = flags_lib.flag(
        None, 'processes of the run; default: as the cluster tells, else 1', 'free', minimum=1
    )
    process_id: int | None = flags_lib.flag(
        None, 'which of them this is, from 0', 'free', minimum=0
    )

    def __post_init__(self) -> None:
        """Raises a ValueError unless all three flags are given or none."""
        count = self.num_processes or 1
        several = count > 1
        flags = {'coordinator_address': self.coordinator_address, 'process_id': self.process_id}
        for name, value in flags.items():
            if several and value is None:
                raise ValueError(f'--num_processes={self.num_processes}: wanted --{name} too')
            if not several and value is not None:
                raise ValueError(f'--{name}: wanted --num_processes of at least 2 beside it')
        if (self.process_id or 0) >= count:
            raise ValueError(
                f'--process_id: wanted less than --num_processes={self.num_processes}, '
                f'got {self.process_id}'
            )
        host, colon, port = (self.coordinator_address or 'host:1').rpartition(':')
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            got = repr(self.coordinator_address)
            raise ValueError(f'--coordinator_address: wanted HOST:PORT, got {got}')


def check_reader(mode: str, run_dir: str | None, num_processes: int | None) -> None:
    """Raises a ValueError unless a mode that reads a trained run has its directory and is alone."""
    if run_dir is None:
        raise ValueError(f'--mode={mode}: wanted --run_dir=DIR of a trained run, got none')
    if (num_processes or 1) > 1:
        raise ValueError(f'--mode={mode}: wanted one process, got {num_processes}')


@contextlib.contextmanager
def join(config: Config, run_dir: str) -> Iterator[str]:
    """Connects this process with the others while its `with` block lasts.

    Args:
      config: the flags.
      run_dir: the run's directory.

    Yields:
      The directory that this process owns: the run's for process 0, for others one of their own.

    Raises:
      RunError: the others cannot be reached, or one of them ended.
    """
    if not _is_one_of_several(config):
        yield run_dir
        return
    _connect(config)
    with contextlib.ExitStack() as stack:
        if jax.process_index():
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(_nowhere())))
            run_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix='process-'))
        print(f'{jax.process_count()} processes, {jax.device_count()} devices', flush=True)
        try:
            yield run_dir
        except Exception as error:
            if isinstance(error, errors.RunError) or not _is_lost(error):
                raise
            message = f'another process of this run ended ({str(error).splitlines()[0]})'
            remedy = 'start all of them again to go on from the newest checkpoint'
            raise errors.RunError(errors.INTERRUPTED, f'{message}; {remedy}') from error


def leave(code: int) -> NoReturn:
    """Ends the program; after an error without waiting for processes that may be gone.

    Args:
      code: the exit code.
    """
    if code and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def detect() -> str | None:
    """Names the cluster that started this process as one of several, None if none did."""
    environment = os.environ
    if int(environment.get('SLURM_STEP_NUM_TASKS', 1)) > 1:
        return 'Slurm'
    if int(environment.get('OMPI_COMM_WORLD_SIZE', 1)) > 1:
        return 'Open MPI'
    if {'KUBERNETES_SERVICE_HOST', 'JOB_COMPLETION_INDEX'} <= environment.keys():
        return 'Kubernetes'
    chips = glob.glob('/dev/accel[0-9]*') + glob.glob('/dev/vfio/[0-9]*')
    if chips and importlib.util.find_spec('libtpu'):
        return 'TPU'
    return None


def _is_one_of_several(config: Config) -> bool:
    if config.num_processes is not None:
        return config.num_processes > 1
    return detect() is not None


def _connect(config: Config) -> None:
    jax.config.update('jax_enable_preemption_service', False)  # it would catch our signals
    try:
        jax.distributed.initialize(
            config.coordinator_address,
            config.num_processes,
            config.process_id,
            initialization_timeout=CONNECT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        where = config.coordinator_address or f'the processes that {detect()} started'
        reason = str(error).splitlines()[0]
        message = f'cannot connect with {where}: {reason}; --num_processes=1 runs alone'
        raise errors.RunError(errors.INTERRUPTED, message) from error


def _nowhere() -> contextlib.AbstractContextManager:
    return open(os.devnull, 'w', encoding='utf-8')


def _is_lost(error: Exception) -> bool:
    """Returns whether an error of the runtime says that another process is gone."""
    text = str(error).lower()
    return isinstance(error, ValueError | RuntimeError) and any(word in text for word in _LOST)
