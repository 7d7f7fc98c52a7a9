"""The network of Nth Farthest, its losses, and the sequences it is trained and measured on."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.training import nth_farthest_config, nth_farthest_model
from tasks import nth_farthest

pytestmark = pytest.mark.usefixtures('compile_quickly')
N, D, B = 5, 3, 7
CONFIG = nth_farthest_config.Config(
    num_objects=N,
    num_dims=D,
    mem_slots=2,
    total_units=16,
    num_heads=2,
    attention_mlp_layers=1,
    gate_style='memory',
    batch_size=B,
    head='distances',
    one_hot_scale=2.0,
)
KEYS = jax.random.split(jax.random.key(5), B)


def test_the_full_task_is_drawn_and_its_one_hots_scaled():
    batch = nth_farthest_model.sample(CONFIG, KEYS)
    questions = nth_farthest.sample(KEYS, N, D)
    np.testing.assert_array_equal(batch.answers[0], questions.answers)
    np.testing.assert_array_equal(batch.n[0], questions.n)
    np.testing.assert_array_equal(batch.m[0], questions.m)
    np.testing.assert_array_equal(batch.inputs[..., :D], questions.vectors)
    np.testing.assert_array_equal(batch.inputs[..., D:], 2 * questions.inputs[..., D:])


def test_what_is_read_has_mean_0_and_variance_1():
    batch = nth_farthest_model.sample(CONFIG, jax.random.split(jax.random.key(1), 8000))
    other = np.arange(N)[:, None] != batch.m
    for values in (np.asarray(batch.vectors), np.asarray(batch.distances)[other]):
        assert values.mean() == pytest.approx(0, abs=0.02)
        assert values.var() == pytest.approx(1, abs=0.04)


def test_vectors_and_distances_are_by_label():
    batch = nth_farthest_model.sample(CONFIG, KEYS)
    questions = nth_farthest.sample(KEYS, N, D)
    for row in range(B):
        shown = dict(zip(questions.labels[:, row].tolist(), questions.vectors[:, row], strict=True))
        m = int(questions.m[row])
        for label, vector in shown.items():
            expected = np.float64(vector) * np.sqrt(3)
            np.testing.assert_allclose(batch.vectors[label, row], expected, rtol=1e-5)
            squared = np.sum((np.float64(vector) - np.float64(shown[m])) ** 2)
            expected = (squared - D * 2 / 3) / np.sqrt(D * 28 / 45)
            assert batch.distances[label, row] == pytest.approx(expected, abs=1e-5)


def test_a_vector_has_been_shown_from_its_step_on():
    batch = nth_farthest_model.sample(CONFIG, KEYS)
    labels = np.asarray(nth_farthest.sample(KEYS, N, D).labels)
    for row in range(B):
        for step in range(N):
            so_far = set(labels[: step + 1, row].tolist())
            assert set(np.flatnonzero(batch.shown[step, row]).tolist()) == so_far


def test_the_loss_is_that_of_a_loop():
    model = nth_farthest_model.make_model(CONFIG)
    params = model.init(jax.random.key(0))
    batch = nth_farthest_model.sample(CONFIG, KEYS)
    value, sums = nth_farthest_model.loss(model, params, batch)
    logits, readings = jax.tree.map(np.float64, model.apply(params, batch.inputs))
    batch = jax.tree.map(np.asarray, batch)
    total = right = of_vectors = of_distances = of_others = of_every_n = 0.0
    for row in range(B):
        answer, m = int(batch.answers[0, row]), int(batch.m[0, row])
        total += _nats(logits[0, row], answer)
        right += logits[0, row].argmax() == answer
        of_every_n += np.mean([_nats(logits[1 + n, row], batch.ranking[n, row]) for n in range(N)])
        vectors, references, distances, questions = [], [], [], []
        asked = np.concatenate([np.eye(N)[int(batch.n[0, row])], np.eye(N)[m]])
        asked = (asked - 1 / N) / np.sqrt((1 - 1 / N) / N)
        for step in range(N):
            shown = np.flatnonzero(batch.shown[step, row]).tolist()
            questions.append(np.mean((readings.question[step, row] - asked) ** 2))
            if m in shown:
                read = readings.reference[step, row]
                references.append(np.mean((read - batch.vectors[m, row]) ** 2))
            for label in shown:
                read = readings.vectors[step, row, label]
                vectors.append(np.mean((read - batch.vectors[label, row]) ** 2))
                if m in shown and label != m:
                    read = readings.distances[step, row, label]
                    distances.append((read - batch.distances[label, row]) ** 2)
        of_vectors += np.mean(vectors)
        of_others += np.mean(references) + np.mean(questions)
        of_distances += np.mean(distances)
    total += of_vectors + of_distances + of_others + of_every_n
    assert float(value.total) == pytest.approx(total, rel=1e-4)
    assert float(value.weight) == B
    assert float(sums['training_accuracy']) == right
    assert float(sums['vector_error']) == pytest.approx(of_vectors, rel=1e-4)
    assert float(sums['distance_error']) == pytest.approx(of_distances, rel=1e-4)


def _nats(logits, answer):
    return np.log(np.sum(np.exp(logits))) - logits[answer]


def test_every_n_has_the_answer_that_it_would_have_if_it_were_asked():
    batch = nth_farthest_model.sample(CONFIG, KEYS)
    questions = nth_farthest.sample(KEYS, N, D)
    for n in range(N):
        ask = jnp.full_like(questions.n, n)
        other = nth_farthest.make_questions(questions.vectors, questions.labels, ask, questions.m)
        np.testing.assert_array_equal(batch.ranking[n], other.answers)


def test_every_n_is_asked_beside_the_distances_that_are_read():
    """Where n and m are read without an error, the question itself is one of those for every n."""
    batch = nth_farthest_model.sample(CONFIG, KEYS)
    one_hots = [(np.eye(N)[x[0]] - 1 / N) / np.sqrt((1 - 1 / N) / N) for x in (batch.n, batch.m)]
    exact = jnp.asarray(np.concatenate(one_hots, axis=-1), jnp.float32)
    readings = nth_farthest_model.Readings(
        batch.vectors, batch.vectors, exact[None], batch.distances.T[None]
    )
    distances, n, m = map(np.asarray, nth_farthest_model._questions(readings))
    assert distances.shape == n.shape == m.shape == (1 + N, B, N)
    np.testing.assert_array_equal(np.concatenate([n[0], m[0]], axis=-1), exact)
    for row, asked in enumerate(batch.n[0].tolist()):
        np.testing.assert_allclose(n[1 + asked, row], n[0, row], atol=1e-6)
    assert len(np.unique(n[1:, 0], axis=0)) == N
    for question in range(1 + N):
        np.testing.assert_array_equal(distances[question], batch.distances.T)
        np.testing.assert_array_equal(m[question], m[0])


def test_labels_are_ranked_by_what_they_are_compared_with():
    """Written out for one label and question after the other; and labels have no order of old."""
    rng = np.random.default_rng(0)
    distances, n, m = (jnp.asarray(rng.normal(size=(2, 3, N)), jnp.float32) for _ in range(3))
    network = hk.without_apply_rng(hk.transform(nth_farthest_model._rank))
    params = network.init(jax.random.key(3), distances, n, m)
    logits = np.asarray(network.apply(params, distances, n, m))
    distances, n, m = (np.asarray(x) for x in (distances, n, m))
    layers = {name: (np.float64(each['w']), np.float64(each['b'])) for name, each in params.items()}
    for place in np.ndindex(2, 3):
        for label in range(N):
            compared = np.zeros(32)
            for other in range(N):
                pair = [x[place][i] for i in (label, other) for x in (distances, m)]
                w, b = layers['pairs']
                compared += np.maximum(np.float64(pair) @ w + b, 0) / N
            hidden = np.concatenate([compared, n[place], m[place][[label]]])
            for name in ('label_mlp/~/linear_0', 'label_mlp/~/linear_1'):
                hidden = np.maximum(hidden @ layers[name][0] + layers[name][1], 0)
            expected = hidden @ layers['rank'][0] + layers['rank'][1]
            assert logits[place][label] == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    order = np.array([3, 1, 4, 0, 2])
    moved = network.apply(params, distances[..., order], n, m[..., order])
    np.testing.assert_allclose(moved, logits[..., order], rtol=1e-5, atol=1e-6)


def test_distances_can_be_read_without_an_error():
    """Of exact vectors the layer of squared units adds up exact distances, for some parameters."""
    batch = nth_farthest_model.sample(CONFIG, KEYS)
    exact = np.concatenate([batch.vectors.swapaxes(0, 1).reshape(B, -1), _m_vector(batch)], axis=1)

    def read(outputs):
        return nth_farthest_model._read(outputs, N, D)

    network = hk.without_apply_rng(hk.transform(read))
    outputs = jnp.asarray(exact)[None]
    params = jax.tree.map(np.zeros_like, network.init(jax.random.key(0), outputs))
    params['vectors']['w'][: N * D] = np.eye(N * D)
    params['reference']['w'][N * D :] = np.eye(D)
    for dim in range(D):
        params['squares']['w'][[dim, D + dim], dim] = 1, -1
        # Squares of what has variance 1: a third of that is a squared distance.
        params['distances']['w'][dim] = 1 / 3 / np.sqrt(D * 28 / 45)
    params['distances']['b'][:] = -D * 2 / 3 / np.sqrt(D * 28 / 45)
    readings = network.apply(params, outputs)
    np.testing.assert_allclose(readings.vectors[0], batch.vectors.swapaxes(0, 1), rtol=1e-6)
    other = np.arange(N)[:, None] != batch.m
    read, expected = np.asarray(readings.distances[0]).T, np.asarray(batch.distances)
    np.testing.assert_allclose(read[other], expected[other], atol=1e-5)


def _m_vector(batch):
    return np.asarray(batch.vectors)[np.asarray(batch.m[0]), np.arange(B)]


def test_the_network_is_the_papers():
    """The core, an MLP of 4 x 256 with ReLU on all of them, and a logit a label."""
    config = dataclasses.replace(CONFIG, head='mlp')
    model = nth_farthest_model.make_model(config)
    params = model.init(jax.random.key(0))
    batch = nth_farthest_model.sample(config, KEYS)
    logits, readings = model.apply(params, batch.inputs)
    assert readings is None
    np.testing.assert_array_equal(model.logits(params, batch.inputs), logits[0])

    def core_alone(inputs):
        core = nth_farthest_model._cores.make(config, D + 3 * N)
        state = core.initial_state(B)
        for step in range(N):
            output, state = core(inputs[step], state)
        return output

    hidden = np.float64(hk.transform(core_alone).apply(params, None, batch.inputs))
    for name in (f'answer_mlp/~/linear_{i}' for i in range(4)):
        hidden = np.maximum(hidden @ np.float64(params[name]['w']) + params[name]['b'], 0)
        assert hidden.shape == (B, 256)
    expected = hidden @ np.float64(params['answer']['w']) + params['answer']['b']
    np.testing.assert_allclose(logits[0], expected, rtol=1e-4, atol=1e-5)


def test_evaluations_are_of_the_full_task_and_of_the_same_sequences():
    model = nth_farthest_model.make_model(CONFIG)
    truth = jnp.zeros((0,))

    def tell(params, inputs):  # a network that knows the answer
        del params
        labels = jnp.argmax(inputs[..., D : D + N], axis=-1)
        n, m = (
            jnp.argmax(inputs[0, :, start : start + N], axis=-1) for start in (D + N, D + 2 * N)
        )
        answers = nth_farthest.make_questions(inputs[..., :D], labels, n, m).answers
        return 50 * jax.nn.one_hot(answers, N)

    knowing = model._replace(logits=tell)
    measure = nth_farthest_model.make_evaluation(CONFIG, knowing)
    result = measure(truth, 450)
    assert result['accuracy'] == 1
    assert result['eval_loss'] == pytest.approx(0, abs=1e-6)
    other = dataclasses.replace(CONFIG, seed=3)
    guessing = model._replace(logits=lambda params, inputs: jnp.ones((inputs.shape[1], N)))
    first, second = (
        nth_farthest_model.make_evaluation(each, guessing)(truth, 450) for each in (CONFIG, other)
    )
    assert first == second
    assert 0 < first['accuracy'] < 0.4
    assert first['eval_loss'] == pytest.approx(np.log(N), rel=1e-5)


def test_a_larger_evaluation_begins_with_the_smaller():
    seen = []
    model = nth_farthest_model.make_model(CONFIG)
    recording = model._replace(logits=lambda params, inputs: jnp.tile(params, (inputs.shape[1], 1)))
    measure = nth_farthest_model.make_evaluation(CONFIG, recording)
    for size in (1, 400, 401):
        seen.append(measure(jnp.eye(N)[0], size)['accuracy'] * size)
    assert seen[0] in (0, 1)
    assert seen[1] <= seen[2] <= seen[1] + 1.001


@pytest.mark.parametrize('head', nth_farthest_config.HEADS)
def test_gradients_reach_every_parameter(head):
    config = dataclasses.replace(CONFIG, head=head)
    for module, leaves in _gradients(config, lambda value, sums: value.total).items():
        for name, leaf in leaves.items():
            assert np.any(leaf), f'{module}/{name}'
            assert np.all(np.isfinite(leaf)), f'{module}/{name}'


def test_no_stage_of_the_head_disturbs_the_one_before():
    def reached(pick):
        grads = _gradients(CONFIG, lambda value, sums: pick(value.total, sums))
        return {module for module, leaves in grads.items() if any(map(np.any, leaves.values()))}

    assert reached(lambda total, sums: sums['distance_error']) == {'squares', 'distances'}
    assert reached(lambda total, sums: sums['vector_error']) == {'relational_memory', 'vectors'}


def _gradients(config, pick):
    model = nth_farthest_model.make_model(config)
    batch = nth_farthest_model.sample(config, KEYS)
    params = model.init(jax.random.key(0))
    grads = jax.grad(lambda p: pick(*nth_farthest_model.loss(model, p, batch)))(params)
    return jax.tree.map(np.asarray, grads)
