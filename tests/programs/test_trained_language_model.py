"""A language model of a run, read and sampled from Python."""

import jax
import numpy as np
import pytest

from launch import lm as program
from launch import trained
from launch.language import model as model_lib
from tests.support import inspected

pytestmark = pytest.mark.usefixtures('compile_quickly')
TEXT = 'the word3 word19 word7 the word1'


@pytest.fixture(scope='module')
def run(tmp_path_factory, compile_quickly):
    root = tmp_path_factory.mktemp('lm')
    inspected.lm_run(root)
    return trained.load(root / 'run')


def test_it_has_all_that_the_run_was_trained_with(run):
    assert isinstance(run, trained.LanguageModel)
    assert (run.program, run.num_updates, run.config.batch_size) == ('lm', 1200, 3)
    assert repr(run) == '<LanguageModel lm, rmc, after 1,200 updates>'
    assert sorted(run.vocabulary.words) == sorted(inspected.WORDS)
    wanted = program.make_model(run.config, len(inspected.WORDS)).init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, run.params, wanted)


def test_words_are_numbered_as_in_the_corpus_and_back(run):
    ids = run.encode('the  word3 never')
    assert [run.vocabulary.words[i] for i in ids] == ['<eos>', 'the', 'word3', '<unk>']
    assert run.decode(run.encode(TEXT)[1:]) == TEXT
    assert run.decode([*run.encode('the'), *run.encode('word1')]) == '\nthe\nword1'


def test_steps_and_parts_of_a_text_give_the_logits_of_the_whole(run):
    ids = run.encode(TEXT)
    whole, last = run.logits(ids)
    assert whole.shape == (7, 24)
    np.testing.assert_allclose(np.exp(whole).sum(axis=1), 1, rtol=1e-5)
    first, state = run.logits(ids[:3])
    rest, state = run.logits(ids[3:], state)
    np.testing.assert_allclose(np.concatenate([first, rest]), whole, rtol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state, last)
    state = run.initial_state()
    for word, wanted in zip(ids, whole, strict=True):
        logits, state = run.step(word, state)
        np.testing.assert_allclose(logits, wanted, rtol=2e-5)
    assert np.abs(whole[1] - whole[5]).max() > 1e-3  # of the same word, in another place


def test_logits_are_those_by_which_the_run_was_evaluated(run):
    ids = run.encode(TEXT)
    score = model_lib.make_score(run.model, run.vocabulary)
    nll = score(run.params, ids[1:], 1, 4)
    logits, _ = run.logits(ids)
    np.testing.assert_allclose(
        [-row[i] for row, i in zip(logits, ids[1:], strict=False)], nll, 2e-5
    )


def test_texts_of_a_batch_do_not_meet(run):
    columns = np.stack([run.encode(TEXT), run.encode('word5 word6 the word8 word9 the')], axis=1)
    both, state = run.logits(columns)
    assert both.shape == (7, 2, 24)
    for b in range(2):
        alone, _ = run.logits(columns[:, b])
        np.testing.assert_allclose(both[:, b], alone, rtol=2e-5)
    logits, _ = run.step([1, 2], state)
    assert logits.shape == (2, 24)


def test_the_likeliest_words_come_with_their_probabilities(run):
    logits = np.log(np.full(24, 0.01))
    logits[[4, 7]] = np.log([0.5, 0.28])
    words = run.vocabulary.words
    wanted = [(words[4], pytest.approx(0.5)), (words[7], pytest.approx(0.28))]
    assert run.likeliest(logits, 2) == wanted


@pytest.mark.parametrize('temperature', [0.0, 1.5])
def test_a_streamed_text_is_the_one_that_the_program_generates(run, temperature):
    how = 12, temperature, 0.8, 3
    words = list(run.stream('the word3', *how))
    assert len(words) == 12
    prompt = ['the', 'word3']
    wanted = model_lib.generate(run.model, run.params, run.vocabulary, prompt, *how)
    assert [*prompt, *words] == wanted
    assert run.generate('the word3', *how) == run.tokenizer.join(wanted)
    if temperature:
        assert list(run.stream('the word3', 12, temperature, 0.8, 4)) != words
