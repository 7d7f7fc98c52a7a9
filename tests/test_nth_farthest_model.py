"""The network of Nth Farthest, its losses, and the sequences it is trained and measured on."""

import dataclasses

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import _nth_farthest_config, _nth_farthest_model
from tasks import nth_farthest

pytestmark = pytest.mark.usefixtures('compile_quickly')
N, D, B = 5, 3, 7
CONFIG = _nth_farthest_config.Config(
    num_objects=N,
    num_dims=D,
    mem_slots=2,
    total_units=16,
    num_heads=2,
    attention_mlp_layers=1,
    gate_style='memory',
    batch_size=B,
    input_scale=2.0,
    distance_weight=0.5,
)
KEYS = jax.random.split(jax.random.key(5), B)


def test_the_full_task_is_drawn_without_a_curriculum_and_scaled():
    batch = _nth_farthest_model.sample(CONFIG, KEYS)
    questions = nth_farthest.sample(KEYS, N, D)
    np.testing.assert_array_equal(batch.answers[0], questions.answers)
    np.testing.assert_allclose(batch.inputs[..., :D], 2 * questions.vectors, rtol=1e-6)
    np.testing.assert_array_equal(batch.inputs[..., D:], questions.inputs[..., D:])


def test_distances_have_mean_0_and_variance_1_whatever_the_dimensions():
    for dims, starts in ((1, '9,10'), (2, '0,10'), (3, '0,0')):
        config = dataclasses.replace(CONFIG, curriculum=starts if starts != '0,0' else '')
        keys = jax.random.split(jax.random.key(1), 8000)
        batch = _nth_farthest_model.sample(config, keys, jnp.int32(1))
        assert np.sum(np.any(np.asarray(batch.inputs[..., :D]) != 0, axis=(0, 1))) == dims
        distances = np.asarray(batch.distances)[np.asarray(batch.seen[-1]).T]
        assert distances.mean() == pytest.approx(0, abs=0.02)
        assert distances.var() == pytest.approx(1, abs=0.04)


def test_the_answer_is_of_the_vectors_that_the_curriculum_shows():
    config = dataclasses.replace(CONFIG, curriculum='10,20')
    batch = _nth_farthest_model.sample(config, KEYS, jnp.int32(3))
    inputs = np.asarray(batch.inputs)
    for row in range(B):
        labels = inputs[:, row, D : D + N].argmax(axis=1)
        n, m = inputs[0, row, D + N :].reshape(2, N).argmax(axis=1)
        distances = np.abs(inputs[:, row, 0] - inputs[labels.tolist().index(m), row, 0])
        assert batch.answers[0, row] == labels[np.argsort(-distances)[n]]


@pytest.mark.parametrize(('step', 'dims'), [(0, 1), (9, 1), (10, 2), (19, 2), (20, 3), (99, 3)])
def test_dimensions_double_when_the_curriculum_says_and_end_with_all(step, dims):
    config = dataclasses.replace(CONFIG, curriculum='10,20')
    batch = _nth_farthest_model.sample(config, KEYS, jnp.int32(step))
    shown = np.any(np.asarray(batch.inputs)[..., :D] != 0, axis=(0, 1))
    assert shown.tolist() == [True] * dims + [False] * (D - dims)


def test_distances_are_asked_of_vectors_seen_once_m_was_seen():
    batch = _nth_farthest_model.sample(CONFIG, KEYS)
    questions = nth_farthest.sample(KEYS, N, D)
    for row in range(B):
        labels = questions.labels[:, row].tolist()
        m = int(questions.m[row])
        for step in range(N):
            so_far = set(labels[: step + 1])
            expected = so_far - {m} if m in so_far else set()
            assert set(np.flatnonzero(batch.seen[step, row]).tolist()) == expected


def test_the_loss_is_that_of_a_loop():
    model = _nth_farthest_model.make_model(CONFIG)
    params = model.init(jax.random.key(0))
    batch = _nth_farthest_model.sample(CONFIG, KEYS)
    value, sums = _nth_farthest_model.loss(CONFIG, model, params, batch)
    logits, distances = jax.tree.map(np.float64, model.apply(params, batch.inputs))
    total = right = errors = 0.0
    for row in range(B):
        answer = int(batch.answers[0, row])
        total += np.log(np.sum(np.exp(logits[row]))) - logits[row, answer]
        right += logits[row].argmax() == answer
        squares = [
            (distances[step, row, label] - float(batch.distances[label, row])) ** 2
            for step in range(N)
            for label in range(N)
            if batch.seen[step, row, label]
        ]
        errors += np.mean(squares)
    assert float(value.total) == pytest.approx(total + 0.5 * errors, rel=1e-4)
    assert float(value.weight) == B
    assert float(sums['training_accuracy']) == right
    assert float(sums['distance_error']) == pytest.approx(errors, rel=1e-4)


def test_the_network_is_the_papers():
    """The core, an MLP of 4 x 256 with ReLU on all of them, and a logit a label."""
    config = dataclasses.replace(CONFIG, distance_weight=0.0)
    model = _nth_farthest_model.make_model(config)
    params = model.init(jax.random.key(0))
    batch = _nth_farthest_model.sample(config, KEYS)
    logits, distances = model.apply(params, batch.inputs)
    assert distances is None
    np.testing.assert_array_equal(model.logits(params, batch.inputs), logits)

    def core_alone(inputs):
        core = _nth_farthest_model._cores.make(config, D + 3 * N)
        state = core.initial_state(B)
        for step in range(N):
            output, state = core(inputs[step], state)
        return output

    hidden = np.float64(hk.transform(core_alone).apply(params, None, batch.inputs))
    for name in ('first', *(f'others/~/linear_{i}' for i in range(3))):
        hidden = np.maximum(hidden @ np.float64(params[name]['w']) + params[name]['b'], 0)
        assert hidden.shape == (B, 256)
    expected = hidden @ np.float64(params['answer']['w']) + params['answer']['b']
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_evaluations_are_of_the_full_task_and_of_the_same_sequences():
    config = dataclasses.replace(CONFIG, curriculum='1000,2000')
    model = _nth_farthest_model.make_model(config)
    truth = jnp.zeros((0,))

    def tell(params, inputs):  # a network that knows the answer of all dimensions
        del params
        labels = jnp.argmax(inputs[..., D : D + N], axis=-1)
        n, m = (
            jnp.argmax(inputs[0, :, start : start + N], axis=-1) for start in (D + N, D + 2 * N)
        )
        answers = nth_farthest.ask(inputs[..., :D], labels, n, m).answers
        return 50 * jax.nn.one_hot(answers, N)

    knowing = model._replace(logits=tell)
    measure = _nth_farthest_model.make_evaluation(config, knowing)
    result = measure(truth, 450)
    assert result['accuracy'] == 1
    assert result['eval_loss'] == pytest.approx(0, abs=1e-6)
    other = dataclasses.replace(config, seed=3)
    guessing = model._replace(logits=lambda params, inputs: jnp.ones((inputs.shape[1], N)))
    first, second = (
        _nth_farthest_model.make_evaluation(each, guessing)(truth, 450) for each in (config, other)
    )
    assert first == second
    assert 0 < first['accuracy'] < 0.4
    assert first['eval_loss'] == pytest.approx(np.log(N), rel=1e-5)


def test_a_larger_evaluation_begins_with_the_smaller():
    seen = []
    model = _nth_farthest_model.make_model(CONFIG)
    recording = model._replace(logits=lambda params, inputs: jnp.tile(params, (inputs.shape[1], 1)))
    measure = _nth_farthest_model.make_evaluation(CONFIG, recording)
    for size in (1, 400, 401):
        seen.append(measure(jnp.eye(N)[0], size)['accuracy'] * size)
    assert seen[0] in (0, 1)
    assert seen[1] <= seen[2] <= seen[1] + 1.001


def test_gradients_reach_every_parameter():
    model = _nth_farthest_model.make_model(CONFIG)
    params = model.init(jax.random.key(0))
    batch = _nth_farthest_model.sample(CONFIG, KEYS)
    grads = jax.grad(lambda p: _nth_farthest_model.loss(CONFIG, model, p, batch)[0].total)(params)
    for module, leaves in grads.items():
        for name, leaf in leaves.items():
            assert np.any(leaf), f'{module}/{name}'
    chex.assert_tree_all_finite(grads)
