"""The nll of a whole text and samples, against words taken one at a time."""

import dataclasses
import math

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import lm
from launch.language import model as model_lib
from tasks.text import tokenizing, vocabulary

pytestmark = pytest.mark.usefixtures('compile_quickly')
WORDS = vocabulary.Vocabulary(
    ('the', vocabulary.EOS, *(f'w{i}' for i in range(19)), vocabulary.UNK), np.arange(22)[::-1]
)

JOIN = tokenizing.make('words').join


@pytest.fixture(scope='module')
def model():
    return model_lib.make(lambda: hk.LSTM(7), len(WORDS), 18, 0.5, 0.5, adaptive=True)


@pytest.fixture(scope='module')
def params(model, compile_quickly):
    leaves, structure = jax.tree.flatten(model.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [x + jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, noise)


def _one_at_a_time(model, params, tokens, starts):
    """Returns the nll of each word [N], read alone, with the state reset at the starts."""
    step = jax.jit(model.next_word)
    nll, before = [], WORDS.eos
    for place, word in enumerate(tokens):
        if place in starts:
            state = model.initial_state(1)
        log_probs, state = step(params, jnp.array([before]), state)
        nll.append(-float(log_probs[0, word]))
        before = word
    return nll


def _tokens(size):
    return np.random.default_rng(2).integers(0, len(WORDS), size).astype(np.uint16)


@pytest.mark.parametrize(('streams', 'unroll_length'), [(1, 5), (3, 4), (50, 2)])
def test_each_word_is_scored_in_the_order_of_the_text_with_the_state_carried(
    model, params, streams, unroll_length
):
    tokens = _tokens(17)
    score = model_lib.make_score(model, WORDS)
    length = -(-len(tokens) // min(streams, len(tokens)))
    wanted = _one_at_a_time(model, params, tokens, range(0, len(tokens), length))
    nll = score(params, tokens, streams, unroll_length)
    assert nll.dtype == np.float32
    np.testing.assert_allclose(nll, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(nll, score(params, tokens, streams, unroll_length))


@pytest.mark.parametrize('reset_every', [1, 3, 4, 100])
@pytest.mark.parametrize(('streams', 'unroll_length'), [(1, 5), (3, 4), (7, 2)])
def test_a_state_is_reset_by_the_place_in_the_text_however_it_is_cut(
    model, params, streams, unroll_length, reset_every
):
    tokens = _tokens(23)
    score = model_lib.make_score(model, WORDS)
    wanted = _one_at_a_time(model, params, tokens, range(0, len(tokens), reset_every))
    nll = score(params, tokens, streams, unroll_length, None, reset_every)
    np.testing.assert_allclose(nll, wanted, rtol=1e-5, atol=1e-5)


def test_a_state_cannot_be_reset_every_zero_words(model, params):
    score = model_lib.make_score(model, WORDS)
    with pytest.raises(ValueError, match='wanted reset_every >= 1 or None: got 0'):
        score(params, _tokens(5), 2, 2, None, 0)


def test_all_lengths_and_resets_share_one_compiled_window(model, params):
    traced = []

    def log_probs(*args):
        traced.append(1)
        return model.log_probs(*args)

    score = model_lib.make_score(model._replace(log_probs=log_probs), WORDS)
    for reset_every in (None, 3, 4):
        score(params, _tokens(31), 2, 5, None, reset_every)
    score(params, _tokens(26), 2, 5)
    assert len(traced) == 1


def test_the_words_of_every_window_are_counted(model, params):
    counts = []
    score = model_lib.make_score(model, WORDS)
    score(params, np.zeros(23, np.uint16), 2, 5, counts.append)
    assert counts == [10, 10, 3]  # 12 words a stream, the second has 11


def test_dynamic_evaluation_that_does_not_learn_is_ordinary_evaluation(model, params):
    dynamic = model_lib.make_dynamic_score(model, WORDS, learning_rate=0.0, decay=0.3)
    score = model_lib.make_score(model, WORDS)
    for streams in (1, 3):
        wanted = score(params, _tokens(23), streams, 5)
        found = dynamic(params, _tokens(23), streams, 5)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5)


def test_dynamic_evaluation_steps_down_the_gradient_of_each_window_after_measuring_it(
    model, params
):
    tokens, rate, decay = _tokens(12), 0.2, 0.3
    gradient = jax.jit(jax.grad(lambda params, *args: model.cross_entropy(params, *args)[0].total))
    read = jax.jit(model.log_probs)
    now, state, wanted = params, model.initial_state(1), []
    inputs = np.int32([WORDS.eos, *tokens[:-1]])
    for start in (0, 5, 10):
        window = slice(start, min(start + 5, 12))
        size = window.stop - start
        text = inputs[window][:, None], np.int32(tokens[window])[:, None]
        resets = np.zeros((size, 1), bool)
        nll, after = read(now, *text, resets, state)
        wanted += [-float(x) for x in nll[:, 0]]
        grads = gradient(now, *text, np.ones((size, 1), np.float32), resets, state)
        step = lambda p, g, p0: p - rate * g / size + decay * (p0 - p)  # noqa: B023, E731
        now, state = jax.tree.map(step, now, grads, params), after
    before = jax.tree.map(np.array, params)
    score = model_lib.make_dynamic_score(model, WORDS, rate, decay)
    np.testing.assert_allclose(score(params, tokens, 1, 5), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(score(params, tokens, 1, 5), wanted, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal(params, before)
    plain = model_lib.make_score(model, WORDS)(params, tokens, 1, 5)
    np.testing.assert_allclose(plain[:5], wanted[:5], rtol=1e-5)
    assert np.abs(plain[5:] - wanted[5:]).min() > 1e-3


def test_dynamic_evaluation_learns_a_text_that_repeats_itself(model, params):
    tokens = np.tile(_tokens(4), 30)
    dynamic = model_lib.make_dynamic_score(model, WORDS, 0.2, 0.001)(params, tokens, 1, 4)
    plain = model_lib.make_score(model, WORDS)(params, tokens, 1, 4)
    assert dynamic[-40:].mean() < 0.5 * plain[-40:].mean()


def _generate(model, params, prompt=(), num_words=30, temperature=1.0, top_p=1.0, seed=0):
    how = num_words, temperature, top_p, seed
    return JOIN(model_lib.generate(model, params, WORDS, prompt, *how))


def test_samples_depend_on_the_seed_alone_and_begin_with_the_prompt(model, params):
    first, again, other = (_generate(model, params, ['the', 'w3'], seed=seed) for seed in (4, 4, 5))
    assert first == again != other
    assert first.startswith('the w3')
    assert len(first.replace('\n', ' \n ').split(' ')) >= 32


def test_unk_is_never_sampled_and_lines_are_clean():
    text = _generate(_Constant(jnp.zeros(len(WORDS))), {}, num_words=400)
    assert set(text.split()) == set(WORDS.words) - {vocabulary.UNK, vocabulary.EOS}
    assert '\n\n' in text
    assert [line for line in text.split('\n') if line != line.strip()] == []


def test_temperature_zero_takes_the_likeliest_word_every_time(model, params):
    state, word, wanted = model.initial_state(1), WORDS.eos, []
    log_probs, state = model.next_word(params, jnp.array([word]), state)
    for _ in range(6):
        allowed = np.array(log_probs[0])
        allowed[WORDS.unk] = -math.inf
        wanted.append(int(allowed.argmax()))
        log_probs, state = model.next_word(params, jnp.array([wanted[-1]]), state)
    got = _generate(model, params, num_words=6, temperature=0.0, seed=3)
    lines = ' '.join(WORDS.decode(wanted)).replace(vocabulary.EOS, '\n')
    assert got.split() == lines.split()
    assert got == _generate(model, params, num_words=6, temperature=0.0, seed=8)


def test_the_text_continues_the_prompt_and_not_its_last_word_alone(model, params):
    texts = {
        _generate(model, params, [first, 'w2'], temperature=0.0).split('w2', 1)[1]
        for first in ('the', 'w5', 'w9', 'w11')
    }
    assert len(texts) > 1


@dataclasses.dataclass
class _Constant:
    """A model whose next word is fixed, whatever was before."""

    log_probs: chex.Array  # [V]

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, 1))

    def next_word(self, params, words, state):
        return jnp.broadcast_to(self.log_probs, (len(words), len(self.log_probs))), state


def test_ends_of_lines_become_new_lines_without_spaces_around_them():
    log_probs = jnp.full(len(WORDS), -50.0).at[WORDS.eos].set(0.0)
    text = _generate(_Constant(log_probs), {}, ['the', 'w1'], num_words=3)
    assert text == 'the w1\n\n\n'


def test_the_likeliest_word_is_passed_over_if_it_is_unk():
    log_probs = jnp.full(len(WORDS), -50.0).at[WORDS.unk].set(0.0).at[WORDS.index['w7']].set(-9.0)
    assert _generate(_Constant(log_probs), {}, num_words=2, temperature=0.0) == 'w7 w7'


def test_a_model_in_bfloat16_has_the_same_parameters_and_state_and_rounds_its_products(
    model, params
):
    sizes = len(WORDS), 18, 0.5, 0.5
    low = model_lib.make(lambda: hk.LSTM(7), *sizes, adaptive=True, dtype='bfloat16')
    made = jax.eval_shape(low.init, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(made, params)
    word, state = jnp.array([4]), model.initial_state(1)
    chex.assert_trees_all_equal(low.initial_state(1), state)
    got, wanted = (m.next_word(params, word, state)[0] for m in (low, model))
    assert 0 < np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()


def test_each_dropout_of_the_flags_changes_training_and_nothing_else():
    """Without keys, as in evaluations, nothing is dropped."""
    start = lm.Config(core='lstm', lstm_size=5, embedding_size=16, dropout=0)
    flags = [{}, {'dropout': 0.5}, {'dropout': 0.5, 'variational_dropout': True}]
    flags += [{'output_dropout': 0.5}, {'output_dropout': 0.5, 'variational_dropout': True}]
    flags += [{'embedding_dropout': 0.5}]
    ids = np.random.default_rng(0).integers(0, len(WORDS), (2, 4, 3)).astype(np.int32)
    batch = *ids, np.ones((4, 3), np.float32), np.zeros((4, 3), bool)
    keys = jax.random.split(jax.random.key(0), 3)
    params = lm.make_model(start, len(WORDS)).init(jax.random.key(1))
    losses = {'with': [], 'without': []}
    for changed in flags:
        model = lm.make_model(dataclasses.replace(start, **changed), len(WORDS))
        state = model.initial_state(3)
        for name, given in (('with', keys), ('without', None)):
            loss = model.cross_entropy(params, *batch, state, given)[0].total
            losses[name].append(float(loss))
    assert len(set(losses['with'])) == len(flags)
    assert set(losses['without']) == {losses['with'][0]}
