"""Tests of the full and the adaptive softmax against dense references."""

import functools

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational_rnn import losses
from relational_rnn.networks import chunked_softmax, softmax

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, E, V = 7, 3, 6, 29
CUTOFFS = (5, 12)  # tails of 7 and 17 words
SCALE = 0.37  # of every loss, so that the gradient arriving at the sum is not one


def full():
    return softmax.FullSoftmax()


def adaptive():
    return softmax.AdaptiveSoftmax(CUTOFFS, division=2)


MODULES = pytest.mark.parametrize('make', [full, adaptive])


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


@pytest.fixture(scope='module')
def batch():
    return make_batch()


@functools.cache
def make_batch():
    keys = jax.random.split(jax.random.key(5), 3)
    hidden = jax.random.normal(keys[0], (T, B, E))
    targets = jax.random.permutation(keys[1], jnp.arange(T * B) * 7 % V).reshape(T, B)
    weights = jax.random.uniform(keys[2], (T, B)).at[1, 2].set(0).at[5, 0].set(0)
    embeddings = jax.random.normal(jax.random.key(6), (V, E))
    return hidden, targets, weights, embeddings


def transformed(make, function, chunk_size=4):
    """A function of `softmax` with the parameters of a module for its last argument, embeddings."""

    def run(*args):
        params = make()(args[-1])
        if function is softmax.distribution:
            return function(args[0], params)
        return function(*args[:-1], params, chunk_size)

    return hk.without_apply_rng(hk.transform(run))


@functools.cache
def random_params(make):
    """Parameters that are all different from zero."""
    function = transformed(make, softmax.cross_entropy)
    params = jax.eval_shape(function.init, jax.random.key(7), *make_batch())
    rng = np.random.default_rng(8)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), params)


@functools.cache
def dense_gradients(make):
    return gradients(dense, make, random_params(make), make_batch())


def log_softmax(logits):
    return logits - np.log(np.sum(np.exp(logits)))


def reference(params, hidden, embeddings):
    """Log-probabilities of all words given one hidden vector, in float64, word by word."""
    ((_, values),) = params.items()
    p = {name: np.asarray(value, np.float64) for name, value in values.items()}
    hidden, embeddings = np.asarray(hidden, np.float64), np.asarray(embeddings, np.float64)
    if 'clusters' not in p:
        return log_softmax(embeddings @ hidden + p['bias'])
    rows = [*embeddings[: CUTOFFS[0]], *p['clusters']]
    head = log_softmax(np.array([row @ hidden for row in rows]) + p['bias'])
    words = list(head[: CUTOFFS[0]])
    for tail in (1, 2):
        narrow = p[f'tail_{tail}_projection'].T @ hidden
        within = log_softmax(p[f'tail_{tail}_embeddings'] @ narrow + p[f'tail_{tail}_bias'])
        words += [head[CUTOFFS[0] + tail - 1] + x for x in within]
    return np.array(words)


def dense(make, params, batch):
    """The dense route: the weighted sum over the whole distribution."""
    hidden, targets, weights, embeddings = batch
    log_p = transformed(make, softmax.distribution).apply(params, hidden, embeddings)
    return -jnp.sum(weights * jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0])


def by_cross_entropy(make, params, batch, chunk_size=4):
    return transformed(make, softmax.cross_entropy, chunk_size).apply(params, *batch).total


def by_log_probs(make, params, batch, chunk_size=4):
    hidden, targets, weights, embeddings = batch
    function = transformed(make, softmax.log_probs, chunk_size)
    values = function.apply(params, hidden, targets, embeddings)
    return -jnp.sum(weights * values)


def gradients(route, make, params, batch):
    """Value and gradients by parameters, hidden vectors and embeddings."""
    hidden, targets, weights, embeddings = batch

    def loss(params, hidden, embeddings):
        return SCALE * route(make, params, (hidden, targets, weights, embeddings))

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(params, hidden, embeddings)


@MODULES
def test_distribution_and_log_probs_equal_a_float64_reference(make, batch):
    params = random_params(make)
    hidden, targets, _, embeddings = batch
    log_p = jax.jit(transformed(make, softmax.distribution).apply)(params, hidden, embeddings)
    values = jax.jit(transformed(make, softmax.log_probs).apply)(
        params, hidden, targets, embeddings
    )
    chex.assert_shape([log_p, values], [(T, B, V), (T, B)])
    hidden, embeddings, log_p, values = map(np.asarray, (hidden, embeddings, log_p, values))
    for t, b in np.ndindex(T, B):
        want = reference(params, hidden[t, b], embeddings)
        np.testing.assert_allclose(log_p[t, b], want, atol=1e-5)
        np.testing.assert_allclose(values[t, b], want[targets[t, b]], atol=1e-5)


@MODULES
def test_probabilities_of_all_words_sum_to_one(make, batch):
    apply = jax.jit(transformed(make, softmax.distribution).apply)
    for hidden in (batch[0], batch[0][0, 0]):
        log_p = apply(random_params(make), hidden, batch[3])
        chex.assert_shape(log_p, (*hidden.shape[:-1], V))
        np.testing.assert_allclose(jnp.sum(jnp.exp(log_p), axis=-1), 1, rtol=1e-5)


@MODULES
@pytest.mark.parametrize(
    ('route', 'chunk_size'),
    [(by_cross_entropy, 1), (by_cross_entropy, 50), (by_cross_entropy, None), (by_log_probs, 4)],
)
def test_value_and_gradients_equal_the_dense_route(make, route, chunk_size, batch):
    params = random_params(make)
    route = functools.partial(route, chunk_size=chunk_size)
    got = gradients(route, make, params, batch)
    chex.assert_trees_all_close(got, dense_gradients(make), rtol=2e-5, atol=2e-5)


@MODULES
def test_gradients_equal_finite_differences_of_the_reference(make, batch):
    params = random_params(make)
    hidden, targets, weights, embeddings = batch
    _, (_, by_hidden, by_embeddings) = gradients(by_cross_entropy, make, params, batch)

    def loss(hidden, embeddings):
        return -SCALE * sum(
            float(weights[t, b]) * reference(params, hidden[t, b], embeddings)[targets[t, b]]
            for t, b in np.ndindex(T, B)
        )

    step = 1e-5
    rng = np.random.default_rng(9)
    inputs = np.asarray(hidden, np.float64), np.asarray(embeddings, np.float64)
    for argument, grad in enumerate((by_hidden, by_embeddings)):
        direction = rng.normal(size=grad.shape)
        ends = []
        for sign in (1, -1):
            moved = list(inputs)
            moved[argument] = moved[argument] + sign * step * direction
            ends.append(loss(*moved))
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(direction * np.asarray(grad)), slope, rtol=1e-4)


@MODULES
def test_cross_entropy_without_gradient_is_the_same_sum(make, batch):
    params = random_params(make)
    result = jax.jit(transformed(make, softmax.cross_entropy).apply)(params, *batch)
    assert isinstance(result, losses.WeightedSum)
    np.testing.assert_allclose(result.weight, jnp.sum(batch[2]), rtol=1e-6)
    want, _ = gradients(by_cross_entropy, make, params, batch)
    np.testing.assert_allclose(SCALE * result.total, want, rtol=1e-6)


@MODULES
def test_zero_weight_equals_absent(make, batch):
    params = random_params(make)
    hidden, targets, weights, embeddings = batch
    absent = weights == 0
    spoiled = jnp.where(absent[..., None], jnp.nan, hidden), jnp.where(absent, 10**6, targets)
    got = gradients(by_cross_entropy, make, params, (*spoiled, weights, embeddings))
    chex.assert_trees_all_equal(got, gradients(by_cross_entropy, make, params, batch))
    assert not np.any(np.asarray(got[1][1])[np.asarray(absent)])
    nothing = (hidden, targets, jnp.zeros_like(weights), embeddings)
    value, grads = gradients(by_cross_entropy, make, params, nothing)
    assert value == 0
    assert not any(np.any(x) for x in jax.tree.leaves(grads))


@pytest.mark.parametrize('word', [2, 8, 28])
def test_tails_that_get_every_token_or_none_stay_exact(word, batch):
    params = random_params(adaptive)
    hidden, targets, weights, embeddings = batch
    batch = hidden, jnp.full_like(targets, word), weights, embeddings
    got = gradients(by_cross_entropy, adaptive, params, batch)
    chex.assert_trees_all_close(got, gradients(dense, adaptive, params, batch), atol=5e-5)


@MODULES
def test_logits_too_large_for_exp_stay_finite(make, batch):
    params = random_params(make)
    hidden, targets, weights, embeddings = batch
    batch = 200 * hidden, targets, weights, embeddings
    got = gradients(by_cross_entropy, make, params, batch)
    chex.assert_tree_all_finite(got)
    want = gradients(dense, make, params, batch)
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-3)


@MODULES
def test_bfloat16_inputs_are_summed_in_float32(make, batch):
    params = random_params(make)
    hidden, targets, weights, embeddings = batch
    low = hidden.astype(jnp.bfloat16), targets, weights, embeddings.astype(jnp.bfloat16)
    value, grads = gradients(by_cross_entropy, make, params, low)
    assert value.dtype == jnp.float32
    chex.assert_trees_all_equal_dtypes(grads, (params, low[0], low[3]))
    want, want_grads = dense_gradients(make)
    np.testing.assert_allclose(value, want, rtol=0.02)
    for got_leaf, want_leaf in zip(*map(jax.tree.leaves, (grads, want_grads)), strict=True):
        error = jnp.linalg.norm(got_leaf.astype(jnp.float32) - want_leaf)
        assert error < 0.03 * jnp.linalg.norm(want_leaf)


def test_the_full_softmax_in_bfloat16_rounds_only_its_inputs(batch):
    hidden, targets, _, embeddings = batch
    low = hidden.astype(jnp.bfloat16), embeddings.astype(jnp.bfloat16)
    params = [softmax.Params(x, jnp.zeros(V), x[:0]) for x in (low[1], low[1].astype(jnp.float32))]
    with jax.disable_jit():  # compiled, the CPU keeps more digits than it was asked for
        got = softmax.log_probs(low[0], targets, params[0])
    want = softmax.log_probs(low[0].astype(jnp.float32), targets, params[1])
    np.testing.assert_allclose(got, want, atol=1e-5)


@MODULES
def test_parameters_do_not_depend_on_the_function_called_first(make, batch):
    hidden, targets, _, embeddings = batch
    trees = [
        jax.eval_shape(transformed(make, function).init, jax.random.key(1), *args)
        for function, args in (
            (softmax.cross_entropy, batch),
            (softmax.log_probs, (hidden, targets, embeddings)),
            (softmax.distribution, (hidden, embeddings)),
        )
    ]
    chex.assert_trees_all_equal_shapes_and_dtypes(*trees)


def test_gradients_summed_by_pmap_equal_those_of_jit(batch):
    params = random_params(adaptive)
    hidden, targets, weights, embeddings = batch

    def step(params, hidden, targets, weights):
        def loss(params):
            shard = hidden, targets, weights, embeddings
            return SCALE * by_cross_entropy(adaptive, params, shard)

        return jax.lax.psum(jax.value_and_grad(loss)(params), 'd')

    shards = jax.tree.map(lambda x: x[None], (hidden, targets, weights))
    pmapped = jax.pmap(
        step, 'd', in_axes=(None, 0, 0, 0), out_axes=None, devices=jax.local_devices()[:1]
    )
    value, (by_params, _, _) = dense_gradients(adaptive)
    chex.assert_trees_all_close(pmapped(params, *shards), (value, by_params), atol=2e-5)


@MODULES
def test_memory_of_the_training_gradient_does_not_grow_with_tokens_times_words(make):
    vocab_size, chunk_size = 4096, 8

    def scratch_bytes(num_tokens):
        args = (
            jnp.zeros((num_tokens, 1, E)),
            jnp.zeros((num_tokens, 1), int),
            jnp.ones((num_tokens, 1)),
            jnp.zeros((vocab_size, E)),
        )
        function = transformed(make, softmax.cross_entropy, chunk_size)
        params = jax.eval_shape(function.init, jax.random.key(0), *args)
        grad = jax.grad(lambda *args: function.apply(*args).total, argnums=(0, 1, 4))
        compiled = jax.jit(grad).lower(params, *args).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = scratch_bytes(64), scratch_bytes(1024)
    a_few_vectors_a_token = 8 * 4 * E * (1024 - 64)
    assert many - few < a_few_vectors_a_token
    assert few > 4 * chunk_size * (vocab_size - CUTOFFS[1])  # what is measured is there


def test_default_chunks_fit_the_budget_and_are_even():
    assert chunked_softmax.default_chunk_size(640, 33_278) == 640
    assert chunked_softmax.default_chunk_size(640, 267_735) == 107  # 6 chunks of at most 125
    assert chunked_softmax.default_chunk_size(640, chunked_softmax.CHUNK_BYTES) == 1
    assert chunked_softmax.default_chunk_size(0, 10) == 1


def test_default_cutoffs_grow_with_the_vocabulary():
    assert softmax.default_cutoffs(33_278) == (2079, 8319)
    assert softmax.default_cutoffs(267_735) == (16_733, 66_933)
    with pytest.raises(ValueError, match='at least 16 words, got 15'):
        softmax.default_cutoffs(15)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'cutoffs': ()}, r'increasing, above 0 and below the 29 words, got \(\)'),
        ({'cutoffs': (0, 4)}, r'got \(0, 4\)'),
        ({'cutoffs': (9, 9)}, r'got \(9, 9\)'),
        ({'cutoffs': (9, 29)}, r'got \(9, 29\)'),
        ({'cutoffs': CUTOFFS, 'division': 3}, 'got division 3'),
        ({'cutoffs': CUTOFFS, 'division': 0}, 'got division 0'),
        ({'chunk_size': 0, 'division': 2}, 'at least 1 token, got 0'),
    ],
)
def test_bad_options_are_refused_with_one_line(options, message, batch):
    chunk_size = options.pop('chunk_size', None)
    make = functools.partial(softmax.AdaptiveSoftmax, **options)
    function = transformed(make, softmax.cross_entropy, chunk_size)
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(function.init, jax.random.key(0), *batch)
    assert '\n' not in str(error.value)


@MODULES
def test_shapes_that_do_not_fit_are_refused(make, batch):
    hidden, targets, weights, embeddings = batch
    params = random_params(make)
    for bad in (
        (hidden, targets[:2], weights[:2], embeddings),
        (hidden, targets, weights[:, :1], embeddings),
        (hidden, targets.astype(jnp.float32), weights, embeddings),
        (hidden[..., :4], targets, weights, embeddings),
    ):
        with pytest.raises((AssertionError, ValueError)):
            by_cross_entropy(make, params, bad)
