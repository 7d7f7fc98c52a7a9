"""The language model: stepping word by word, dropout by batch element, products in bfloat16."""

import contextlib
import functools

import chex
import haiku as hk
import jax
import jax.extend
import jax.numpy as jnp
import jmp
import numpy as np
import optax
import pytest

import relational_rnn
from relational_rnn.networks import language_model, precision, softmax

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, V, E = 5, 3, 37, 18
CORES = {
    'lstm': lambda: hk.LSTM(7),
    'rmc': lambda: relational_rnn.RelationalMemory(mem_slots=2, head_size=3, num_heads=4),
    'transformer': lambda: relational_rnn.Transformer(2, 3, 4, memory_size=4),
}
SOFTMAXES = {'full': softmax.FullSoftmax, 'adaptive': softmax.AdaptiveSoftmax}


def _transformed(core, kind='full', dropout=0.0, output_dropout=0.0, dtype='float32', **more):
    """Returns the model as an initialiser and four pure functions."""

    def build():
        model = language_model.LanguageModel(
            CORES[core](), V, E, dropout, output_dropout, SOFTMAXES[kind](), dtype, **more
        )

        def init():
            words = jnp.zeros((1, 1), jnp.int32)
            model.cross_entropy(words, words, jnp.ones((1, 1)), words > 0, model.initial_state(1))

        return init, (model.initial_state, model.cross_entropy, model.log_probs, model.next_word)

    return hk.multi_transform(build)


@functools.cache
def _params(core, kind):
    """Returns parameters whose biases are not zero."""
    params = jax.jit(_transformed(core, kind).init)(jax.random.key(1))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noise = [0.3 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    return jax.tree.map(jnp.add, params, jax.tree.unflatten(structure, noise))


@functools.cache
def _model(core, kind='full', dropout=0.0, output_dropout=0.0, dtype='float32'):
    """Returns the parameters and the model as pure functions."""
    apply = _transformed(core, kind, dropout, output_dropout, dtype).apply
    initial_state, *functions = apply
    return (
        _params(core, kind),
        functools.partial(initial_state, {}, None),
        *(jax.jit(lambda params, *args, f=f: f(params, None, *args)) for f in functions),
    )


def _batch(steps=T, seed=1):
    rng = np.random.default_rng(seed)
    inputs, targets = rng.integers(0, V, (2, steps, B)).astype(np.int32)
    weights = rng.uniform(0.2, 2, (steps, B)).astype(np.float32)
    resets = rng.uniform(size=(steps, B)) < 0.3
    return inputs, targets, weights, resets


def _log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _stepped(core, params, batch, state):
    """Returns the log-probabilities of the targets, [T, B], one word after another in NumPy."""
    inputs, targets, _, resets = batch
    apply = jax.jit(hk.without_apply_rng(hk.transform(lambda *args: CORES[core]()(*args))).apply)
    double = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    embeddings = double['language_model']['embeddings']
    projection = double['language_model/~/projection']
    result = np.zeros(inputs.shape)
    start = state
    for t in range(len(inputs)):
        fresh = np.asarray(resets[t])
        state = jax.tree.map(
            lambda s, i, fresh=fresh: np.where(fresh.reshape(-1, *[1] * (s.ndim - 1)), i, s),
            state,
            start,
        )
        output, state = apply(params, jnp.asarray(embeddings[inputs[t]], jnp.float32), state)
        hidden = np.asarray(output, np.float64) @ projection['w'] + projection['b']
        logits = hidden @ embeddings.T + double['full_softmax']['bias']
        result[t] = _log_softmax(logits)[np.arange(B), targets[t]]
    return result


@pytest.mark.parametrize('core', CORES)
def test_the_loss_is_that_of_stepping_word_by_word(core):
    params, initial_state, cross_entropy, *_ = _model(core)
    batch, state = _batch(), initial_state(B)
    wanted = _stepped(core, params, batch, state)
    value, _ = cross_entropy(params, *batch, state)
    np.testing.assert_allclose(value.total, -(batch[2] * wanted).sum(), rtol=2e-5)
    np.testing.assert_allclose(value.weight, batch[2].sum(), rtol=1e-6)


def test_two_windows_with_carried_state_are_one_long_window():
    params, initial_state, cross_entropy, *_ = _model('rmc')
    batch = _batch(2 * T)
    whole, last = cross_entropy(params, *batch, initial_state(B))
    state, total = initial_state(B), 0.0
    for half in (slice(None, T), slice(T, None)):
        value, state = cross_entropy(params, *(x[half] for x in batch), state)
        total += value.total
    np.testing.assert_allclose(total, whole.total, rtol=1e-5)
    chex.assert_trees_all_close(state, last, rtol=1e-5, atol=1e-6)


def test_without_the_carried_state_the_second_window_differs():
    params, initial_state, cross_entropy, *_ = _model('rmc')
    batch = (*_batch()[:3], np.zeros((T, B), bool))
    first, state = cross_entropy(params, *batch, initial_state(B))
    second, _ = cross_entropy(params, *batch, state)
    assert abs(first.total - second.total) > 1e-2


def test_a_reset_starts_its_row_anew_and_no_other():
    params, initial_state, _, log_probs, _ = _model('rmc')
    inputs, targets, _, _ = _batch()
    resets = np.zeros((T, B), bool)
    resets[2, 1] = True
    plain, _ = log_probs(params, inputs, targets, np.zeros((T, B), bool), initial_state(B))
    reset, _ = log_probs(params, inputs, targets, resets, initial_state(B))
    late = np.roll(inputs, -2, axis=0), np.roll(targets, -2, axis=0)
    alone, _ = log_probs(params, *late, np.zeros((T, B), bool), initial_state(B))
    np.testing.assert_allclose(reset[2:, 1], alone[:-2, 1], rtol=1e-5)
    np.testing.assert_array_equal(reset[:, [0, 2]], plain[:, [0, 2]])
    np.testing.assert_array_equal(reset[:2, 1], plain[:2, 1])
    assert np.abs(reset[2:, 1] - plain[2:, 1]).min() > 1e-4


@pytest.mark.parametrize(('core', 'kind'), [('rmc', 'full'), ('lstm', 'adaptive')])
def test_next_word_agrees_with_the_loss(core, kind):
    params, initial_state, cross_entropy, log_probs, next_word = _model(core, kind)
    inputs, targets, weights, _ = _batch()
    resets = np.zeros((T, B), bool)
    wanted, _ = log_probs(params, inputs, targets, resets, initial_state(B))
    value, _ = cross_entropy(params, inputs, targets, weights, resets, initial_state(B))
    state = initial_state(B)
    for t in range(T):
        distribution, state = next_word(params, inputs[t], state)
        assert distribution.shape == (B, V)
        np.testing.assert_allclose(np.exp(distribution).sum(-1), np.ones(B), rtol=1e-5)
        got = np.take_along_axis(distribution, targets[t][:, None], 1)[:, 0]
        np.testing.assert_allclose(got, wanted[t], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(value.total, -(weights * wanted).sum(), rtol=1e-5)


def test_embeddings_get_gradients_as_inputs_and_as_weights_of_the_softmax():
    params, initial_state, cross_entropy, *_ = _model('lstm')
    inputs, targets = np.full((T, B), 4, np.int32), np.full((T, B), 9, np.int32)
    batch = inputs, targets, np.ones((T, B), np.float32), np.zeros((T, B), bool)

    def loss(params):
        return cross_entropy(params, *batch, initial_state(B))[0].total

    embeddings = params['language_model']['embeddings']
    grad = jax.grad(loss)(params)['language_model']['embeddings']
    for word in (4, 9, 20):  # read, predicted, and neither: only the softmax knows the last
        column = np.zeros((V, E), np.float32)
        column[word] = 1e-2
        plus, minus = (
            {**params, 'language_model': {'embeddings': embeddings + sign * column}}
            for sign in (1, -1)
        )
        slope = (loss(plus) - loss(minus)) / 2e-2
        np.testing.assert_allclose(grad[word].sum(), slope, rtol=2e-2, atol=2e-3)
        assert np.abs(grad[word]).max() > 1e-3


def test_dropout_of_a_row_depends_on_its_key_alone():
    x = np.random.default_rng(0).normal(size=(T, 4, E)).astype(np.float32)
    keys = jax.random.split(jax.random.key(3), 4)
    whole = language_model.dropout(x, 0.4, keys, salt=0)
    for rows in (slice(0, 2), slice(2, 4), slice(3, 4)):
        part = language_model.dropout(x[:, rows], 0.4, keys[rows], salt=0)
        np.testing.assert_array_equal(part, whole[:, rows])
    masks = np.asarray(whole) != 0
    assert not np.array_equal(masks[:, 0], masks[:, 1])
    assert not np.array_equal(masks[0], masks[1])
    other = np.asarray(language_model.dropout(x, 0.4, keys, salt=1)) != 0
    assert not np.array_equal(other, masks)


def test_dropout_scales_what_stays_and_preserves_the_mean():
    x = np.full((40, 30, 20), 1.5, np.float32)
    dropped = np.asarray(
        language_model.dropout(x, 0.25, jax.random.split(jax.random.key(4), 30), salt=0)
    )
    values = np.unique(dropped)
    np.testing.assert_allclose(values, [0.0, 2.0], rtol=1e-6)
    assert abs((dropped == 0).mean() - 0.25) < 0.01  # 24,000 draws: a deviation is 0.003
    assert abs(dropped.mean() - 1.5) < 0.03


def test_a_variational_mask_is_the_same_at_all_steps_and_preserves_the_mean():
    x = np.full((7, 30, 40), 1.5, np.float32)
    keys = jax.random.split(jax.random.key(4), 30)
    dropped = np.asarray(language_model.dropout(x, 0.25, keys, salt=0, variational=True))
    np.testing.assert_array_equal(dropped, np.broadcast_to(dropped[:1], x.shape))
    np.testing.assert_allclose(np.unique(dropped), [0.0, 2.0], rtol=1e-6)
    assert len(np.unique(dropped[0], axis=0)) == 30  # each element has its own
    assert abs(dropped.mean() - 1.5) < 0.15  # 1,200 draws: a deviation is 0.025
    part = language_model.dropout(x[:, 3:5], 0.25, keys[3:5], salt=0, variational=True)
    np.testing.assert_array_equal(part, dropped[:, 3:5])


def test_other_masks_are_those_of_earlier_versions():
    """The same bits, of the key, the salt and the shape of an element, for runs that resume."""
    x = np.random.default_rng(0).normal(size=(T, B, E)).astype(np.float32)
    keys = jax.random.split(jax.random.key(3), B)
    dropped = language_model.dropout(x, 0.4, keys, salt=1)
    for b, key in enumerate(keys):
        kept = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.6, (T, E))
        np.testing.assert_array_equal(dropped[:, b], np.where(kept, x[:, b] / np.float32(0.6), 0))


def test_a_word_is_dropped_wherever_an_element_has_it_or_nowhere():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 50, (200, 40)).astype(np.int32)
    x = rng.uniform(1, 2, (200, 40, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(4), 40)
    drop = functools.partial(language_model.word_dropout, rate=0.25, salt=2)
    dropped = np.asarray(drop(x, words, keys=keys))
    kept = (dropped != 0).any(axis=2)
    np.testing.assert_allclose(dropped, np.where(kept[..., None], x / 0.75, 0), rtol=1e-6)
    fates = np.full((40, 50), -1)  # of the words of each element
    for b in range(40):
        for word in np.unique(words[:, b]):
            (fates[b, word],) = np.unique(kept[words[:, b] == word, b])
    assert abs((fates == 1).sum() / (fates >= 0).sum() - 0.75) < 0.04  # 2,000: a deviation is 0.01
    assert len(np.unique(fates, axis=0)) == 40
    part = drop(x[5:9, 3:5], words[5:9, 3:5], keys=keys[3:5])
    np.testing.assert_array_equal(part, dropped[5:9, 3:5])
    assert drop(x, words, keys=None) is x
    assert drop(x, words, keys=keys, rate=0.0) is x


@pytest.mark.parametrize('variational', [False, True])
def test_words_embeddings_and_output_have_masks_of_their_own(monkeypatch, variational):
    salts = []

    def dropout(x, rate, keys, salt, over_time):
        salts.append(salt)
        assert (rate, over_time) == ({0: 0.5, 1: 0.3}[salt], variational)
        return x

    def word_dropout(x, words, rate, keys, salt):
        salts.append(salt)
        assert (words.shape, rate) == ((T, B), 0.2)
        return x

    monkeypatch.setattr(language_model, 'dropout', dropout)
    monkeypatch.setattr(language_model, 'word_dropout', word_dropout)
    params, initial_state, *_ = _model('lstm')
    more = {'embedding_dropout': 0.2, 'variational_dropout': variational}
    _, cross_entropy, *_ = _transformed('lstm', 'full', 0.5, 0.3, **more).apply
    keys = jax.random.split(jax.random.key(5), B)
    jax.eval_shape(
        lambda *args: cross_entropy(params, None, *args), *_batch(), initial_state(B), keys
    )
    assert len(salts) == len(set(salts)) == 3


def test_dropout_needs_keys_and_a_rate():
    x = np.ones((T, B, E), np.float32)
    assert language_model.dropout(x, 0.5, None, salt=0) is x
    assert language_model.dropout(x, 0.0, jax.random.split(jax.random.key(0), B), salt=0) is x


@pytest.mark.parametrize(('dropout', 'output_dropout'), [(0.5, 0.3), (0.0, 0.3)])
def test_dropout_in_the_model_is_on_with_keys_and_off_without(dropout, output_dropout):
    params, initial_state, cross_entropy, *_ = _model('lstm', 'full', dropout, output_dropout)
    plain = _model('lstm')[2]
    batch, state = _batch(), initial_state(B)
    keys = jax.random.split(jax.random.key(5), 2 * B)
    clean = cross_entropy(params, *batch, state)[0].total
    assert clean == plain(params, *batch, state)[0].total
    first, second = (
        cross_entropy(params, *batch, state, part)[0].total for part in (keys[:B], keys[B:])
    )
    assert len({float(clean), float(first), float(second)}) == 3
    assert first == cross_entropy(params, *batch, state, keys[:B])[0].total


def test_rows_of_the_model_do_not_depend_on_how_a_batch_is_split():
    params, initial_state, cross_entropy, *_ = _model('lstm', 'full', 0.5, 0.3)
    batch, keys = _batch(), jax.random.split(jax.random.key(6), B)
    whole = cross_entropy(params, *batch, initial_state(B), keys)[0].total
    parts = [
        cross_entropy(params, *(x[:, [b]] for x in batch), initial_state(1), keys[b : b + 1])[0]
        for b in range(B)
    ]
    np.testing.assert_allclose(sum(part.total for part in parts), whole, rtol=1e-5)


def test_inputs_and_resets_of_other_shapes_are_refused():
    params, initial_state, cross_entropy, *_ = _model('lstm')
    inputs, targets, weights, resets = _batch()
    with pytest.raises(AssertionError):
        cross_entropy(params, inputs, targets, weights, resets[:, :2], initial_state(B))
    with pytest.raises(AssertionError):
        cross_entropy(params, inputs[0], targets, weights, resets[0], initial_state(B))


# --- bfloat16


def _equations(jaxpr):
    """All equations of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _equations(inner)


@functools.cache
def _update(core, dtype):
    """An update of the parameters: loss, next state, gradients, parameters, moments."""
    _, _, cross_entropy, *_ = _model(core, dtype=dtype)

    def run(params, moments, batch, state):
        def loss(params):
            value, after = cross_entropy(params, *batch, state)
            return value.total / value.weight, after

        (value, after), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optax.adam(1e-2).update(grads, moments)
        return value, after, grads, optax.apply_updates(params, updates), moments

    return jax.jit(run)


def _start(core):
    params, initial_state, *_ = _model(core)
    return params, optax.adam(1e-2).init(params), initial_state(B)


def _flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(tree))])


@pytest.mark.parametrize('core', ['lstm', 'rmc'])
def test_in_bfloat16_loss_gradients_and_state_are_near_and_kept_in_float32(core):
    params, moments, state = _start(core)
    made = jax.eval_shape(_transformed(core, dtype='bfloat16').init, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(made, params)
    wanted, got = (
        _update(core, dtype)(params, moments, _batch(), state) for dtype in ('float32', 'bfloat16')
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(got, wanted)
    assert 0 < abs(got[0] - wanted[0]) < 1e-2 * wanted[0]
    chex.assert_trees_all_close(got[1], wanted[1], rtol=0, atol=0.1)
    values = max(jax.tree.leaves(got[1]), key=np.size)
    values = values[values != 0]
    assert np.mean(values.astype(jnp.bfloat16).astype(jnp.float32) != values) > 0.5
    one, other = _flat(got[2]), _flat(wanted[2])
    assert one @ other > 0.99 * np.linalg.norm(one) * np.linalg.norm(other)


def test_in_bfloat16_the_loss_of_a_transformer_is_near():
    params, _, state = _start('transformer')
    wanted, got = (
        _model('transformer', dtype=dtype)[2](params, *_batch(), state)[0].total
        for dtype in ('float32', 'bfloat16')
    )
    assert 0 < abs(got - wanted) < 1e-2 * wanted


@pytest.mark.parametrize('core', ['lstm', 'rmc'])
def test_in_bfloat16_a_toy_text_is_learned_as_in_float32(core):
    text = np.random.default_rng(3).integers(0, 5, (T + 1, B)).astype(np.int32)
    batch = text[:-1], text[1:], np.ones((T, B), np.float32), np.zeros((T, B), bool)
    losses = {}
    for dtype in ('float32', 'bfloat16'):
        params, moments, state = _start(core)
        losses[dtype] = []
        for _ in range(30):
            loss, _, _, params, moments = _update(core, dtype)(params, moments, batch, state)
            losses[dtype].append(float(loss))
    np.testing.assert_allclose(losses['bfloat16'], losses['float32'], rtol=0.05, atol=0.02)
    assert losses['bfloat16'][-1] < 0.5 * losses['bfloat16'][0]


def _dtypes(function, args, names, batched=True):
    """Returns what kinds of arrays go into primitives of these names, a set for each use."""
    equations = _equations(jax.make_jaxpr(function)(*args).jaxpr)
    found = [equation for equation in equations if equation.primitive.name in names]
    if not batched:  # products of two arrays of a batch: attention
        found = [equation for equation in found if not equation.params['dimension_numbers'][1][0]]
    return [{variable.aval.dtype.name for variable in equation.invars} for equation in found]


@pytest.mark.parametrize('core', CORES)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_all_products_are_in_the_dtype_and_all_else_in_float32(core, dtype):
    batched = core != 'transformer'  # whose attention stays float32
    params, moments, state = _start(core)
    _, _, _, log_probs, next_word = _model(core, dtype=dtype)
    inputs, targets, _, resets = _batch()
    programs = [
        (log_probs, (params, inputs, targets, resets, state)),
        (next_word, (params, inputs[0], state)),
    ]
    update = _update(core, dtype), (params, moments, _batch(), state)
    for program in programs:
        products = _dtypes(*program, ['dot_general'], batched)
        assert len(products) > 2
        assert all(factors == {dtype} for factors in products)
    # Where sums are float32, as in attention, so are their gradients, which are factors going back.
    assert all(dtype in factors for factors in _dtypes(*update, ['dot_general'], batched))
    for program in (*programs, update):
        others = _dtypes(*program, ['exp', 'rsqrt', 'logistic', 'tanh', 'log'])
        assert len(others) > 2
        assert all(dtypes == {'float32'} for dtypes in others)


def test_policies_end_with_the_context_and_those_of_the_user_come_back():
    mine = jmp.get_policy('params=float32,compute=float16,output=float32')
    with hk.mixed_precision.push_policy(hk.Linear, mine):
        with contextlib.suppress(ZeroDivisionError), precision.multiplying_in(jnp.bfloat16):
            assert hk.mixed_precision.get_policy(hk.Linear).compute_dtype == jnp.bfloat16
            raise ZeroDivisionError
        assert hk.mixed_precision.get_policy(hk.Linear) == mine
        with precision.multiplying_in(jnp.float32):
            assert hk.mixed_precision.get_policy(hk.Linear) == mine
    assert all(hk.mixed_precision.get_policy(module) is None for module in precision.MULTIPLIERS)


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match='dtype is float32 or bfloat16, got float16'):
        hk.transform(
            lambda: language_model.LanguageModel(hk.LSTM(7), V, E, dtype=jnp.float16)
        ).init(None)
