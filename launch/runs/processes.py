"""One program as several processes on several machines.

Every process runs the same command. `join` connects them by `jax.distributed`: with the flags
`--coordinator_address`, `--num_processes` and `--process_id`, or, without flags, where Slurm, Open
MPI, Kubernetes or a TPU pod started them. Process 0 prints, owns the run's directory and sends the
others what it reads there, so they need not see its disk; their directory is a folder that is
deleted at the end. All have the same flags, but for what each machine has of its own. If a process
dies the others end too, and the same commands resume the run.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import glob
import importlib.util
import json
import os
import sys
import tempfile
import threading
from typing import ClassVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from launch.runs import errors, flags, rendezvous

CONNECT_SECONDS = 300  # that a process waits for the others at the start
_PART_SECONDS = 5  # and at the end, after an error
# The flags that differ between processes, or may as they are of the machine.
_OWN = ('coordinator_address', 'process_id', 'run_dir', 'data_dir', 'cache_dir', 'output')
# Words of the errors that XLA raises in a collective operation whose other end is gone.
_LOST = ('gloo', 'nccl', 'coordination', 'connection', 'socket', 'unavailable', 'collective')


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of a program that may run as several processes."""

    GROUPS: ClassVar = {'cluster': '*'}

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
      RunError: the others cannot be reached, have other flags, or one of them ended.
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
            _check_flags(config)
            yield run_dir
        except errors.RunError:  # most are the same in all processes
            _part()
            raise
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
    own = config.coordinator_address, config.num_processes, config.process_id
    where = config.coordinator_address or 'the other processes of the cluster'
    if config.coordinator_address:
        count, number = config.num_processes or 1, config.process_id or 0
        rendezvous.meet(config.coordinator_address, count, number, CONNECT_SECONDS)
    failures: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(*own, initialization_timeout=CONNECT_SECONDS)
        except (RuntimeError, ValueError) as error:
            failures.append(error)

    thread = threading.Thread(target=initialize, daemon=True)  # this one receives signals
    thread.start()
    thread.join(rendezvous.QUIET_SECONDS)
    if thread.is_alive():
        print(f'waits for {where}, up to {CONNECT_SECONDS} s', file=sys.stderr, flush=True)
        thread.join()
    if failures:
        message = f'cannot connect with {where}: {errors.first_line(failures[0])}'
        raise errors.RunError(
            errors.INTERRUPTED, f'{message}; --num_processes=1 runs alone'
        ) from failures[0]


def _check_flags(config: Config) -> None:
    """Raises a RunError, in all processes the same, unless they have the same flags."""
    if jax.process_count() == 1:
        return
    mine = {name: x for name, x in dataclasses.asdict(config).items() if name not in _OWN}
    first, *others = [json.loads(text) for text in _gather(json.dumps(mine))]
    for number, other in enumerate(others, 1):
        for name in {**first, **other}:
            values = first.get(name, 'absent'), other.get(name, 'absent')
            if values[0] != values[1]:
                given = f'{values[0]!r} on process 0, {values[1]!r} on {number}'
                message = f'--{name}: wanted the same on all processes, got {given}'
                raise errors.RunError(errors.USAGE, message)


def _gather(text: str) -> list[str]:
    """Returns the texts of all processes."""
    data = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array(len(data)))
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [
        bytes(row[:length]).decode() for row, length in zip(rows, lengths.tolist(), strict=True)
    ]


def _part() -> None:
    """Waits until all processes come here, for a while; one that leaves first ends the others."""

    def shutdown() -> None:
        with contextlib.suppress(RuntimeError, ValueError):
            jax.distributed.shutdown()

    thread = threading.Thread(target=shutdown, daemon=True)  # has no short timeout of its own
    thread.start()
    thread.join(_PART_SECONDS)
