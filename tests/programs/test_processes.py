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
import time

import jax
import numpy as np
import pytest

from launch.runs import errors as errors_lib
from launch.runs import processes
from launch.training import devices

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGS = {
    'dataset': 'text',
    'softmax': 'full',
    'batch_size': 8,
    'unroll_length': 5,
    'total_units': 16,
    'num_heads': 2,
    'embedding_size': 8,
    'num_steps': 200,
    'log_every': 1,
    'evaluate_every': 100,
    'save_every': 50,
}


class Job:
    """The processes of one run of `launch.lm`, or of a script."""

    def __init__(self, num_processes, num_devices, command, flags, environment):
        port = _free_port()
        self.processes = []
        for index in range(num_processes):
            own = {}
            if num_processes > 1:
                own = {'coordinator_address': f'localhost:{port}', 'process_id': index}
                own['num_processes'] = num_processes
            words = [f'--{name}={value}' for name, value in {**flags, **own}.items()]
            process = subprocess.Popen(
                [sys.executable, *command, *words],
                env=environment
                | {
                    'XLA_FLAGS': f'--xla_force_host_platform_device_count={num_devices}',
                    'JAX_PLATFORMS': 'cpu',
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


@pytest.fixture(scope='module')
def start(tmp_path_factory, compile_once):
    """Returns a function that starts a job on a small text, with its directory."""
    folder = tmp_path_factory.mktemp('processes')
    rng = random.Random(1)
    for split, lines in (('train', 300), ('valid', 30), ('test', 30)):
        text = [' '.join(f'w{rng.randrange(40)}' for _ in range(9)) for _ in range(lines)]
        (folder / f'{split}.txt').write_text('\n'.join(text))

    def start(name, num_processes, num_devices, **flags):
        run_dir = folder / name
        flags = {**FLAGS, 'data_dir': folder, 'cache_dir': folder / 'cache', **flags}
        environment = {**os.environ, **compile_once}
        job = Job(
            *(num_processes, num_devices, ['-m', 'launch.lm']),
            flags=flags | {'run_dir': run_dir},
            environment=environment,
        )
        return job, run_dir

    return start


def _rows(run_dir):
    """Returns the metrics without what the clock says."""
    lines = (run_dir / 'metrics.jsonl').read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        {k: v for k, v in row.items() if k not in ('seconds', 'words_per_second')} for row in rows
    ]


@pytest.fixture(scope='module')
def whole(start):
    """Returns what two processes that nothing disturbed printed, and their directory."""
    job, run_dir = start('two_processes', 2, 1)
    ends = job.wait()
    assert [end[0] for end in ends] == [0, 0], ends
    return ends, run_dir


@pytest.mark.parametrize('num_devices', [1, 2])
def test_two_processes_make_the_updates_of_one(start, whole, num_devices):
    job, run_dir = start(f'devices_{num_devices}', 1, num_devices)
    assert job.wait()[0][0] == 0
    alone, together = _rows(run_dir), _rows(whole[1])
    assert [row['step'] for row in alone] == [row['step'] for row in together]
    assert len(alone) == 202
    for one, two in zip(alone, together, strict=True):
        for name in one:  # loss, norm of the gradient, validation: of the same rows in all cases
            np.testing.assert_allclose(one[name], two[name], rtol=2e-4, err_msg=f'{name} {one}')
    np.testing.assert_allclose(alone[0]['loss'], together[0]['loss'], rtol=1e-6)


def test_only_process_0_prints(whole):
    (_, first, _), (_, second, errors) = whole[0]
    assert '2 processes, 2 devices' in first
    assert 'step 200/200' in first
    assert not errors
    assert [line for line in second.splitlines() if 'Gloo' not in line] == []


def _wait_for(run_dir, job, step):
    """Waits until a run is at a step."""
    for _ in range(1200):
        with contextlib.suppress(FileNotFoundError, IndexError):
            if _rows(run_dir)[-1]['step'] >= step:
                return
        assert all(process.poll() is None for process in job.processes)
        time.sleep(0.05)
    pytest.fail(f'the run did not come to step {step}')


@pytest.mark.parametrize('lost', [0, 1])
def test_a_killed_process_ends_the_job_with_a_message(start, whole, lost):
    job, run_dir = start(f'killed_{lost}', 2, 1)
    _wait_for(run_dir, job, 60)
    job.processes[lost].kill()
    ends = job.wait()
    assert ends[lost][0] == -signal.SIGKILL
    code, _, errors = ends[1 - lost]
    if code == errors_lib.INTERRUPTED:
        assert 'lm: another process of this run ended (' in errors
        assert errors.endswith('start all of them again to go on from the newest checkpoint\n')
    else:  # the runtime's own guard was quicker
        assert code == -signal.SIGABRT
        assert 'another task died' in errors
    if lost == 1:
        job, _ = start('killed_1', 2, 1)
        ends = job.wait()
        assert [end[0] for end in ends] == [0, 0], ends
        assert 'goes on from update ' in ends[0][1]
        assert _rows(run_dir) == _rows(whole[1])


def test_a_signal_to_one_process_stops_and_saves_all(start, whole):
    job, run_dir = start('signal', 2, 1)
    _wait_for(run_dir, job, 10)
    job.processes[1].terminate()
    ends = job.wait()
    assert [end[0] for end in ends] == [errors_lib.INTERRUPTED] * 2, ends
    assert 'lm: stopped by a signal to another process after update' in ends[0][2]
    assert 'lm: stopped by SIGTERM after update' in ends[1][2]
    job, _ = start('signal', 1, 2)  # two devices in one process: other hardware, same state
    ((code, printed, _),) = job.wait()
    assert code == 0
    assert 'goes on from update' in printed
    np.testing.assert_allclose(_rows(run_dir)[-1]['valid_loss'], _rows(whole[1])[-1]['valid_loss'])


def write_shared(path, process_id, address):
    """Writes what process `process_id` of two receives."""
    config = processes.Config(address, 2, process_id)
    with processes.join(config, path) as own_dir:
        mine = np.array([-0.0, 1.5, np.nan], np.float32) * (1 - 2 * process_id)
        rows = devices.own_rows(6)
        carry = devices.split(np.arange(12, dtype=np.float32).reshape(6, 2)[rows], axis=0)
        received = {
            'shared': devices.share({'x': mine, 'step': np.array(7 - process_id)}),
            'record': devices.share_record({'a': ['é', process_id]}),
            'none': devices.share_record(None if process_id == 0 else 'ignored'),
            'flags': [devices.any_process(flag) for flag in (process_id == 1, False)],
            'rows': [rows.start, rows.stop],
            'carry': devices.merge(carry),
            'own_dir': own_dir,
        }
        text = jax.tree.map(lambda x: x.tobytes().hex() if hasattr(x, 'tobytes') else x, received)
        pathlib.Path(f'{path}.{process_id}').write_text(json.dumps(text))


def test_every_process_receives_what_process_0_has_bit_by_bit(tmp_path):
    path, port = str(tmp_path / 'out'), _free_port()
    script = (
        'import sys; from tests.programs import test_processes as t; t.write_shared({!r}, {}, {!r})'
    )
    jobs = [
        Job(1, 1, ['-c', script.format(path, index, f'localhost:{port}')], {}, dict(os.environ))
        for index in range(2)
    ]
    ends = [job.wait()[0] for job in jobs]
    assert [end[0] for end in ends] == [0, 0], ends
    first, second = (json.loads(pathlib.Path(f'{path}.{index}').read_text()) for index in range(2))
    assert bytes.fromhex(first['shared']['x'])[:4] == b'\x00\x00\x00\x80'  # -0.0 stays -0.0
    assert first.pop('rows') == [0, 3]
    assert second.pop('rows') == [3, 6]
    assert first.pop('own_dir') == path
    assert not os.path.exists(second.pop('own_dir'))
    assert first == second
    assert first['record'] == {'a': ['é', 0]}
    assert first['none'] is None
    assert first['flags'] == [True, False]
    assert np.frombuffer(bytes.fromhex(first['carry']), np.float32).tolist() == list(range(12))


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ({'num_processes': 2}, '--num_processes=2: wanted --coordinator_address too'),
        ({'num_processes': 2, 'coordinator_address': 'a:1'}, 'wanted --process_id too'),
        ({'process_id': 0}, '--process_id: wanted --num_processes of at least 2 beside it'),
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


@pytest.mark.parametrize('cluster', CLUSTERS)
def test_clusters_are_detected(cluster, monkeypatch):
    for name in {name for names in CLUSTERS.values() for name in names}:
        monkeypatch.delenv(name, raising=False)
    assert processes.detect() is None
    for name, value in CLUSTERS[cluster].items():
        monkeypatch.setenv(name, value)
    assert processes.detect() == cluster


def test_one_task_of_a_cluster_runs_alone(monkeypatch):
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '1')
    monkeypatch.setenv('OMPI_COMM_WORLD_SIZE', '1')
    assert processes.detect() is None
    with processes.join(processes.Config(), 'runs/alone') as own_dir:
        assert own_dir == 'runs/alone'


def test_num_processes_1_overrides_the_cluster(monkeypatch):
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '4')
    with processes.join(processes.Config(num_processes=1), 'runs/alone') as own_dir:
        assert own_dir == 'runs/alone'


def test_processes_that_cannot_be_reached_are_named(monkeypatch):
    def fail(*args, **options):
        raise RuntimeError('DEADLINE_EXCEEDED: Barrier timed out.\nmore lines')

    monkeypatch.setattr(jax.distributed, 'initialize', fail)
    config = processes.Config('far:1234', 2, 1)
    wanted = 'cannot connect with far:1234: DEADLINE_EXCEEDED: Barrier timed out.; --num_pro'
    with pytest.raises(errors_lib.RunError, match=wanted) as stop, processes.join(config, 'run'):
        pass
    assert stop.value.code == errors_lib.INTERRUPTED


def test_a_program_that_runs_alone_leaves_with_its_code():
    with pytest.raises(SystemExit) as stop:
        processes.leave(65)
    assert stop.value.code == 65
