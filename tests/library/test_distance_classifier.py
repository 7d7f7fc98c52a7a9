"""The head with auxiliary readings, in float64 loops, and that its stages are apart."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn.networks import distance_classifier

pytestmark = pytest.mark.usefixtures('compile_quickly')
N, D, B = 5, 3, 4


def transformed(method):
    """A method of the network on its own."""

    def run(*args):
        network = distance_classifier.DistanceClassifier(hk.LSTM(7), N, D)
        return getattr(network, method)(*args)

    return hk.without_apply_rng(hk.transform(run))


def one_hots(indices):
    return (np.eye(N)[indices] - 1 / N) / np.sqrt((1 - 1 / N) / N)


def test_standardized_one_hots_have_mean_0_and_variance_1():
    got = distance_classifier.standardize(jnp.eye(N))
    np.testing.assert_allclose(got, one_hots(np.arange(N)), rtol=1e-6)
    np.testing.assert_allclose(got.mean(axis=1), np.zeros(N), atol=1e-6)
    np.testing.assert_allclose(got.var(axis=1), np.ones(N), rtol=1e-6)


def test_every_n_is_asked_together_with_the_distances_that_are_read():
    """Where n and m are read without an error, the question itself is one of those for every n."""
    rng = np.random.default_rng(0)
    n, m, distances = rng.integers(0, N, B), rng.integers(0, N, B), rng.normal(size=(2, B, N))
    exact = np.concatenate([one_hots(n), one_hots(m)], axis=-1).astype(np.float32)
    question = np.stack([-exact, exact])
    readings = distance_classifier.Readings(None, None, jnp.asarray(question), distances)
    got, ns, ms = map(np.asarray, distance_classifier.questions(readings))
    assert got.shape == ns.shape == ms.shape == (1 + N, B, N)
    np.testing.assert_array_equal(np.concatenate([ns[0], ms[0]], axis=-1), exact)
    for row, asked in enumerate(n):
        np.testing.assert_allclose(ns[1 + asked, row], ns[0, row], atol=1e-6)
    assert len(np.unique(ns[1:, 0], axis=0)) == N
    for question in range(1 + N):
        np.testing.assert_array_equal(got[question], np.float32(distances[1]))
        np.testing.assert_array_equal(ms[question], ms[0])


def test_labels_are_ranked_by_comparing_their_distances():
    """Written out for one label and question after the other; and the order of labels is free."""
    rng = np.random.default_rng(0)
    distances, n, m = (jnp.asarray(rng.normal(size=(2, 3, N)), jnp.float32) for _ in range(3))
    network = transformed('rank')
    params = network.init(jax.random.key(3), distances, n, m)
    logits = np.asarray(network.apply(params, distances, n, m))
    distances, n, m = (np.asarray(x) for x in (distances, n, m))
    layers = {name: (np.float64(each['w']), np.float64(each['b'])) for name, each in params.items()}
    layers = {name.removeprefix('distance_classifier/'): each for name, each in layers.items()}
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
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(B, N, D)).astype(np.float32)
    reference = rng.normal(size=(B, D)).astype(np.float32)
    outputs = np.concatenate([vectors.reshape(B, -1), reference], axis=1)[None]
    network = transformed('read')
    params = jax.tree.map(np.zeros_like, network.init(jax.random.key(0), outputs))
    layers = {name.removeprefix('distance_classifier/'): each for name, each in params.items()}
    layers['vectors']['w'][: N * D] = np.eye(N * D)
    layers['reference']['w'][N * D :] = np.eye(D)
    for dim in range(D):
        layers['squares']['w'][[dim, D + dim], dim] = 1, -1
        layers['distances']['w'][dim] = 0.5
    layers['distances']['b'][:] = -2
    readings = network.apply(params, outputs)
    np.testing.assert_allclose(readings.vectors[0], vectors, rtol=1e-6)
    squared = ((vectors - reference[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(readings.distances[0], 0.5 * squared - 2, rtol=1e-5, atol=1e-5)


def test_no_gradient_passes_from_a_stage_to_the_one_before():
    inputs = np.random.default_rng(2).normal(size=(N, B, D)).astype(np.float32)
    network = transformed('__call__')
    params = network.init(jax.random.key(0), inputs)

    @jax.jit
    def gradients(params):
        (logits, readings), pull_back = jax.vjp(lambda p: network.apply(p, inputs), params)
        nothing = jax.tree.map(jnp.zeros_like, readings)
        found = {'logits': pull_back((jnp.cos(logits), nothing))}
        for field in readings._fields:
            one = nothing._replace(**{field: jnp.cos(getattr(readings, field))})
            found[field] = pull_back((jnp.zeros_like(logits), one))
        return logits, readings, {k: v[0] for k, v in found.items()}

    logits, readings, found = gradients(params)
    modules = {
        output: {
            name.removeprefix('distance_classifier/')
            for name, leaves in grads.items()
            if np.any(leaves['w'])
        }
        for output, grads in found.items()
    }
    assert logits.shape == (1 + N, B, N)
    assert [x.shape for x in readings] == [(N, B, N, D), (N, B, D), (N, B, 2 * N), (N, B, N)]
    assert modules == {
        'logits': {'pairs', 'rank', 'label_mlp/~/linear_0', 'label_mlp/~/linear_1'},
        'vectors': {'lstm/linear', 'vectors'},
        'reference': {'lstm/linear', 'reference'},
        'question': {'lstm/linear', 'question'},
        'distances': {'squares', 'distances'},
    }
