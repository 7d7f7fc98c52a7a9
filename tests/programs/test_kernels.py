"""Kernels are read off compiled programs: texts to count by hand, and what XLA compiles."""

import json

import jax
import jax.numpy as jnp
import pytest

from launch.training import kernels, targets
from tests.support import compilers

TEXT = """\
HloModule jit_f, is_scheduled=true, num_partitions=2

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %add.1 = f32[4]{0} add(%p, %p)
}

%inner_body (t.2: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t.2 = (s32[], f32[4]{0:T(4)}) parameter(0)
  %x.2 = f32[4]{0} get-tuple-element(%t.2), index=1
  %input_reduce_fusion.2 = f32[4]{0} fusion(%x.2), kind=kInput, calls=%fused
  %copy.2 = f32[4]{0} copy(%input_reduce_fusion.2)
  ROOT %tuple.2 = (s32[], f32[4]{0}) tuple(%copy.2, %copy.2)
}

%inner_condition (t.3: (s32[], f32[4])) -> pred[] {
  ROOT %compare.3 = pred[] fusion(%t.3), kind=kLoop, calls=%fused
}

%outer_body (t.4: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t.4 = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %while.4 = (s32[], f32[4]{0}) while(%t.4), condition=%inner_condition, body=%inner_body
  %gemm_fusion_dot.4 = f32[4]{0} fusion(%while.4), kind=kCustom, calls=%fused
  ROOT %cublas.4 = f32[4]{0} custom-call(%t.4), custom_call_target="__cublas$gemm"
}

%outer_condition (t.5: (s32[], f32[4])) -> pred[] {
  ROOT %compare.5 = pred[] fusion(%t.5), kind=kLoop, calls=%fused
}

%rarely (t.6: f32[4]) -> f32[4] {
  ROOT %wrapped_scatter.6 = f32[4]{0} fusion(%t.6), kind=kInput, calls=%fused
}

%often (t.7: f32[4]) -> f32[4] {
  %loop_fusion.7 = f32[4]{0} fusion(%t.7), kind=kLoop, calls=%fused
  ROOT %sort.7 = f32[4]{0} sort(%loop_fusion.7), dimensions={0}, to_apply=%fused
}

%called (t.8: f32[4]) -> f32[4] {
  ROOT %copy.8 = f32[4]{0} copy(%t.8)
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %c = s32[] constant(7)
  %while.9 = (s32[], f32[4]{0}) while(%a), condition=%outer_condition, body=%outer_body, \
backend_config={"known_trip_count":{"n":"5"},"known_init_step":{"init":"0","step":"1"}}
  %call.9 = f32[4]{0} call(%a), to_apply=%called
  %copy.9 = f32[4]{0} copy(%a), metadata={op_name="jit(f)/while(x)"}
  %all-reduce-start.9 = f32[4]{0} all-reduce-start(%a), to_apply=%fused
  %all-reduce-done.9 = f32[4]{0} all-reduce-done(%all-reduce-start.9)
  %bitcast.9 = f32[2,2]{1,0} bitcast(%a)
  ROOT %conditional.9 = f32[4]{0} conditional(%c, %a, %a), branch_computations={%rarely, %often}
}
"""
# One inner step: a reduction, a copy, and the condition, which the host reads.
INNER = kernels.Loop(None, kernels.Block({'elementwise': 1, 'reduction': 1, 'copy': 1}))
OUTER = kernels.Loop(5, kernels.Block({'product': 2}, (INNER,)))
BRANCHES = kernels.Block({'scatter': 1}), kernels.Block({'elementwise': 1, 'sort': 1})
PROGRAM = kernels.Block({'copy': 2, 'all-reduce': 1}, (OUTER,), (BRANCHES,))


def test_a_text_is_read_with_all_that_is_nested():
    assert kernels.read(TEXT) == PROGRAM


def test_all_steps_and_the_longest_branch_are_counted():
    assert kernels.count(OUTER.body) == 2 + 3
    assert kernels.count(PROGRAM) == 3 + 5 * (2 + 3) + (1 + 2)
    nothing = kernels.Block({}, (kernels.Loop(0, BRANCHES[1]),))
    assert kernels.count(nothing) == 0


def test_what_the_host_waits_for_is_counted_once_each():
    assert kernels.waits(PROGRAM) == 2
    assert kernels.waits(OUTER.body) == 1
    assert kernels.waits(INNER.body) == 0


def test_branches_may_be_named_as_true_and_false():
    line = 'branch_computations={%rarely, %often}'
    text = TEXT.replace(line, 'true_computation=%rarely, false_computation=%often')
    assert line not in text
    assert kernels.read(text) == PROGRAM


def test_a_description_hides_nothing():
    assert kernels.describe(PROGRAM) == [
        'the program: 31 kernels, its own 2 copy, 1 all-reduce',
        '  each of 5 steps of a loop: 5 kernels, its own 2 product',
        '    each of an unknown number of steps of a loop: 3 kernels, its own 1 elementwise, '
        '1 reduction, 1 copy',
        '  a branch of a conditional: 1 kernels, its own 1 scatter',
        '  a branch of a conditional: 2 kernels, its own 1 elementwise, 1 sort',
    ]


def test_json_holds_all_of_it():
    found = json.loads(json.dumps(kernels.as_json(PROGRAM)))
    assert found['total'] == 31
    assert found['loops'][0]['steps'] == 5
    assert found['loops'][0]['body']['loops'][0]['steps'] is None
    assert [branch['kernels'] for branch in found['conditionals'][0]] == [
        {'scatter': 1},
        {'elementwise': 1, 'sort': 1},
    ]


def scanned(num_steps):
    """Returns a function with a loop of a product and a norm."""

    def step(x, w):
        x = jnp.tanh(x @ w)
        return x / jnp.sum(x * x, axis=-1, keepdims=True), None

    return lambda x, w: jax.lax.scan(step, x, jnp.broadcast_to(w, (num_steps, *w.shape)))[0]


@pytest.fixture(scope='module')
def compile_for_gpu():
    """Returns what compiles a function of [B, D] and [D, D] for an H200."""
    target = targets.read('h200')
    sharding = targets.first(targets.devices(target))
    shapes = [jax.ShapeDtypeStruct(shape, 'float32', sharding=sharding) for shape in [(64, 32)] * 2]
    shapes[1] = jax.ShapeDtypeStruct((32, 32), 'float32', sharding=sharding)
    return lambda f: jax.jit(f).lower(*shapes).compile(compiler_options=target.compiler_options)


@compilers.needed('gpu')
def test_a_scan_for_an_h200_has_its_steps_and_its_product(compile_for_gpu):
    program = kernels.read(compile_for_gpu(scanned(7)).as_text())
    (loop,) = program.loops
    assert loop.steps == 7
    assert loop.body.kernels['product'] == 1
    assert 2 <= kernels.count(loop.body) <= 5
    assert kernels.waits(program) == 0


@compilers.needed('gpu')
def test_a_loop_that_ends_by_its_values_makes_the_host_wait(compile_for_gpu):
    def until_large(x, w):
        return jax.lax.while_loop(lambda x: jnp.sum(x) < 1e3, lambda x: x @ w + x, x)

    program = kernels.read(compile_for_gpu(until_large).as_text())
    assert [loop.steps for loop in program.loops] == [None]
    assert kernels.waits(program) == 1
    assert program.loops[0].body.kernels['reduction'] >= 1  # the condition's
