"""What happens inside the core of a run, and which runs can be looked at."""

import haiku as hk
import jax
import numpy as np
import pytest

from launch.inspection import subjects
from launch.runs import directory, errors
import relational_rnn
from tests.support import looked_at

pytestmark = pytest.mark.usefixtures('compile_quickly', 'compile_once')


def _request(run_dir):
    return subjects.Request(str(run_dir), 2, 5, 0, '')


def test_the_memory_is_that_of_the_core_step_by_step():
    make = looked_at.make_core(num_blocks=2, output_gate=True, gate_style='memory')
    subject = looked_at.subject(make)
    step = jax.jit(hk.transform(lambda x, state: make()(x, state)).apply)
    for example, look in zip(subject.examples, subjects.look_inside(subject), strict=True):
        assert list(look.gates) == ['input', 'forget', 'output']
        identity = np.eye(4, 6, dtype=np.float32)
        state = relational_rnn.GatedState(np.zeros_like(identity), identity)
        for t, inputs in enumerate(example.inputs):
            np.testing.assert_allclose(look.before[t], state.memory, atol=1e-5)
            _, state = step(subject.params, None, inputs, state)
            np.testing.assert_allclose(look.memory[t], state.memory, atol=1e-5)


def test_attention_of_each_block_has_rows_that_sum_to_one():
    subject = looked_at.subject(looked_at.make_core(num_blocks=2), lengths=(3,), num_rows=2)
    (look,) = subjects.look_inside(subject)
    assert [block.shape for block in look.attention] == [(3, 2, 6, 6), (3, 2, 4, 6)]
    for block in look.attention:
        np.testing.assert_allclose(block.sum(-1), np.ones(block.shape[:-1]), atol=1e-5)
    assert list(look.gates) == ['input', 'forget']


def test_a_core_without_gates_has_none():
    subject = looked_at.subject(looked_at.make_core(gate_style=None), lengths=(2,))
    assert subjects.look_inside(subject)[0].gates == {}


def test_a_core_that_multiplied_in_bfloat16_does_so_here():
    full, half = (
        subjects.look_inside(looked_at.subject(lengths=(4,), dtype=dtype))[0]
        for dtype in ('float32', 'bfloat16')
    )
    error = np.abs(full.memory - half.memory).max()
    assert 1e-4 < error < 0.2


def test_the_programs_are_those_that_have_a_file():
    assert 'lm' in subjects.programs()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (['os'], 'wanted a run of .*lm.*, got one of os'),
        (['lm', {'core': 'lstm'}], 'wanted a run with --core=rmc, .* got lstm'),
        (None, 'wanted a run with run.json'),
    ],
    ids=['program', 'core', 'missing'],
)
def test_a_run_that_cannot_be_looked_at_gets_one_line(change, message, tmp_path):
    if change is not None:
        description = ['lm', {'core': 'rmc'}, 1, 'words', 1, 'valid_perplexity']
        directory.describe(tmp_path, *change, *description[len(change) :])
    with pytest.raises(errors.RunError, match=message) as error:
        subjects.open_run(_request(tmp_path))
    assert error.value.code == errors.BAD_DATA
