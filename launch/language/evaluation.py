"""How well a language model predicts: by split, by the frequency of the word, by unroll length.

Santoro et al. 2018, "Relational recurrent neural networks", Tables 2 and 3 and Figure 12,
https://arxiv.org/abs/1806.01822. A perplexity is that of each word, `<unk>` and `<eos>` among them.
`<unk>` is a word like any other, and easy where it stands for many; so its share is given.

`evaluation.json` in a run's directory:
  program, core, step, dataset   what was evaluated
  corpus      hex; perplexities are comparable where it is equal
  unit        what a token is: word, subword, character or byte; all that is called a word here is
              a token
  vocab_size  tokens of the vocabulary
  streams     in which a split is read, each from an initial state on: the more, the more words are
              predicted from little; perplexities are comparable where it is equal, too
  test        the perplexity of the test split, for tables of all kinds of runs
  splits      by name, valid and test: `words`, `oov_rate` (the share that is `<unk>`),
              `perplexity`, and `bands`: `words`, `share` and `perplexity` of each band of `BANDS`
  ngrams      by name, unigram and bigram: perplexities by split; empty for very long texts
  texts       by split `words` and `bytes` of the text before it was cut into tokens, and its
              `bits_per_byte` and `perplexity_per_word`, see `measure_text`; null where the prepared
              corpus is of an earlier version, which counted neither
  unroll      null where it was not measured, else `words` of test, `streams`, `carried` (their
              perplexity with the state carried along), `lengths`, and `perplexities` with resets
              so often
  dynamic     null where it was not measured, else perplexities of valid and test by a model that
              learns from the text as it reads it, see `model.make_dynamic_score`: they are no
              perplexities of the trained model; `learning_rate`, `decay`, `window`, `streams`
  sample      a text that the model continued
A perplexity is null where there is no word or where a number is not finite, and one per word of the
text also beyond 2 to the power of 63.

Glossary of shapes:
  N: words of a split; V: words of the vocabulary.
"""

from collections.abc import Callable, Mapping
import math
import os
import pathlib
from typing import Any

import chex
import numpy as np

from launch.language import model
from launch.runs import directory, display, fields, progress
from tasks.text import files, ngrams
from tasks.text import streams as streams_lib
from tasks.text import vocabulary as vocabulary_lib

# How often a word occurs in the training text, from and to, both included.
BANDS: dict[str, tuple[int, float]] = {
    '> 10 K': (10_001, math.inf),
    '1 K - 10 K': (1_000, 10_000),
    '< 1 K': (0, 999),
}
UNROLL_LENGTHS = (25, 50, 100, 200, 300, 500)  # of Figure 12
MAX_NGRAM_TOKENS = 20_000_000  # the n-gram models of longer texts would take too long
_BAND = {'words': int, 'share': fields.NUMBER, 'perplexity': fields.OPTIONAL}
_SPLIT = {
    'words': int,
    'oov_rate': fields.NUMBER,
    'perplexity': fields.OPTIONAL,
    'bands': dict.fromkeys(BANDS, _BAND),
}
_SPLITS = {'valid': _SPLIT, 'test': _SPLIT}
_TEXT = {
    **dict.fromkeys(('words', 'bytes'), int),
    **dict.fromkeys(('bits_per_byte', 'perplexity_per_word'), fields.OPTIONAL),
}
_UNROLL = {
    'words': int,
    'streams': int,
    'carried': fields.OPTIONAL,
    'lengths': [int] * len(UNROLL_LENGTHS),
    'perplexities': [fields.OPTIONAL] * len(UNROLL_LENGTHS),
}
_DYNAMIC = {
    **dict.fromkeys(('learning_rate', 'decay'), fields.NUMBER),
    **dict.fromkeys(('window', 'streams'), int),
    **dict.fromkeys(_SPLITS, fields.OPTIONAL),
}
_SHAPE = {
    **dict.fromkeys(('dataset', 'core', 'corpus'), str),
    **dict.fromkeys(('step', 'vocab_size', 'streams'), int),
    'test': fields.OPTIONAL,
    'splits': _SPLITS,
    'ngrams': fields.Each(dict.fromkeys(_SPLITS, fields.NUMBER)),
    'unroll': (dict, type(None)),
}


def evaluate(
    score: model.Score,
    params: chex.ArrayTree,
    streams: streams_lib.Streams,
    batch_size: int,
    unroll_length: int,
    num_unrolled: int,
    unit: str = 'word',
) -> dict[str, Any]:
    """Returns the part of `evaluation.json` about a model's predictions, and shows the progress.

    Args:
      score: made by `model.make_score`.
      params: the parameters.
      streams: the corpus.
      batch_size: streams in which a split is read.
      unroll_length: words of a window.
      num_unrolled: the words of test on which unroll lengths are measured, from its beginning; 0
        for none.
      unit: what a token is.
    """
    texts = {'valid': streams.valid, 'test': streams.test}
    cut = streams.test[:num_unrolled]
    num_words = sum(map(len, texts.values())) + len(cut) * len(UNROLL_LENGTHS)
    sizes = batch_size, unroll_length
    with progress.Progress() as bar:
        count = _Counter(bar, num_words, f'{unit}s')
        nll = {name: score(params, tokens, *sizes, count) for name, tokens in texts.items()}
        carried = nll['test'][:num_unrolled]
        unroll = measure_unrolls(score, params, cut, carried, *sizes, count) if len(cut) else None
    vocabulary = streams.vocabulary
    splits = {name: measure_split(nll[name], texts[name], vocabulary) for name in texts}
    return {
        'unit': unit,
        'corpus': streams.key,
        'vocab_size': len(vocabulary),
        'streams': batch_size,
        'test': splits['test']['perplexity'],
        'splits': splits,
        'texts': {name: measure_text(nll[name], streams.sizes.get(name)) for name in texts},
        'ngrams': measure_ngrams(streams, texts),
        'unroll': unroll,
    }


class _Counter:
    """Shows how many words of an evaluation are read."""

    def __init__(self, bar: progress.Progress, total: int, units: str):
        self._bar, self._total, self._words, self._units = bar, total, 0, units

    def __call__(self, words: int) -> None:
        """Counts the words of the next window."""
        self._bar.update('evaluation', self._words, self._total, self._units)
        self._words += words


def perplexity(nll: np.ndarray) -> float | None:
    """Returns the perplexity of words of nll [N] in nats; None if there is no finite one."""
    mean = float(np.mean(nll, dtype=np.float64)) if len(nll) else math.nan
    return display.perplexity(mean) if math.isfinite(mean) else None


def measure_split(
    nll: np.ndarray, tokens: np.ndarray, vocabulary: vocabulary_lib.Vocabulary
) -> dict[str, Any]:
    """Returns the part of `evaluation.json` about a split.

    Args:
      nll: [N] nats, of every word.
      tokens: [N] ids.
      vocabulary: with its counts in the training text.
    """
    occurrences = vocabulary.counts[tokens]  # [N]
    bands = {}
    for name, (least, most) in BANDS.items():
        chosen = nll[(occurrences >= least) & (occurrences <= most)]
        share = len(chosen) / len(nll)
        bands[name] = {'words': len(chosen), 'share': share, 'perplexity': perplexity(chosen)}
    return {
        'words': len(nll),
        'oov_rate': float(np.mean(np.asarray(tokens) == vocabulary.unk)),
        'perplexity': perplexity(nll),
        'bands': bands,
    }


def measure_text(nll: np.ndarray, size: files.Size | None) -> dict[str, Any] | None:
    """Returns the part of `evaluation.json` about a text, which any tokens give alike.

    The nll of all tokens, `<eos>` among them, is that of the whole text: divided by the number of
    its bytes and by ln 2 it is bits per byte, by the number of its words the logarithm of a
    perplexity per word. Where tokens leave something out (what `<unk>` stands for, the spaces
    between words) both are lower bounds.

    Args:
      nll: [N] nats, of every token.
      size: of the text; None if it is not known.
    """
    if size is None:
        return None
    total = float(np.sum(nll, dtype=np.float64))
    found: dict[str, Any] = {**size._asdict(), 'bits_per_byte': None, 'perplexity_per_word': None}
    if math.isfinite(total):
        found['bits_per_byte'] = total / math.log(2) / size.bytes
        per_word = display.perplexity(total / size.words) if size.words else math.inf
        found['perplexity_per_word'] = per_word if per_word < fields.LARGEST else None
    return found


def measure_unrolls(
    score: model.Score,
    params: chex.ArrayTree,
    tokens: np.ndarray,
    carried: np.ndarray,
    batch_size: int,
    unroll_length: int,
    count: Callable[[int], None],
) -> dict[str, Any]:
    """Returns the part of `evaluation.json` about unroll lengths.

    Args:
      score: made by `model.make_score`.
      params: the parameters.
      tokens: [N] ids.
      carried: [N] nll in nats with the carried state.
      batch_size: streams in which the text is read.
      unroll_length: words of a window.
      count: as of `model.make_score`.
    """
    return {
        'words': len(tokens),
        'streams': batch_size,
        'carried': perplexity(carried),
        'lengths': list(UNROLL_LENGTHS),
        'perplexities': [
            perplexity(score(params, tokens, batch_size, unroll_length, count, length))
            for length in UNROLL_LENGTHS
        ],
    }


def measure_dynamic(
    network: model.Model,
    params: chex.ArrayTree,
    streams: streams_lib.Streams,
    learning_rate: float,
    decay: float,
    unroll_length: int,
    unit: str,
) -> dict[str, Any]:
    """Returns the part of `evaluation.json` about dynamic evaluation, and shows the progress.

    Args:
      network: the model.
      params: the trained parameters, from which it starts on either split.
      streams: the corpus, of which each split is read as a single stream.
      learning_rate: see `model.make_dynamic_score`.
      decay: as well.
      unroll_length: words of a window.
      unit: what a token is.
    """
    texts = {'valid': streams.valid, 'test': streams.test}
    score = model.make_dynamic_score(network, streams.vocabulary, learning_rate, decay)
    with progress.Progress() as bar:
        count = _Counter(bar, sum(map(len, texts.values())), f'{unit}s')
        nll = {
            name: score(params, tokens, 1, unroll_length, count) for name, tokens in texts.items()
        }
    facts = {'learning_rate': learning_rate, 'decay': decay, 'window': unroll_length, 'streams': 1}
    return {**facts, **{name: perplexity(nll[name]) for name in texts}}


def measure_ngrams(
    streams: streams_lib.Streams, texts: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Returns the perplexities of smoothed unigram and bigram models of the training text."""
    if len(streams.train) > MAX_NGRAM_TOKENS:
        return {}
    size, train = len(streams.vocabulary), streams.train
    unigram = ngrams.fit_unigram(train, size)
    bigram = ngrams.fit_bigram(train, size, streams.vocabulary.eos)
    return {
        'unigram': {
            name: ngrams.unigram_perplexity(unigram, tokens) for name, tokens in texts.items()
        },
        'bigram': {
            name: ngrams.bigram_perplexity(bigram, tokens) for name, tokens in texts.items()
        },
    }


def load(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the `evaluation.json` of any program's run.

    Args:
      run_dir: the run's directory.

    Returns:
      What the file holds; nothing if there is none.

    Raises:
      DataError: the file is damaged, or it is of a language model and lacks something.
    """
    path = pathlib.Path(run_dir, directory.EVALUATION)
    evaluation = directory.read_json(path)
    shape: dict[str, Any] = {'test': fields.OPTIONAL} if 'test' in evaluation else {}
    if evaluation.get('program') == 'lm':
        shape = {**_SHAPE, 'unroll': _UNROLL} if evaluation.get('unroll') else {**_SHAPE}
        if 'texts' in evaluation:  # not in those of earlier versions
            texts = evaluation['texts'] if isinstance(evaluation['texts'], dict) else {}
            each = {name: _TEXT if texts.get(name) else type(None) for name in _SPLITS}
            shape |= {'unit': str, 'texts': each}
        if evaluation.get('dynamic'):
            shape |= {'dynamic': _DYNAMIC}
    fields.check(path, evaluation, shape, 'evaluate again with --mode=evaluate')
    return evaluation
