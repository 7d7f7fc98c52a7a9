"""The classifier: the core's last output through the paper's MLP, in float64 loops."""

import haiku as hk
import jax
import numpy as np
import pytest

from relational_rnn.networks import sequence_classifier

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D, V = 4, 3, 5, 6


def test_the_logits_are_those_of_the_last_step_through_the_papers_mlp():
    inputs = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
    network = hk.without_apply_rng(
        hk.transform(lambda x: sequence_classifier.SequenceClassifier(hk.LSTM(7), V)(x))
    )
    params = network.init(jax.random.key(0), inputs)
    logits = network.apply(params, inputs)
    alone = hk.transform(lambda x: hk.static_unroll(hk.LSTM(7), x, hk.LSTM(7).initial_state(B))[0])
    hidden = np.float64(alone.apply(params, None, inputs)[-1])
    head = 'sequence_classifier/~/head/~/'
    for layer in range(4):
        numbers = params[f'{head}mlp/~/linear_{layer}']
        hidden = np.maximum(hidden @ np.float64(numbers['w']) + numbers['b'], 0)
        assert hidden.shape == (B, 256)
    numbers = params[f'{head}logits']
    wanted = hidden @ np.float64(numbers['w']) + numbers['b']
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-6)


def test_a_head_has_classes():
    make = hk.transform(lambda: sequence_classifier.SequenceClassifier(hk.LSTM(7), 0))
    with pytest.raises(ValueError, match='num_classes is a whole number of at least 1, got 0'):
        make.init(None)
