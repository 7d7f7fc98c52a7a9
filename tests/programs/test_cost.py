"""What an update costs: on the devices that are here, and planned for some that are not."""

import dataclasses
import json
import types

import jax
import pytest

from launch.runs import errors
from launch.training import cost, devices, loop, targets
from launch.training import task as task_lib
from tests.support import compilers, toy_task

CONFIG = loop.Config(num_steps=3, batch_size=toy_task.B, learning_rate=0.05)
TASKS = {'batches': toy_task.make(), 'sampled': toy_task.make_sampled()}
PARAMS = toy_task.D * toy_task.H + toy_task.H
pytestmark = pytest.mark.usefixtures('compile_quickly')


def plan(name, task, config=CONFIG):
    target = targets.read(name)
    return cost.plan(config, task, target, targets.devices(target))


@pytest.mark.parametrize('task', TASKS)
def test_an_update_is_measured_here(task):
    costs = cost.measure(CONFIG, TASKS[task], repeats=2)
    assert costs['planned_bytes'] >= costs['arguments_bytes'] > 3 * 4 * PARAMS  # Adam's moments too
    assert costs['per_second'] * costs['seconds'] > 0
    assert cost.measure(CONFIG, TASKS[task], repeats=0) == {
        name: costs[name] for name in ('arguments_bytes', 'scratch_bytes', 'planned_bytes')
    }


@pytest.mark.parametrize('sampled', [False, True])
def test_with_a_curriculum_updates_of_the_whole_task_are_measured(sampled):
    levels = []

    def batch(step, level):
        levels.append(level)
        return toy_task.batch(step)

    def sample(params, carry, keys, level):
        jax.debug.callback(lambda level: levels.append(int(level)), level)
        return toy_task.sample(params, carry, keys)

    curriculum = task_lib.Curriculum(3, 4, 2, 0.5, lambda params, level: 1.0)
    source = {'batch': None, 'sample': sample} if sampled else {'batch': batch}
    task = toy_task.make()._replace(curriculum=curriculum, **source)
    cost.measure(CONFIG, task, repeats=2)
    jax.effects_barrier()
    assert set(levels) == {3}


@pytest.mark.parametrize(('system', 'unit'), [('linux', 1024), ('darwin', 1), ('win32', None)])
def test_the_peak_of_memory_is_in_bytes_where_the_system_counts_it(monkeypatch, system, unit):
    usage = types.SimpleNamespace(ru_maxrss=3_000_000)
    counter = types.SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: usage)
    monkeypatch.setattr(cost, 'resource', counter if unit else None)
    monkeypatch.setattr(cost.sys, 'platform', system)
    peak = cost._peak()
    assert peak == ({'peak_bytes': 3e6 * unit} if unit else {})
    text = ' '.join(cost.describe({'seconds': 1.0, 'per_second': 2.0, **peak}, 'words'))
    assert ('peak memory of this process: ' in text) == bool(peak)


@compilers.needed('gpu')
@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize(('name', 'count'), [('h200', 1), ('h200:2x2', 4)])
def test_an_update_is_planned_for_gpus(task, name, count):
    costs = plan(name, TASKS[task])
    assert costs['devices'] == count
    assert costs['fits'] is True
    assert costs['left_bytes'] == costs['memory_bytes'] - costs['planned_bytes']
    assert 0 < costs['arguments_bytes'] < 10_000
    as_json = cost.as_json(costs)
    assert as_json['program']['total'] > 3
    summed = 'all-reduce' in json.dumps(as_json)
    assert summed == (count > 1)  # gradients, over the devices and nowhere else
    assert any(line.startswith('fits the 151.40 GB') for line in cost.describe(costs, 'words'))


@compilers.needed('gpu')
def test_a_batch_is_split_over_the_devices_of_the_target():
    assert jax.device_count() == 1
    config = dataclasses.replace(CONFIG, batch_size=6)
    message = 'a multiple of the 4 devices, got 6'
    with pytest.raises(errors.RunError, match=message):
        plan('h200:4', TASKS['batches'], config)


@compilers.needed('gpu')
def test_too_small_a_memory_is_said():
    target = targets.read('h200')._replace(memory_bytes=1000)
    costs = cost.plan(CONFIG, TASKS['batches'], target, targets.devices(target))
    assert costs['fits'] is False
    assert any(line.startswith('does not fit') for line in cost.describe(costs, 'words'))


class Refused:
    """What is lowered, but cannot be compiled with some options."""

    def __init__(self, reason, compiled=None):
        self._reason, self._compiled, self.options = reason, compiled, []

    def compile(self, compiler_options):
        self.options.append(compiler_options)
        if self._compiled and len(self.options) == 2:
            return self._compiled
        raise jax.errors.JaxRuntimeError(self._reason)


def test_without_tiles_for_triton_cublas_is_asked():
    compiled = jax.jit(lambda x: x + 1).lower(1.0).compile()
    lowered = Refused("INTERNAL: Couldn't find output tile sizes that satisfy hlo", compiled)
    costs = cost.compile_for(targets.read('h200'), lowered)
    assert costs['without_triton'] is costs['fits'] is True
    timed = {'xla_gpu_autotune_level': '0'}
    assert lowered.options == [timed, timed | {'xla_gpu_enable_triton_gemm': 'False'}]
    assert any('all products by cuBLAS' in line for line in cost.describe(costs, 'words'))


def test_a_compiler_that_refuses_too_large_a_program_is_quoted(monkeypatch):
    reason = 'RESOURCE_EXHAUSTED: Ran out of memory on HBM'
    monkeypatch.setattr(cost, '_lower', lambda *args: Refused(f'{reason}\nand more'))
    costs = cost.plan(CONFIG, TASKS['batches'], targets.read('v5e'), ['a chip'])
    assert costs['fits'] is False
    assert costs['reason'] == reason
    assert f'does not fit the 16.91 GB of each device: {reason}' in cost.describe(costs, 'words')


def test_other_errors_of_a_compiler_are_raised(monkeypatch):
    monkeypatch.setattr(cost, '_lower', lambda *args: Refused('INTERNAL: a defect'))
    with pytest.raises(jax.errors.JaxRuntimeError, match='a defect'):
        cost.plan(CONFIG, TASKS['batches'], targets.read('v5e'), ['a chip'])


@compilers.needed('tpu')
def test_kernels_are_not_counted_on_a_tpu():
    costs = plan('v5e', TASKS['batches'])
    assert 'program' not in costs
    assert 'kernels are counted for GPUs only' in cost.describe(costs, 'words')


def test_shapes_are_split_like_arrays():
    batch = toy_task.batch(0)
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), devices.split(batch, 1))
    assert devices.split_shapes(batch, 1, jax.local_device_count()) == wanted
    shapes = devices.split_shapes(batch, 1, 4)
    assert shapes.inputs.shape == (4, toy_task.T, toy_task.B // 4, toy_task.D)
