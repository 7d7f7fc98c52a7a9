"""Several real processes: the numbers of one, one that prints, and what a lost one does to all."""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest

from launch.runs import errors as errors_lib
from launch.runs import flags, processes
from launch.training import devices
from tests.support import tiny_training

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Job:
    """The processes of one run of a program or script, each with its own flags last."""

    def __init__(self, command, num_processes, num_devices=1, own=({}, {}), environment=None):
        port = _free_port()
        flag = f'--xla_force_host_platform_device_count={num_devices}'
        self.processes = []
        for index in range(num_processes):
            flags = {}
            if num_processes > 1:
                flags = {'coordinator_address': f'localhost:{port}', 'process_id': index}
                flags['num_processes'] = num_processes
            words = [f'--{name}={value}' for name, value in {**flags, **own[index]}.items()]
            process = subprocess.Popen(
                [sys.executable, *command, *words],
                env={
                    **os.environ,
                    **(environment or {}),
                    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {flag}',
                    'JAX_PLATFORMS': 'cpu',
                    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
                    'PYTHONPATH': str(ROOT),
                },
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self.processes.append(process)

    def wait(self):
        """Returns exit code, stdout and stderr of every process."""
        ends = [process.communicate(timeout=120) for process in self.processes]
        return [(p.returncode, *end) for p, end in zip(self.processes, ends, strict=True)]


def _free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(('localhost', 0))
        return probe.getsockname()[1]


def _tiny(run_dir, num_processes=2, **options):
    """Runs the tiny program and returns how its processes ended."""
    command = '-m', 'tests.support.tiny_training', f'--run_dir={run_dir}', '--save_every=5'
    return Job(command, num_processes, **options).wait()


def _alone(run_dir):
    """Runs or resumes the tiny program in this process."""
    config = tiny_training.Config(run_dir=str(run_dir), save_every=5)
    tiny_training.run(config)


def _rows(run_dir):
    """Returns the metrics without times."""
    lines = (run_dir / 'metrics.jsonl').read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        {k: v for k, v in row.items() if k not in ('seconds', 'time', 'words_per_second')}
        for row in rows
    ]


def _assert_close(run_dir, other_dir):
    rows, others = _rows(run_dir), _rows(other_dir)
    assert [row['step'] for row in rows] == [row['step'] for row in others]
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name in row:  # of the same batches in all cases
            np.testing.assert_allclose(row[name], other[name], rtol=2e-4, err_msg=f'{name} {row}')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Returns how two processes ended that nothing disturbed, and their directory."""
    run_dir = tmp_path_factory.mktemp('whole')
    call = 'from tests.programs import test_processes as t; t.train_and_write()'
    ends = Job(['-c', call, f'--run_dir={run_dir}', '--save_every=5'], 2).wait()
    assert [end[0] for end in ends] == [0, 0], ends
    return ends, run_dir


def train_and_write():
    """Is the program of `whole`: it writes what the process receives, too."""

    def run(config):
        tiny_training.run(config, lambda own_dir: _write_received(config, own_dir))

    errors_lib.leave(flags.main(tiny_training.Config, run, 'tiny_training'))


def _write_received(config, own_dir):
    number = config.process_id
    mine = np.array([-0.0, 1.5, np.nan], np.float32) * (1 - 2 * number)
    share = devices.process_slice(6)
    carry = devices.split_carry(np.arange(12, dtype=np.float32).reshape(6, 2))
    received = {
        'broadcast': devices.broadcast({'x': mine, 'step': np.array(7 - number)}),
        'json': devices.broadcast_json({'a': ['é', number]}),
        'none': devices.broadcast_json(None if number == 0 else 'ignored'),
        'flags': [devices.any_across_processes(flag) for flag in (number == 1, False)],
        'share': [share.start, share.stop],
        'carry': devices.merge(carry),
        'own_dir': own_dir,
        'primary': devices.is_primary(),
    }
    text = jax.tree.map(lambda x: x.tobytes().hex() if hasattr(x, 'tobytes') else x, received)
    pathlib.Path(f'{config.run_dir}.{number}').write_text(json.dumps(text))


def test_two_processes_make_the_updates_of_one(whole, tmp_path):
    _alone(tmp_path)
    assert len(_rows(tmp_path)) == 22
    _assert_close(tmp_path, whole[1])
    np.testing.assert_allclose(_rows(tmp_path)[0]['loss'], _rows(whole[1])[0]['loss'], rtol=1e-6)


def test_only_process_0_prints(whole):
    (_, first, _), (_, second, errors) = whole[0]
    assert '2 processes, 2 devices' in first
    assert 'step 20/20' in first
    assert not errors
    assert [line for line in second.splitlines() if 'Gloo' not in line] == []


def test_a_signal_to_one_process_stops_and_saves_all(whole, tmp_path):
    ends = _tiny(tmp_path, own=({}, {'act': 'SIGTERM', 'at': 7}))
    assert [end[0] for end in ends] == [errors_lib.INTERRUPTED] * 2, ends
    message = 'tiny_training: stopped by a signal to another process after update '
    assert ends[0][2].startswith(message)
    step = int(ends[0][2].removeprefix(message).split(',')[0])
    assert step in (7, 8)
    assert f'tiny_training: stopped by SIGTERM after update {step}, saved; ' in ends[1][2]
    assert _rows(tmp_path)[-1]['step'] == step
    _alone(tmp_path)  # one process: other hardware, the same state
    _assert_close(tmp_path, whole[1])


@pytest.mark.parametrize(
    ('own', 'message'),
    [
        (
            ({'num_steps': 4}, {}),
            '--num_steps: wanted the same on all processes, got 4 on process 0, 20 on 1',
        ),
        (2 * ({'batch_size': 7},), '--batch_size: wanted a multiple of the 2 devices, got 7'),
    ],
)
def test_flags_that_do_not_fit_end_all_processes_in_the_same_way(own, message, tmp_path):
    for code, _, errors in _tiny(tmp_path, own=own):
        assert (code, errors) == (errors_lib.USAGE, f'tiny_training: {message}\n')


@pytest.mark.slow
@pytest.mark.parametrize('lost', [0, 1])
def test_a_killed_process_ends_the_job_with_a_message_and_all_resume(whole, tmp_path, lost):
    own = [{}, {}]
    own[lost] = {'act': 'SIGKILL', 'at': 8}
    ends = _tiny(tmp_path, own=own)
    assert ends[lost][0] == -signal.SIGKILL
    code, _, errors = ends[1 - lost]
    if code == errors_lib.INTERRUPTED:
        assert 'tiny_training: another process of this run ended (' in errors
        assert errors.endswith('start all of them again to resume from the newest checkpoint\n')
    else:  # the runtime's own guard was quicker
        assert code == -signal.SIGABRT
        assert 'another task died' in errors
    ends = _tiny(tmp_path)
    assert [end[0] for end in ends] == [0, 0], ends
    assert 'resumes from the checkpoint of update 5' in ends[0][1]
    assert _rows(tmp_path) == _rows(whole[1])


LM = (
    '-m launch.lm --dataset=text --softmax=full --batch_size=8 --unroll_length=5 --total_units=16 '
    '--num_heads=2 --embedding_size=8 --num_steps=30 --log_every=1 --evaluate_every=10'
)


@pytest.mark.slow
@pytest.mark.parametrize('num_devices', [1, 2])
def test_the_language_model_in_two_processes_makes_the_updates_of_one(
    tmp_path, compile_once, num_devices
):
    rng = random.Random(1)
    for split, lines in (('train', 300), ('valid', 30), ('test', 30)):
        text = [' '.join(f'w{rng.randrange(40)}' for _ in range(9)) for _ in range(lines)]
        (tmp_path / f'{split}.txt').write_text('\n'.join(text))
    run_dirs = []
    for count, devices_each in ((1, num_devices), (2, 1)):
        run_dirs.append(tmp_path / f'{count}')
        folders = f'--data_dir={tmp_path}', f'--cache_dir={tmp_path}', f'--run_dir={run_dirs[-1]}'
        ends = Job([*LM.split(), *folders], count, devices_each, environment=compile_once).wait()
        assert [end[0] for end in ends] == [0] * count, ends
    assert len(_rows(run_dirs[0])) == 33
    _assert_close(*run_dirs)


def test_every_process_receives_what_process_0_has_bit_by_bit(whole):
    first, second = (json.loads(pathlib.Path(f'{whole[1]}.{i}').read_text()) for i in range(2))
    assert bytes.fromhex(first['broadcast']['x'])[:4] == b'\x00\x00\x00\x80'  # -0.0 stays -0.0
    assert first.pop('share') == [0, 3]
    assert second.pop('share') == [3, 6]
    assert first.pop('own_dir') == str(whole[1])
    assert not os.path.exists(second.pop('own_dir'))
    assert (first.pop('primary'), second.pop('primary')) == (True, False)
    assert first == second
    assert first['json'] == {'a': ['é', 0]}
    assert first['none'] is None
    assert first['flags'] == [True, False]
    assert np.frombuffer(bytes.fromhex(first['carry']), np.float32).tolist() == list(range(12))


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ({'num_processes': 2}, '--num_processes=2: wanted --coordinator_address too'),
        ({'num_processes': 2, 'coordinator_address': 'a:1'}, 'wanted --process_id too'),
        ({'process_id': 0}, '--process_id: wanted --num_processes of at least 2 with it'),
        ({'coordinator_address': 'a:1'}, '--coordinator_address: wanted --num_processes of at'),
        ({'process_id': 1, 'num_processes': 1}, 'wanted --num_processes of at least 2'),
        (
            {'num_processes': 2, 'process_id': 2, 'coordinator_address': 'a:1'},
            '--process_id: wanted less than --num_processes=2, got 2',
        ),
        *(
            (
                {'num_processes': 2, 'process_id': 1, 'coordinator_address': address},
                f"--coordinator_address: wanted HOST:PORT, got '{address}'",
            )
            for address in ('host', ':5', 'host:', 'host:0', 'host:65536', 'host:x')
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        processes.Config(**flags)


CLUSTERS = {
    'Slurm': {'SLURM_STEP_NUM_TASKS': '4'},
    'Open MPI': {'OMPI_COMM_WORLD_SIZE': '2'},
    'Kubernetes': {'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '0'},
}


@pytest.fixture
def alone(monkeypatch):
    """Makes the environment that of a process that no cluster started."""
    for name in {name for names in CLUSTERS.values() for name in names}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes.glob, 'glob', lambda pattern: [])


@pytest.mark.parametrize('cluster', CLUSTERS)
def test_clusters_are_detected(alone, cluster, monkeypatch):
    assert not processes.in_cluster()
    for name, value in CLUSTERS[cluster].items():
        monkeypatch.setenv(name, value)
    assert processes.in_cluster()


@pytest.mark.parametrize('chips', [['/dev/accel0'], []])
@pytest.mark.parametrize('libtpu', [object(), None])
def test_a_tpu_is_detected_by_its_chips_and_its_library(alone, chips, libtpu, monkeypatch):
    monkeypatch.setattr(processes.glob, 'glob', lambda pattern: chips)
    monkeypatch.setattr(processes.importlib.util, 'find_spec', lambda name: libtpu)
    assert processes.in_cluster() == bool(chips and libtpu)


def test_one_task_of_a_cluster_runs_alone(alone, monkeypatch):
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '1')
    monkeypatch.setenv('OMPI_COMM_WORLD_SIZE', '1')
    with processes.join(processes.Config(), 'runs/alone') as own_dir:
        assert own_dir == 'runs/alone'


def test_processes_of_a_cluster_are_connected_as_jax_finds_them(alone, monkeypatch):
    asked = []
    monkeypatch.setattr(jax.distributed, 'initialize', lambda *a, **options: asked.append(a))
    monkeypatch.setenv('OMPI_COMM_WORLD_SIZE', '2')
    with processes.join(processes.Config(), 'run') as own_dir:
        assert own_dir == 'run'  # no other process is there in truth, so this is number 0
    assert asked == [(None, None, None)]


def test_a_wait_for_the_cluster_is_reported(alone, monkeypatch, capsys):
    monkeypatch.setattr(jax.distributed, 'initialize', lambda *a, **options: time.sleep(0.1))
    monkeypatch.setattr(processes.rendezvous, 'QUIET_SECONDS', 0.01)
    monkeypatch.setenv('OMPI_COMM_WORLD_SIZE', '2')
    with processes.join(processes.Config(), 'run'):
        assert (
            capsys.readouterr().err == 'waits for the other processes of the cluster, up to 300 s\n'
        )


def test_a_signal_ends_the_wait_for_other_processes():
    """Of which the one at the coordinator's address has not been started."""
    script = """
        from launch.runs import flags, processes
        print('started', flush=True)
        join = lambda config: processes.join(config, '').__enter__()
        raise SystemExit(flags.main(processes.Config, join, 'toy'))
    """
    job = Job(['-c', textwrap.dedent(script)], 2)
    first, waiting = job.processes
    first.kill()
    first.communicate(timeout=20)
    assert waiting.stdout.readline() == 'started\n'
    time.sleep(0.3)
    waiting.send_signal(signal.SIGTERM)
    assert 'toy: stopped by SIGTERM' in waiting.communicate(timeout=20)[1]
    assert waiting.returncode == errors_lib.INTERRUPTED


def test_num_processes_1_overrides_the_cluster(monkeypatch):
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '4')
    with processes.join(processes.Config(num_processes=1), 'runs/alone') as own_dir:
        assert own_dir == 'runs/alone'


def test_processes_that_cannot_be_reached_are_named(monkeypatch):
    def fail(*args, **options):
        raise RuntimeError('DEADLINE_EXCEEDED: Barrier timed out.\nmore lines')

    monkeypatch.setattr(jax.distributed, 'initialize', fail)
    monkeypatch.setattr(processes.rendezvous, 'meet', lambda *a: None)
    config = processes.Config('far:1234', 2, 1)
    wanted = 'cannot connect with far:1234: DEADLINE_EXCEEDED: Barrier timed out.; --num_pro'
    with pytest.raises(errors_lib.RunError, match=wanted) as stop, processes.join(config, 'run'):
        pass
    assert stop.value.code == errors_lib.INTERRUPTED
