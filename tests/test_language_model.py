"""Perplexity over a whole split and samples, against words taken one at a time."""

import dataclasses
import math

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import _errors, _language_model, _signals
from tasks import vocabulary

pytestmark = pytest.mark.usefixtures('compile_quickly')
WORDS = vocabulary.Vocabulary(
    ('the', vocabulary.EOS, *(f'w{i}' for i in range(19)), vocabulary.UNK), np.arange(22)[::-1]
)


@pytest.fixture(scope='module')
def model():
    return _language_model.make_model(lambda: hk.LSTM(7), len(WORDS), 18, 0.5, 0.5, adaptive=True)


@pytest.fixture(scope='module')
def params(model, compile_quickly):
    leaves, structure = jax.tree.flatten(model.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [x + jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, noise)


def _one_at_a_time(model, params, tokens, streams):
    """Returns nats a word: each stream from an `<eos>` or the word before it, no windows."""
    step = jax.jit(model.next_word)
    length, total = -(-len(tokens) // streams), 0.0
    for start in range(0, len(tokens), length):
        state = model.initial_state(1)
        before = WORDS.eos if start == 0 else tokens[start - 1]
        for word in tokens[start : start + length]:
            log_probs, state = step(params, jnp.array([before]), state)
            total -= float(log_probs[0, word])
            before = word
    return total / len(tokens)


@pytest.mark.parametrize(('streams', 'unroll_length'), [(1, 5), (3, 4), (50, 2)])
def test_a_split_is_measured_word_by_word_with_its_state_carried(
    model, params, streams, unroll_length
):
    tokens = np.random.default_rng(2).integers(0, len(WORDS), 17).astype(np.uint16)
    measure = _language_model.make_measure(model, WORDS, streams, unroll_length, lambda: None)
    wanted = _one_at_a_time(model, params, tokens, min(streams, len(tokens)))
    assert measure(params, tokens) == pytest.approx(wanted, rel=1e-5)
    assert measure(params, tokens) == measure(params, tokens)


def test_a_measurement_asks_before_every_window_whether_to_go_on(model, params):
    asked = []
    measure = _language_model.make_measure(model, WORDS, 2, 5, lambda: asked.append(1))
    measure(params, np.zeros(23, np.uint16))
    assert len(asked) == 3  # 12 words a stream

    interrupts = _signals.Interrupts()
    interrupts._note(15, None)
    measure = _language_model.make_measure(model, WORDS, 2, 5, interrupts.check)
    with pytest.raises(_errors.RunError, match='stopped by SIGTERM'):
        measure(params, np.zeros(23, np.uint16))


def _generate(model, params, prompt=(), num_words=30, temperature=1.0, top_p=1.0, seed=0):
    return _language_model.generate(
        model, params, WORDS, prompt, num_words, temperature, top_p, seed
    )


def test_samples_depend_on_the_seed_alone_and_begin_with_the_prompt(model, params):
    first, again, other = (_generate(model, params, ['the', 'w3'], seed=seed) for seed in (4, 4, 5))
    assert first == again != other
    assert first.startswith('the w3')
    assert len(first.replace('\n', ' \n ').split(' ')) >= 32


def test_unknown_words_are_never_sampled_and_lines_are_clean():
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


def test_the_text_goes_on_from_the_prompt_and_not_from_its_last_word_alone(model, params):
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


def test_end_of_lines_become_new_lines_without_spaces_round_them():
    log_probs = jnp.full(len(WORDS), -50.0).at[WORDS.eos].set(0.0)
    text = _generate(_Constant(log_probs), {}, ['the', 'w1'], num_words=3)
    assert text == 'the w1\n\n\n'


def test_the_likeliest_word_is_passed_over_if_it_is_unknown():
    log_probs = jnp.full(len(WORDS), -50.0).at[WORDS.unk].set(0.0).at[WORDS.index['w7']].set(-9.0)
    assert _generate(_Constant(log_probs), {}, num_words=2, temperature=0.0) == 'w7 w7'
