"""Perplexities by split, by frequency and by unroll length, against literals and loops."""

import math

import numpy as np
import pytest

from launch.language import evaluation as evaluation_lib
from launch.runs import directory
from tasks import base
from tasks.text import files, ngrams, vocabulary
from tasks.text import streams as streams_lib

# Ids by rank: one word of each side of each boundary, and two that do not occur in train.
COUNTS = (30_000, 10_001, 10_000, 1_000, 999, 7, 0, 0)
WORDS = vocabulary.Vocabulary(
    ('the', vocabulary.EOS, 'a', 'b', 'c', vocabulary.UNK, 'd', 'e'), np.array(COUNTS)
)
BAND_OF = ('> 10 K', '> 10 K', '1 K - 10 K', '1 K - 10 K', '< 1 K', '< 1 K', '< 1 K', '< 1 K')


def _text(size, seed=0):
    """Returns ids [N] and their nll [N]."""
    rng = np.random.default_rng(seed)
    nll = rng.uniform(0.1, 9, size).astype(np.float32)
    return rng.integers(0, len(WORDS), size).astype(np.uint16), nll


def test_perplexity_is_a_mean_in_float64():
    assert evaluation_lib.perplexity(np.log(np.array([2.0, 8.0]))) == pytest.approx(4)
    nll = np.full(2**21, 0.1, np.float32)
    assert math.log(evaluation_lib.perplexity(nll)) == pytest.approx(
        float(np.float32(0.1)), rel=1e-9
    )


@pytest.mark.parametrize('nll', [[], [1.0, math.nan], [1.0, math.inf]])
def test_there_is_no_perplexity_of_nothing_or_of_what_is_not_finite(nll):
    assert evaluation_lib.perplexity(np.array(nll, np.float32)) is None


def test_a_split_is_measured_by_how_often_its_words_occur_in_train():
    tokens, nll = _text(301)
    measured = evaluation_lib.measure_split(nll, tokens, WORDS)
    for name, band in measured['bands'].items():
        own = [float(x) for token, x in zip(tokens, nll, strict=True) if BAND_OF[token] == name]
        assert band['words'] == len(own) > 0
        assert band['share'] == len(own) / 301
        assert band['perplexity'] == pytest.approx(math.exp(sum(own) / len(own)), rel=1e-12)
    assert list(measured['bands']) == ['> 10 K', '1 K - 10 K', '< 1 K']
    assert sum(band['words'] for band in measured['bands'].values()) == measured['words'] == 301
    assert measured['oov_rate'] == list(tokens).count(WORDS.unk) / 301
    assert measured['perplexity'] == pytest.approx(math.exp(np.mean(nll, dtype=float)))


def test_an_empty_band_has_no_perplexity():
    tokens, nll = np.array([2, 3, 2], np.uint16), np.array([1.0, 2.0, 3.0], np.float32)
    bands = evaluation_lib.measure_split(nll, tokens, WORDS)['bands']
    assert bands['> 10 K'] == bands['< 1 K'] == {'words': 0, 'share': 0.0, 'perplexity': None}
    assert bands['1 K - 10 K']['perplexity'] == pytest.approx(math.exp(2))


class _Score:
    """Scores a word by its id, and by its place since the state was reset."""

    def __init__(self):
        self.calls = []

    def __call__(self, params, tokens, batch_size, unroll_length, count=None, reset_every=None):
        self.calls.append((len(tokens), batch_size, unroll_length, reset_every))
        if count:
            count(len(tokens))
        places = np.arange(len(tokens)) % (reset_every or len(tokens))
        return (params + np.asarray(tokens) + 1 / (1 + places)).astype(np.float32)


def _streams():
    splits = [_text(size, seed)[0] for seed, size in enumerate((4001, 703, 911))]
    return streams_lib.Streams(WORDS, *splits, key='c0ffee')


def _evaluate(score, streams, num_unrolled):
    return evaluation_lib.evaluate(score, 0.5, streams, 3, 20, num_unrolled)


def test_each_split_is_scored_once_and_unroll_lengths_only_where_asked_for():
    score, streams = _Score(), _streams()
    evaluation = _evaluate(score, streams, 0)
    assert score.calls == [(703, 3, 20, None), (911, 3, 20, None)]
    assert evaluation['unroll'] is None
    carried = score(0.5, streams.test, 3, 20)
    assert evaluation['test'] == evaluation_lib.perplexity(carried)
    assert evaluation['splits']['test'] == evaluation_lib.measure_split(
        carried, streams.test, WORDS
    )
    assert (evaluation['corpus'], evaluation['vocab_size']) == ('c0ffee', len(WORDS))
    assert evaluation['streams'] == 3


def test_unroll_lengths_are_those_of_the_figure_on_the_beginning_of_test():
    score, streams = _Score(), _streams()
    unroll = _evaluate(score, streams, 600)['unroll']
    lengths = [25, 50, 100, 200, 300, 500]
    assert score.calls[2:] == [(600, 3, 20, length) for length in lengths]
    carried = score(0.5, streams.test, 3, 20)[:600]
    assert (unroll['words'], unroll['streams'], unroll['lengths']) == (600, 3, lengths)
    assert unroll['carried'] == evaluation_lib.perplexity(carried)
    cut = score(0.5, streams.test[:600], 3, 20, None, 25)
    assert unroll['perplexities'][0] == evaluation_lib.perplexity(cut)
    assert unroll['perplexities'] == sorted(unroll['perplexities'], reverse=True)
    assert unroll['perplexities'][-1] > unroll['carried']


def test_n_gram_models_are_measured_too_except_of_very_long_texts(monkeypatch):
    streams = _streams()
    measured = _evaluate(_Score(), streams, 0)['ngrams']
    bigram = ngrams.fit_bigram(streams.train, len(WORDS), WORDS.eos)
    assert measured['bigram']['test'] == ngrams.bigram_perplexity(bigram, streams.test)
    unigram = ngrams.fit_unigram(streams.train, len(WORDS))
    assert measured['unigram']['valid'] == ngrams.unigram_perplexity(unigram, streams.valid)
    assert measured['bigram']['valid'] != measured['bigram']['test']
    monkeypatch.setattr(evaluation_lib, 'MAX_NGRAM_TOKENS', 4000)
    assert _evaluate(_Score(), streams, 0)['ngrams'] == {}


def test_the_words_of_all_windows_are_counted_to_the_end(monkeypatch):
    shown = []
    monkeypatch.setattr(
        evaluation_lib.progress.Progress, 'update', lambda self, *values: shown.append(values)
    )
    _evaluate(_Score(), _streams(), 600)
    total, begins = 703 + 911 + 6 * 600, [0, 703, *range(703 + 911, 703 + 911 + 6 * 600, 600)]
    assert shown == [('evaluation', begin, total, 'words') for begin in begins]


def _saved(folder, **changes):
    """Saves and returns an evaluation as a run does."""
    facts = {'program': 'lm', 'dataset': 'text', 'core': 'rmc', 'step': 60}
    evaluation = {**facts, **_evaluate(_Score(), _streams(), 600), **changes}
    directory.write_json(folder / directory.EVALUATION, evaluation)
    return evaluation


def test_an_evaluation_is_read_as_it_was_saved(tmp_path):
    assert evaluation_lib.load(tmp_path) == {}
    evaluation = _saved(tmp_path)
    assert evaluation_lib.load(tmp_path) == evaluation


def test_a_damaged_evaluation_is_refused(tmp_path):
    path = tmp_path / 'evaluation.json'
    path.write_text('{"program": "lm"')
    with pytest.raises(base.DataError, match=r'evaluation\.json cannot be read'):
        evaluation_lib.load(tmp_path)
    path.write_text('{"program": "lm", "core": "rmc"}')
    with pytest.raises(base.DataError, match=r'has no corpus, dataset, .*--mode=evaluate'):
        evaluation_lib.load(tmp_path)


def test_an_evaluation_of_another_program_may_hold_anything(tmp_path):
    (tmp_path / 'evaluation.json').write_text('{"program": "farthest", "test": 0.5}')
    assert evaluation_lib.load(tmp_path) == {'program': 'farthest', 'test': 0.5}


def test_bits_per_byte_and_perplexity_per_word_are_those_of_the_text():
    nll = np.full(6, math.log(4), np.float32)  # 12 bits
    found = evaluation_lib.measure_text(nll, files.Size(words=3, bytes=8))
    assert found['bits_per_byte'] == pytest.approx(1.5)
    assert found['perplexity_per_word'] == pytest.approx(16)
    assert (found['words'], found['bytes']) == (3, 8)
    assert evaluation_lib.measure_text(nll, None) is None


@pytest.mark.parametrize(('nll', 'words'), [(math.nan, 3), (1.0, 0), (60.0, 1)])
def test_there_is_no_perplexity_per_word_that_cannot_be_read_again(nll, words):
    found = evaluation_lib.measure_text(np.array([nll]), files.Size(words, 8))
    assert found['perplexity_per_word'] is None
    assert (found['bits_per_byte'] is None) == math.isnan(nll)


def test_numbers_about_the_text_are_read_as_they_were_saved_and_checked(tmp_path):
    streams = _streams()._replace(sizes={'test': files.Size(500, 3000)})
    evaluation = _evaluate(_Score(), streams, 0)
    assert evaluation['texts']['valid'] is None
    total = math.log(evaluation['test']) * len(streams.test)
    assert evaluation['texts']['test']['bits_per_byte'] == pytest.approx(total / math.log(8) / 1000)
    assert _saved(tmp_path, texts=evaluation['texts']) == evaluation_lib.load(tmp_path)
    for damaged in ({'valid': None, 'test': {'words': 3}}, {'valid': None}, [3]):
        _saved(tmp_path, texts=damaged)
        with pytest.raises(base.DataError, match='texts'):
            evaluation_lib.load(tmp_path)
