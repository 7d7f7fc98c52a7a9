"""A Slurm cluster of this one machine, in a folder of its own, for as long as a `with` block lasts.

Debian and Ubuntu have all of it in the package slurm-wlm. The daemons belong to the user who starts
them; nothing of the system's own Slurm or Munge is used or changed. A node is a process that says
it is another machine, so there may be several. A partition `spot` can be preempted by `urgent`.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import time

PROGRAMS = (
    'munged',
    'slurmctld',
    'slurmd',
    'sbatch',
    'srun',
    'squeue',
    'scontrol',
    'scancel',
    'setpriv',
)
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MinJobAge=5
CompleteWait=0
KillWait=10
SlurmdParameters=config_overrides
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=spot Nodes=ALL PriorityTier=1 GraceTime=20 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF State=UP
"""


def missing():
    """Returns why there cannot be a cluster here, '' if there can."""
    absent = [program for program in PROGRAMS if not _path(program)]
    if absent:
        return f'no Slurm here ({", ".join(absent)}; Debian has them in slurm-wlm)'
    return '' if os.getuid() == 0 else 'Slurm starts its daemons as root only'


@contextlib.contextmanager
def running(folder, num_nodes=1):
    """Runs a cluster and yields the environment in which its commands find it.

    Args:
      folder: an empty one, whose path has no spaces.
      num_nodes: machines that it says it has, of 2 cores each.
    """
    folder = pathlib.Path(folder)
    (folder / 'state').mkdir()
    # JAX connects processes at the address of the first node.
    names = [_host(), *(f'{_host()}-{number}' for number in range(1, num_nodes))]
    (folder / 'slurm.conf').write_text(_configuration(folder, names))
    (folder / 'munge.key').write_bytes(os.urandom(128))
    (folder / 'munge.key').chmod(0o400)
    environment = {**os.environ, 'SLURM_CONF': str(folder / 'slurm.conf')}
    munge = [f'--{x}={folder}/munge.{x.split("-")[0]}' for x in ('socket', 'key-file')]
    munge += [f'--{x}={folder}/munge.{x}' for x in ('pid-file', 'log-file', 'seed-file')]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_daemon(['munged', '--foreground', '--force', *munge], environment))
        _wait_for((folder / 'munge.socket').exists, folder)
        for name in names:
            stack.enter_context(_daemon(['slurmd', '-D', '-N', name], environment))
        stack.enter_context(_daemon(['slurmctld', '-D'], environment))
        _wait_for(lambda: _num_idle(environment) == num_nodes, folder)
        yield environment
        subprocess.run(['scancel', '--me'], env=environment, check=False)
        _wait_for(lambda: not _squeue(environment), folder)


def _configuration(folder, names):
    ports = [_free_port() for _ in range(1 + len(names))]
    place = f'NodeHostname={_host()} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN'
    nodes = [
        f'NodeName={name} {place} Port={port}' for name, port in zip(names, ports[1:], strict=True)
    ]
    user = pwd.getpwuid(os.getuid()).pw_name
    return CONFIGURATION.format(
        host=_host(), controller_port=ports[0], user=user, folder=folder, nodes='\n'.join(nodes)
    )


def _host():
    return socket.gethostname().split('.')[0]


def _free_port():
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()[1]


def _path(program):
    return shutil.which(program, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin')


@contextlib.contextmanager
def _daemon(command, environment):
    path = _path(command[0])
    process = subprocess.Popen(
        ['setpriv', '--pdeathsig', 'TERM', path, *command[1:]],  # if the tests are killed
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _num_idle(environment):
    done = subprocess.run(
        ['sinfo', '--noheader', '--Node', '--partition=debug', '--states=idle', '--format=%N'],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    return len(done.stdout.split())


def _squeue(environment):
    command = ['squeue', '--noheader', '--format=%i']
    return subprocess.run(command, env=environment, check=True, capture_output=True).stdout


def _wait_for(is_so, folder, seconds=100):
    end = time.monotonic() + seconds
    while not is_so():
        logs = '\n'.join(path.read_text()[-2000:] for path in folder.glob('*.log'))
        assert time.monotonic() < end, f'no Slurm after {seconds} s:\n{logs}'
        time.sleep(0.1)
