"""How much memory an update needs, against what the compiler plans and by hand."""

import dataclasses
import importlib

import jax
import pytest

from launch.runs import errors, flags
from launch.training import cost, devices, experiment, footprint, loop
from tests.support import toy_task

T, B, D, H = toy_task.T, toy_task.B, toy_task.D, toy_task.H
CONFIG = loop.Config(num_steps=3, batch_size=B)
PARAMS = 4 * (D * H + H)
SIZES = '--mem_slots=2 --total_units=64 --num_heads=2 --attention_mlp_layers=1 --batch_size=16'


def test_state_and_batch_are_counted():
    needed = footprint.estimate(CONFIG, toy_task.make())
    adam = 2 * PARAMS + 4 + 4  # two moments, its step, and that of the schedule
    rest = 8 + 4 + 4 * B * H  # key, step, carry
    assert needed.state == PARAMS + adam + rest + PARAMS  # the last is the gradient
    assert needed.batch == T * B * (4 * D + 4 + 4 + 1)
    # after each step: tanh's output [B, H], the noise's sum with it, and the prediction's error
    assert T * B * H * 4 <= needed.activations <= 4 * T * B * (H + D) * 4
    assert needed.total == sum(needed)


def test_parts_of_a_batch_are_one_after_the_other():
    for task in (toy_task.make(), toy_task.make_sampled()):
        whole = footprint.estimate(CONFIG, task)
        parts = footprint.estimate(dataclasses.replace(CONFIG, accumulate=4), task)
        assert parts[:2] == whole[:2]
        assert parts.activations < 0.5 * whole.activations


def _task(name, words):
    module = importlib.import_module(f'launch.{name}')
    config = flags.parse(module.Config, words, name, {})
    return config, (module.EXPERIMENT.build_synthetic or module.build)(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('nth_farthest', '--num_objects=20 --num_dims=4'),
        ('learning_to_execute', '--nesting=2 --length=9'),
        ('lm', '--softmax=adaptive --vocab_size=10000 --embedding_size=256'),
        ('boxworld', '--unroll=20 --viewport=9'),
    ],
)
def test_an_estimate_is_close_to_what_the_compiler_plans(name, words):
    config, task = _task(name, (*SIZES.split(), *words.split()))
    needed = footprint.estimate(config, task)
    planned = cost.measure(config, task, 0)['planned_bytes']
    assert 0.5 * planned < needed.total < 1.5 * planned


def test_an_update_that_does_not_fit_is_refused_before_anything_is_there(monkeypatch, tmp_path):
    config, task = _task('nth_farthest', SIZES.split())
    needed = footprint.estimate(config, task)
    monkeypatch.setattr(devices, 'memory_bytes', lambda: needed.total)
    footprint.check(config, task)
    monkeypatch.setattr(devices, 'memory_bytes', lambda: needed.total - 1)
    with pytest.raises(errors.RunError, match='lower --batch_size or the sizes') as caught:
        footprint.check(config, task)
    assert caught.value.code == errors.USAGE
    monkeypatch.setattr(loop, 'initial_state', None)  # to be called by nobody
    monkeypatch.setattr(footprint, 'estimate', lambda *args: needed)
    program = importlib.import_module('launch.nth_farthest').EXPERIMENT
    with pytest.raises(errors.RunError, match=r'an update needs about 0\.0 GB'):
        experiment.run(program, dataclasses.replace(config, run_dir=str(tmp_path / 'run')))
    assert not (tmp_path / 'run' / 'run.json').exists()


def test_sizes_that_no_machine_has_are_refused_in_a_moment():
    sizes = {'batch_size': 100_000, 'num_objects': 1000, 'total_units': 100_000, 'num_heads': 1}
    config, task = _task('nth_farthest', [f'--{name}={x}' for name, x in sizes.items()])
    with pytest.raises(errors.RunError, match=r'an update needs about [\d.]+ GB'):
        footprint.check(config, task)


def test_the_memory_of_this_machine_is_known(monkeypatch):
    assert 10**8 < devices.memory_bytes() < 10**14
    half = devices.memory_bytes() // 2
    monkeypatch.setattr(jax, 'local_device_count', lambda: 2)
    assert devices.memory_bytes() == half
