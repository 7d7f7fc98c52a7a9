"""Data parallelism: one device and four do the same, and batches are split without loss."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

from launch.runs import checkpoint, errors
from launch.training import devices as devices_lib
from launch.training import loop
from tests.support import toy_task

pytestmark = pytest.mark.usefixtures('compile_once', 'compile_quickly')
ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = loop.Config(
    num_steps=3, batch_size=toy_task.B, learning_rate=0.05, clip_norm=0.5, save_every=1
)
RUNS = {
    'batches': (CONFIG, toy_task.make()),
    'parts': (dataclasses.replace(CONFIG, accumulate=2), toy_task.make()),
    'sampled': (CONFIG, toy_task.make_sampled()),
}


def train_all(folder):
    """Trains all runs, each in its folder."""
    assert jax.device_count() == 4
    for name, (config, task) in RUNS.items():
        loop.train(config, task, f'{folder}/{name}', {'config': {}})


@pytest.fixture(scope='module')
def four(tmp_path_factory):
    """Returns the folder of the runs of a process with four devices."""
    folder = tmp_path_factory.mktemp('four')
    call = f'from tests.programs import test_devices as t; t.train_all({str(folder)!r})'
    flags = os.environ.get('XLA_FLAGS', ''), '--xla_force_host_platform_device_count=4'
    options = {
        'XLA_FLAGS': ' '.join(flags),
        'JAX_PLATFORMS': 'cpu',
        'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
        'PYTHONPATH': str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, '-c', call],
        env={**os.environ, **options},
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def _restore(run_dir, template):
    return checkpoint.Checkpointer(run_dir).restore(template).state


@pytest.mark.parametrize('name', RUNS)
def test_four_devices_make_the_updates_of_one(four, name, tmp_path):
    assert jax.device_count() == 1
    config, task = RUNS[name]
    here = loop.train(config, task, str(tmp_path), {'config': {}})
    there = _restore(four / name, here)
    chex.assert_trees_all_equal_shapes_and_dtypes(here, there)
    chex.assert_trees_all_close(here, there, rtol=1e-4, atol=2e-5)
    assert not np.allclose(here.carry, task.initial_carry())


def test_one_device_resumes_a_run_of_four(four, tmp_path, capsys):
    config, task = RUNS['batches']
    folder = tmp_path / 'checkpoints' / '2'
    shutil.copytree(four / 'batches' / 'checkpoints' / '2', folder)
    resumed = loop.train(config, task, str(tmp_path), {'config': {}})
    assert 'resumes from the checkpoint of update 2' in capsys.readouterr().out
    chex.assert_trees_all_close(resumed, _restore(four / 'batches', resumed), rtol=1e-4, atol=2e-5)


def test_an_update_is_compiled_once_and_its_first_state_is_left_as_it_was(tmp_path):
    traced, task = [], toy_task.make()
    first = loop.initial_state(CONFIG, task)

    def loss(*args):
        traced.append(1)
        return task.loss(*args)

    loop.train(CONFIG, task._replace(loss=loss), str(tmp_path), {'config': {}})
    assert len(traced) == 1
    chex.assert_trees_all_equal(task.initial_carry(), np.zeros_like(task.initial_carry()))
    chex.assert_trees_all_equal(loop.initial_state(CONFIG, task), first)


@pytest.mark.parametrize(('axis', 'shape'), [(0, (12, 3)), (1, (5, 12, 3)), (1, (5, 12))])
@pytest.mark.parametrize('devices', [1, 4])
def test_splitting_keeps_neighbours_together(axis, shape, devices, monkeypatch):
    monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
    x = np.arange(np.prod(shape)).reshape(shape)
    parts = devices_lib.split({'x': x}, axis)['x']
    assert parts.shape == (devices, *shape[:axis], 12 // devices, *shape[axis + 1 :])
    share = 12 // devices
    for device in range(devices):
        wanted = np.take(x, range(device * share, (device + 1) * share), axis)
        np.testing.assert_array_equal(parts[device], wanted)


@pytest.mark.parametrize('devices', [1, 4])
def test_merging_undoes_splitting(devices, monkeypatch):
    monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
    tree = {'a': np.arange(24.0).reshape(8, 3), 'b': (np.arange(8, dtype=np.int32),)}
    merged = devices_lib.merge(devices_lib.split(tree, axis=0))
    np.testing.assert_array_equal(merged['a'], tree['a'])
    np.testing.assert_array_equal(merged['b'][0], tree['b'][0])
    assert merged['b'][0].dtype == np.int32


def test_a_process_has_its_share_of_batches_and_carry(monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 3)
    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    monkeypatch.setattr(jax, 'local_device_count', lambda: 2)
    assert devices_lib.process_slice(12) == slice(4, 8)
    assert not devices_lib.is_primary()
    carry = devices_lib.split_carry({'x': np.arange(24).reshape(12, 2)})['x']
    assert carry.tolist() == [[[8, 9], [10, 11]], [[12, 13], [14, 15]]]


def test_copies_on_the_host_do_not_share_memory():
    x = np.arange(5.0)
    copy = devices_lib.to_host({'x': x, 'y': jax.device_put(x)})
    assert not np.shares_memory(copy['x'], x)
    np.testing.assert_array_equal(copy['y'], x)
    copy['y'][0] = 7  # an array of one's own can be written


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(jax, 'device_count', lambda: 3)
    devices_lib.check_batch_size(12)
    devices_lib.check_batch_size(12, parts=4)
    with pytest.raises(errors.RunError, match='a multiple of the 3 devices, got 13') as stop:
        devices_lib.check_batch_size(13)
    assert stop.value.code == errors.USAGE
    with pytest.raises(errors.RunError, match=r'the 3 devices x --accumulate=4, got 6'):
        devices_lib.check_batch_size(6, parts=4)


def test_one_process_needs_no_messages(monkeypatch):
    assert devices_lib.is_primary()
    assert devices_lib.process_slice(12) == slice(0, 12)
    value = {'a': [1, None]}
    assert devices_lib.broadcast_json(value) is value
    assert devices_lib.broadcast(value) is value
    assert [devices_lib.any_across_processes(flag) for flag in (True, False)] == [True, False]
