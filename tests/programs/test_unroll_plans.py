"""The kernels and the memory of the unrolls, compiled for a GPU: what must not grow unnoticed."""

import pytest

from launch.benchmarks import plans, unrolls
from launch.training import kernels, targets
from tests.support import compilers

pytestmark = compilers.needed('gpu')
TINY = unrolls.Shape(4, 16, 2, 64, 8, 2)
ALL = 'unroll', *[f'unroll, {name}' for name in unrolls.VARIANTS]


def plan(shape, names, variants=()):
    """Returns the plans of some methods for an H200."""
    target = targets.read('h200')
    methods = unrolls.methods(shape, 0, variants)
    chosen = {name: methods[name] for name in names}
    return plans.plan_unrolls(chosen, target, targets.devices(target))


def steps(planned):
    """Returns the kernels of a step of each loop."""
    return [kernels.count(loop.body) for loop in planned['program'].loops]


def test_a_training_step_has_few_kernels_and_never_waits_for_the_host():
    method = plan(TINY, ['unroll, lengths'], ['lengths'])['unroll, lengths']
    forward, back = steps(method['train'])
    assert forward <= 20
    assert back <= 30
    assert kernels.waits(method['train']['program']) == 0
    assert kernels.waits(method['forward']['program']) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'forward', 'back'), [('nth_farthest', 20, 30), ('language_model', 24, 34)]
)
def test_the_paper_s_shapes_have_few_kernels_and_need_little_memory(name, forward, back):
    planned = plan(unrolls.SHAPES[name], [*ALL, 'dynamic_unroll'], unrolls.VARIANTS)
    scratch = {method: result['train']['scratch_bytes'] for method, result in planned.items()}
    plain = scratch['dynamic_unroll']
    for method in ALL[:3]:
        found = steps(planned[method]['train'])
        assert found[0] <= forward
        assert found[1] <= back
        assert kernels.waits(planned[method]['train']['program']) == 0
        assert scratch[method] <= 1.3 * plain
    assert scratch['unroll, remat'] <= 0.5 * plain
