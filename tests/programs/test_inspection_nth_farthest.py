"""Sequences of `nth_farthest` for an inspection: vectors, and which of them is the answer."""

import jax
import numpy as np
import pytest

from launch.farthest import configuration, learning
from launch.inspection import nth_farthest, tracing
from launch.runs import errors
from tests.support import inspected

pytestmark = pytest.mark.usefixtures('compile_quickly')
SIZES = {'num_objects': 3, 'num_dims': 1, 'mem_slots': 2, 'total_units': 8, 'num_heads': 2}
CONFIG = configuration.Config(**SIZES, attention_mlp_layers=1, one_hot_scale=4.0)


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory, compile_quickly):
    """Returns the directory of a run that no update has changed."""
    run_dir = tmp_path_factory.mktemp('run')
    params = learning.make_network(CONFIG).init(jax.random.key(0))
    inspected.save_run(run_dir, 'nth_farthest', CONFIG, params)
    return str(run_dir)


def test_sequences_are_described_in_the_terms_of_the_task(run_dir):
    subject = nth_farthest.inspect(tracing.Request(run_dir, 4, 40, 1, ''))
    assert subject.title == 'Nth Farthest, after 1,200 updates'
    assert len({example.title for example in subject.examples}) == 4
    assert '3 vectors of 1 dimension come' in subject.about
    assert 'n = 2 vector m itself' in subject.about
    for example in subject.examples:
        assert example.inputs.shape == (3, 1 + 3 * 3)
        assert set(np.unique(example.inputs[:, 1:])) == {0, 4}
        labels = example.inputs[:, 1:4].argmax(axis=1)
        n, m = example.inputs[0, 4:].reshape(2, 3).argmax(axis=1)
        vectors = example.inputs[:, :1]
        np.testing.assert_array_equal(example.points, vectors)
        at = labels.tolist().index(m)
        distances = np.linalg.norm(vectors - vectors[at], axis=1)
        answer = labels[np.argsort(-distances)[n]]
        assert [step.label for step in example.steps] == [f'vector {i + 1}' for i in labels]
        assert [step.truth for step in example.steps] == ['', '', f'vector {answer + 1}']
        assert [bool(step.mark) for step in example.steps] == [i == at for i in range(3)]
        assert f'n = {n}, m = {m + 1}' in example.steps[0].note
        assert len({step.answers for step in example.steps}) == 3  # queried after every step
        for step in example.steps:
            assert sum(each.probability for each in step.answers) == pytest.approx(1, abs=1e-5)


def test_a_prompt_and_too_few_steps_are_refused(run_dir):
    for prompt, max_steps, wanted in (('words', 40, '--prompt'), ('', 2, '--max_steps')):
        with pytest.raises(errors.RunError, match=wanted) as stop:
            nth_farthest.inspect(tracing.Request(run_dir, 1, max_steps, 0, prompt))
        assert stop.value.code == errors.USAGE
