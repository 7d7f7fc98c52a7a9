"""Questions of Nth Farthest to the network of a run."""

import jax
import numpy as np
import pytest

from launch import trained
from launch.farthest import learning
from tasks import nth_farthest
from tests.support import untrained_runs

pytestmark = pytest.mark.usefixtures('compile_quickly')


@pytest.mark.parametrize('head', ['mlp', 'distances'])
def test_the_answers_are_those_of_the_programs_own_batches(head, tmp_path):
    run_dir, config = untrained_runs.questions(tmp_path, head=head)
    run = trained.load(run_dir)
    assert isinstance(run, trained.NthFarthest)
    keys = jax.random.split(jax.random.key(1), 40)
    sampled = nth_farthest.sample(keys, 3, 2)
    network = learning.make_network(config)
    inputs = learning.sample(config, keys).inputs
    wanted = network.apply(run.params, inputs)[0][0]
    asked = sampled.vectors, sampled.labels, sampled.n, sampled.m
    np.testing.assert_allclose(run.logits(*asked), wanted, rtol=1e-4, atol=1e-4)
    answers = run.predict(*asked)
    np.testing.assert_array_equal(answers, np.argmax(wanted, axis=1))
    assert len(set(np.asarray(answers).tolist())) > 1


def test_other_sizes_than_the_runs_are_refused(tmp_path):
    run = trained.load(untrained_runs.questions(tmp_path)[0])
    labels = np.array([[0], [1], [2]])
    for shape in ((3, 1, 5), (4, 1, 2), (3, 2)):
        with pytest.raises(ValueError, match=r'wanted \[3, B, 2\] as in training'):
            run.logits(np.zeros(shape), labels, [0], [1])
