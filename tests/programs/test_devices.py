"""Data parallelism: one device and four do the same, and batches are split without loss."""

import os
import pathlib
import subprocess
import sys

import haiku as hk
import jax
import numpy as np
import pytest

from launch.language import model as model_lib
from launch.training import devices as devices_lib
from launch.training import loop
from launch.training import optimizer as optimizer_lib
from launch.training import task as task_lib
from launch.training import update as update_lib
from tasks import base

ROOT = pathlib.Path(__file__).resolve().parents[2]
T, B, V = 3, 8, 19
CONFIG = loop.Config(batch_size=B, learning_rate=0.05, clip_norm=0.5)


def _batch(step):
    rng = np.random.default_rng(step)
    inputs, targets = rng.integers(0, V, (2, T, B)).astype(np.int32)
    weights = rng.uniform(size=(T, B)).astype(np.float32)
    return base.Batch(inputs, targets, weights, rng.uniform(size=(T, B)) < 0.2)


def write_updates(path):
    """Makes three updates of a language model with dropout on all devices and writes an .npz."""
    model = model_lib.make(lambda: hk.LSTM(5), V, 16, 0.5, 0.3, adaptive=False)

    def loss(params, batch, *rest):
        value, carry = model.cross_entropy(params, *batch, *rest)
        return {'loss': value}, carry

    task = task_lib.Task(
        init=model.init,
        loss=loss,
        evaluate=lambda params: {},
        test=lambda params, thorough: {},
        unit='words',
        consumes=('words', T * B),
        core_parameters=0,
        batch=_batch,
        initial_carry=model.initial_state(B),
    )
    state = loop.initial_state(CONFIG, task)
    update = update_lib.make_update(task, optimizer_lib.make(CONFIG, CONFIG.num_steps), B)
    compiled = devices_lib.compile_update(update, state)
    state, means = devices_lib.place(state), []
    for step in range(3):
        state, report = compiled(state, devices_lib.split(_batch(step), axis=1))
        report = jax.device_get(report)
        assert report.finite
        means.append(report.metrics['loss'].total / report.metrics['loss'].weight)
    final = devices_lib.gather(state)
    leaves = {
        jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(final)
    }
    np.savez(path, devices=jax.local_device_count(), means=means, **leaves)


def _on_four_devices(*command, **options):
    flags = '--xla_force_host_platform_device_count=4'
    environment = {
        **os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
        **options,
    )


@pytest.fixture(scope='module')
def four(tmp_path_factory):
    """Returns what a process with four devices wrote."""
    path = tmp_path_factory.mktemp('four') / 'four.npz'
    script = f'from tests.programs import test_devices; test_devices.write_updates({str(path)!r})'
    done = _on_four_devices('-c', script)
    assert done.returncode == 0, done.stderr
    return np.load(path)


def test_one_device_and_four_make_the_same_updates(four, tmp_path):
    write_updates(tmp_path / 'here.npz')
    here = np.load(tmp_path / 'here.npz')
    assert four['devices'] == 4
    assert here['devices'] == jax.local_device_count() != 4
    assert sorted(here.files) == sorted(four.files)
    np.testing.assert_allclose(four['means'], here['means'], rtol=1e-5)
    for name in here.files[2:]:
        assert four[name].dtype == here[name].dtype
        np.testing.assert_allclose(four[name], here[name], rtol=1e-4, atol=2e-5, err_msg=name)


def test_a_batch_that_does_not_divide_gets_one_line_and_exit_code_2(tmp_path):
    for split in ('train', 'valid', 'test'):
        (tmp_path / f'{split}.txt').write_text('a few words of some text\n' * 20)
    done = _on_four_devices(
        *['-m', 'launch.lm', '--dataset=text', '--softmax=full', '--batch_size=6'],
        '--unroll_length=5',
        f'--data_dir={tmp_path}',
        f'--cache_dir={tmp_path / "cache"}',
        f'--run_dir={tmp_path / "run"}',
    )
    assert done.returncode == 2
    assert done.stderr == 'lm: --batch_size: wanted a multiple of the 4 devices, got 6\n'


@pytest.mark.parametrize(('axis', 'shape'), [(0, (12, 3)), (1, (5, 12, 3)), (1, (5, 12))])
@pytest.mark.parametrize('devices', [1, 4])
def test_splitting_keeps_neighbours_together(axis, shape, devices, monkeypatch):
    monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
    x = np.arange(np.prod(shape)).reshape(shape)
    parts = devices_lib.split({'x': x}, axis)['x']
    assert parts.shape == (devices, *shape[:axis], 12 // devices, *shape[axis + 1 :])
    rows = 12 // devices
    for device in range(devices):
        wanted = np.take(x, range(device * rows, (device + 1) * rows), axis)
        np.testing.assert_array_equal(parts[device], wanted)


@pytest.mark.parametrize('devices', [1, 4])
def test_merging_undoes_splitting(devices, monkeypatch):
    monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
    tree = {'a': np.arange(24.0).reshape(8, 3), 'b': (np.arange(8, dtype=np.int32),)}
    merged = devices_lib.merge(devices_lib.split(tree, axis=0))
    np.testing.assert_array_equal(merged['a'], tree['a'])
    np.testing.assert_array_equal(merged['b'][0], tree['b'][0])
    assert merged['b'][0].dtype == np.int32


def test_an_update_of_a_placed_state_is_compiled_once(caplog):
    def update(state, work):
        return state._replace(params=state.params + work, carry=state.carry + 1), work

    counts = np.zeros(2, np.uint32), np.zeros((), np.int32)
    state = update_lib.TrainState(np.ones(3), (), *counts, np.ones((4, 2), np.float32))
    compiled = devices_lib.compile_update(update, state)
    placed = devices_lib.place(state)
    with jax.log_compiles():
        for _ in range(3):
            placed, _ = compiled(placed, np.ones(1, np.float32))
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith('Finished XLA compilation') for line in lines) == 1
    final = devices_lib.gather(placed)
    np.testing.assert_array_equal(final.params, np.full(3, 4.0))
    np.testing.assert_array_equal(final.carry, np.full((4, 2), 4.0))
    np.testing.assert_array_equal(state.params, np.ones(3))  # not donated


def test_copies_on_the_host_do_not_share_memory():
    x = np.arange(5.0)
    copy = devices_lib.to_host({'x': x, 'y': jax.device_put(x)})
    assert not np.shares_memory(copy['x'], x)
    np.testing.assert_array_equal(copy['y'], x)
    copy['y'][0] = 7  # an array of one's own can be written


def test_a_batch_that_divides_is_accepted(monkeypatch):
    monkeypatch.setattr(jax, 'device_count', lambda: 3)
    devices_lib.check_batch_size(12)
    with pytest.raises(Exception, match='a multiple of the 3 devices, got 13'):
        devices_lib.check_batch_size(13)
