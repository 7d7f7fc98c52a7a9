"""What happens inside the core of a run, and the answers that are shown."""

import haiku as hk
import jax
import numpy as np
import pytest

from launch.inspection import tracing
import relational_rnn
from tests.support import inspected

pytestmark = pytest.mark.usefixtures('compile_quickly')
CORE = {'num_blocks': 2, 'output_gate': True, 'gate_style': 'memory'}


@pytest.fixture(scope='module')
def traced(compile_quickly):
    """Returns a subject whose core has two blocks and all gates, and its trace."""
    subject = inspected.subject(**CORE)
    (trace,) = tracing.trace(subject)
    return subject, trace


def test_the_memory_is_that_of_the_core_step_by_step(traced):
    subject, trace = traced
    step = jax.jit(hk.transform(lambda x, state: subject.make_core()(x, state)).apply)
    assert list(trace.gates) == ['input', 'forget', 'output']
    identity = np.eye(4, 6, dtype=np.float32)
    state = relational_rnn.GatedState(np.zeros_like(identity), identity)
    for t, inputs in enumerate(subject.examples[0].inputs):
        np.testing.assert_allclose(trace.before[t], state.memory, atol=1e-5)
        _, state = step(subject.params, None, inputs, state)
        np.testing.assert_allclose(trace.memory[t], state.memory, atol=1e-5)


def test_the_attention_of_each_block_sums_to_one_over_the_keys(traced):
    attention = traced[1].attention
    assert [block.shape for block in attention] == [(3, 2, 6, 6), (3, 2, 4, 6)]
    for block in attention:
        np.testing.assert_allclose(block.sum(-1), np.ones(block.shape[:-1]), atol=1e-5)
        assert block.std() > 0.01


def test_a_core_without_gates_has_none():
    (trace,) = tracing.trace(inspected.subject(num_steps=1, gate_style=None))
    assert trace.gates == {}


def test_a_core_that_multiplied_in_bfloat16_does_so_here(traced):
    subject, full = traced
    (half,) = tracing.trace(subject._replace(dtype='bfloat16'))
    error = np.abs(full.memory - half.memory).max()
    assert 1e-4 < error < 0.2


@pytest.mark.parametrize(
    ('truth', 'wanted'),
    [(None, 'fbdac'), (5, 'fbdac'), (4, 'fbdace'), (2, 'fbdac')],
)
def test_the_likeliest_answers_come_first_and_the_true_one_is_always_there(truth, wanted):
    probabilities = np.array([0.125, 0.25, 0.0625, 0.125, 0.0, 0.4375])
    probabilities[3] += 1e-3
    answers = tracing.rank_answers(probabilities, 'abcdef'.__getitem__, truth)
    assert ''.join(answer.text for answer in answers) == wanted
    assert answers[1] == tracing.Answer('b', 0.25)
