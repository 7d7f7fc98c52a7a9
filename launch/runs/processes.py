"""One program as several processes on several machines.

Every process runs the same command. `join` connects them by `jax.distributed`: with the flags
`--coordinator_address`, `--num_processes` and `--process_id`, or, without flags, where Slurm, Open
MPI, Kubernetes or a TPU pod started them. Process 0 prints, owns the run's directory and sends the
others what it reads there, so they need not see its disk; their directory is a folder that is
deleted at the end. If a process dies the others end too, and the same commands resume the run.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import glob
import importlib.util
import os
import tempfile

import jax

from launch.runs import errors, flags

CONNECT_SECONDS = 300  # that a process waits for the others at the start
# Words of the errors that XLA raises in a collective operation whose other end is gone.
_LOST = ('gloo', 'nccl', 'coordination', 'connection', 'socket', 'unavailable', 'collective')


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of a program that may run as several processes."""

    coordinator_address: str | None = flags.flag(
        None, 'HOST:PORT of process 0; default: as the cluster sets it', 'free'
    )
    num_processes: int | None = flags.flag(
        None, 'processes of the run; default: as the cluster sets it, else 1', 'free', minimum=1
    )
    process_id: int | None = flags.flag(None, 'which of them this is, from 0', 'free', minimum=0)

    def __post_init__(self) -> None:
        """Raises a ValueError unless all three flags are given or none."""
        count = self.num_processes or 1
        for name in ('coordinator_address', 'process_id'):
            given = getattr(self, name) is not None
            if given and count == 1:
                raise ValueError(f'--{name}: wanted --num_processes of at least 2 with it')
            if not given and count > 1:
                raise ValueError(f'--num_processes={count}: wanted --{name} too')
        if (self.process_id or 0) >= count:
            wanted = f'wanted less than --num_processes={count}'
            raise ValueError(f'--process_id: {wanted}, got {self.process_id}')
        host, _, port = (self.coordinator_address or 'host:1').rpartition(':')
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
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
    if config.num_processes == 1 or (config.num_processes is None and not in_cluster()):
        yield run_dir
        return
    _connect(config)
    with contextlib.ExitStack() as stack:
        if jax.process_index():
            nowhere = stack.enter_context(open(os.devnull, 'w', encoding='utf-8'))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            run_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix='process-'))
        print(f'{jax.process_count()} processes, {jax.device_count()} devices', flush=True)
        try:
            yield run_dir
        except (ValueError, RuntimeError) as error:
            if not any(word in str(error).lower() for word in _LOST):
                raise
            message = f'another process of this run ended ({errors.first_line(error)})'
            remedy = 'start all of them again to resume from the newest checkpoint'
            raise errors.RunError(errors.INTERRUPTED, f'{message}; {remedy}') from error


def in_cluster() -> bool:
    """Returns whether a cluster started this process as one of several, which JAX can connect."""
    environment = os.environ
    tasks = [environment.get(x) for x in ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')]
    if any(int(count or 1) > 1 for count in tasks):
        return True
    if {'KUBERNETES_SERVICE_HOST', 'JOB_COMPLETION_INDEX'} <= environment.keys():
        return True
    chips = glob.glob('/dev/accel[0-9]*') + glob.glob('/dev/vfio/[0-9]*')
    return bool(chips) and importlib.util.find_spec('libtpu') is not None


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
        where = config.coordinator_address or 'the other processes of the cluster'
        message = f'cannot connect with {where}: {errors.first_line(error)}'
        raise errors.RunError(
            errors.INTERRUPTED, f'{message}; --num_processes=1 runs alone'
        ) from error
