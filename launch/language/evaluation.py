"""How well a language model predicts: by split, by the frequency of the word, by unroll length.

Santoro et al. 2018, "Relational recurrent neural networks", Tables 2 and 3 and Figure 12,
https://arxiv.org/abs/1806.01822. A perplexity is that of each word, `<unk>` and `<eos>` among them.
`<unk>` is a word like any other, and easy where it stands for many; so its share is told.

`evaluation.json` in a run's directory:
  program, dataset, core, step, parameters   what was evaluated
  corpus      hex; perplexities are comparable where it is equal
  known       words of the vocabulary
  test        the perplexity of the test split, for tables of all kinds of runs
  splits      by name, valid and test: `words`, `unknown` (the share that is `<unk>`),
              `perplexity`, and `bands`: `words`, `share` and `perplexity` of each band of `BANDS`
  ngrams      by name, unigram and bigram: perplexities by split; empty for very long texts
  unroll      null where it was not measured, else `words` of test, `carried` (their perplexity with
              the state carried on), `lengths`, and `perplexities` with the state anew so often
A perplexity is null where there is no word or where a number is not finite.

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

from launch.language import language_model
from launch.runs import directory, display
from launch.runs import progress as progress_lib
from tasks import base
from tasks.text import ngrams, vocabulary
from tasks.text import streams as streams_lib

FILE = 'evaluation.json'
# How often a word occurs in the training text, from and to, both included.
BANDS: dict[str, tuple[int, float]] = {
    '> 10 K': (10_001, math.inf),
    '1 K - 10 K': (1_000, 10_000),
    '< 1 K': (0, 999),
}
UNROLL_LENGTHS = (25, 50, 100, 200, 300, 500)  # of Figure 12
MAX_NGRAM_TOKENS = 20_000_000  # the n-gram models of longer texts would take longer than they tell
_FIELDS = {'dataset', 'core', 'step', 'corpus', 'known', 'test', 'splits', 'ngrams', 'unroll'}


class Ticker:
    """Shows how many words are read."""

    def __init__(self, progress: progress_lib.Progress, total: int):
        """Has read nothing yet.

        Args:
          progress: where to show it.
          total: words in all.
        """
        self._progress, self._total = progress, total
        self._words = 0
        self(0)

    def __call__(self, words: int) -> None:
        """Counts the words of a window."""
        self._words += words
        self._progress.update('evaluation', self._words, self._total, 'words')


def evaluate(
    score: language_model.Score,
    params: chex.ArrayTree,
    streams: streams_lib.Streams,
    batch_size: int,
    unroll_length: int,
    num_unrolled: int,
) -> dict[str, Any]:
    """Returns what `evaluation.json` says of a model's predictions, and shows the progress.

    Args:
      score: made by `language_model.make_score`.
      params: the parameters.
      streams: the corpus.
      batch_size: streams in which a split is read.
      unroll_length: words of a window.
      num_unrolled: the words of test on which unroll lengths are measured, from its beginning; 0
        for none.
    """
    texts = {'valid': streams.valid, 'test': streams.test}
    cut = streams.test[:num_unrolled]
    num_words = sum(map(len, texts.values())) + len(cut) * len(UNROLL_LENGTHS)
    sizes = batch_size, unroll_length
    with progress_lib.Progress() as progress:
        tick = Ticker(progress, num_words)
        nats = {name: score(params, tokens, *sizes, tick) for name, tokens in texts.items()}
        carried = nats['test'][:num_unrolled]
        unroll = measure_unrolls(score, params, cut, carried, *sizes, tick) if len(cut) else None
    words = streams.vocabulary
    splits = {name: measure_split(nats[name], texts[name], words) for name in texts}
    return {
        'corpus': streams.key,
        'known': len(words),
        'test': splits['test']['perplexity'],
        'splits': splits,
        'ngrams': measure_ngrams(streams, texts),
        'unroll': unroll,
    }


def perplexity(nats: np.ndarray) -> float | None:
    """Returns the perplexity of words, given their nats [N]; None if there is no finite one."""
    mean = float(np.mean(nats, dtype=np.float64)) if len(nats) else math.nan
    return display.perplexity(mean) if math.isfinite(mean) else None


def measure_split(
    nats: np.ndarray, tokens: np.ndarray, words: vocabulary.Vocabulary
) -> dict[str, Any]:
    """Returns what `evaluation.json` says of a split.

    Args:
      nats: [N], of every word.
      tokens: [N] ids.
      words: the vocabulary with its counts in the training text.
    """
    occurrences = words.counts[tokens]  # [N]
    bands = {}
    for name, (least, most) in BANDS.items():
        chosen = nats[(occurrences >= least) & (occurrences <= most)]
        share = len(chosen) / len(nats)
        bands[name] = {'words': len(chosen), 'share': share, 'perplexity': perplexity(chosen)}
    return {
        'words': len(nats),
        'unknown': float(np.mean(np.asarray(tokens) == words.unk)),
        'perplexity': perplexity(nats),
        'bands': bands,
    }


def measure_unrolls(
    score: language_model.Score,
    params: chex.ArrayTree,
    tokens: np.ndarray,
    carried: np.ndarray,
    batch_size: int,
    unroll_length: int,
    on_window: Callable[[int], None],
) -> dict[str, Any]:
    """Returns what `evaluation.json` says of unroll lengths.

    Args:
      score: made by `language_model.make_score`.
      params: the parameters.
      tokens: [N] ids.
      carried: [N] nats with the state carried on.
      batch_size: streams in which the text is read.
      unroll_length: words of a window.
      on_window: as of `language_model.make_score`.
    """
    return {
        'words': len(tokens),
        'carried': perplexity(carried),
        'lengths': list(UNROLL_LENGTHS),
        'perplexities': [
            perplexity(score(params, tokens, batch_size, unroll_length, on_window, length))
            for length in UNROLL_LENGTHS
        ],
    }


def measure_ngrams(
    streams: streams_lib.Streams, texts: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Returns the perplexities of smoothed unigram and bigram models of the training text."""
    if len(streams.train) > MAX_NGRAM_TOKENS:
        return {}
    known, train = len(streams.vocabulary), streams.train
    bigram = ngrams.fit_bigram(train, known, streams.vocabulary.eos)
    return {
        'unigram': {
            name: ngrams.unigram_perplexity(train, tokens, known) for name, tokens in texts.items()
        },
        'bigram': {name: ngrams.perplexity(bigram, tokens) for name, tokens in texts.items()},
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
    path = pathlib.Path(run_dir, FILE)
    evaluation = directory.read_json(path)
    lacks = sorted(_FIELDS - evaluation.keys())
    if evaluation.get('program') == 'lm' and lacks:
        message = f'{path} has no {", ".join(lacks)}: evaluate again with --mode=evaluate'
        raise base.DataError(message)
    return evaluation


def save(run_dir: str, evaluation: Mapping[str, Any]) -> None:
    """Writes `evaluation.json`; unroll lengths measured before, at the same step, stay in it.

    Args:
      run_dir: the run's directory.
      evaluation: what the file shall hold.

    Raises:
      RunError: the file cannot be written.
    """
    path = pathlib.Path(run_dir, FILE)
    try:
        before = directory.read_json(path)
    except base.DataError:  # it is replaced
        before = {}
    same = all(before.get(name) == evaluation[name] for name in ('step', 'corpus', 'splits'))
    unroll = evaluation['unroll'] or (before.get('unroll') if same else None)
    directory.write_json(path, {**evaluation, 'unroll': unroll})
