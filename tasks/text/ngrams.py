"""Smoothed unigram and bigram models: what a language model has to beat.

The unigram model discounts every count by a constant and distributes the gain uniformly over the
vocabulary. The bigram model is interpolated Kneser-Ney with one absolute discount:

  p(w | v) = max(c(v, w) - d, 0) / c(v) + d * n(v) / c(v) * q(w)

where c counts the training pairs, n(v) is the number of different words that follow v, and q is
the unigram model over continuation counts (how many different words w follows). Discounts are
d = n1 / (n1 + 2 n2), from the numbers of types that occur once and twice. Both sum to one over the
vocabulary. The word before the first word of a text is `<eos>`.

Source: S. F. Chen, J. Goodman: An Empirical Study of Smoothing Techniques for Language Modeling,
1999, section 2, https://doi.org/10.1006/csla.1999.0128

Glossary of shapes:
  V: vocabulary size; N: tokens of a text; P: different pairs of words in the training text.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_CHUNK = 1 << 22  # tokens that are processed at once


class Bigram(NamedTuple):
    """A trained bigram model; a pair (v, w) is numbered v * V + w."""

    pairs: np.ndarray  # [P] int64, sorted
    pair_counts: np.ndarray  # [P] int64, c(v, w)
    context_counts: np.ndarray  # [V] int64, c(v)
    context_types: np.ndarray  # [V] int64, n(v)
    continuation: np.ndarray  # [V] float64, q(w)
    discount: float  # d
    eos: int


def fit_unigram(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Returns the unigram probabilities [V] float64 of a text of word ids [N]."""
    return _discounted(_count_words(tokens, vocab_size))


def fit_bigram(tokens: np.ndarray, vocab_size: int, eos: int) -> Bigram:
    """Trains the bigram model in memory proportional to the number of different pairs.

    Args:
      tokens: [N] word ids.
      vocab_size: V.
      eos: the id of `<eos>`.

    Returns:
      The model.
    """
    pairs, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for contexts, words in _chunks(tokens, eos):
        new_pairs, new_counts = np.unique(contexts * vocab_size + words, return_counts=True)
        pairs, counts = _merge(pairs, counts, new_pairs, new_counts)
    contexts, words = pairs // vocab_size, pairs % vocab_size
    context_counts = np.zeros(vocab_size, np.int64)
    np.add.at(context_counts, contexts, counts)
    return Bigram(
        pairs,
        counts,
        context_counts,
        np.bincount(contexts, minlength=vocab_size),
        _discounted(np.bincount(words, minlength=vocab_size)),
        _discount(counts),
        eos,
    )


def bigram_probabilities(model: Bigram, contexts: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Looks up p(word | context).

    Args:
      model: a trained model.
      contexts: [...] ids of the words before.
      words: [...] ids of the words.

    Returns:
      [...] float64 probabilities.
    """
    numbers = contexts.astype(np.int64) * len(model.continuation) + words
    places = np.minimum(np.searchsorted(model.pairs, numbers), len(model.pairs) - 1)
    counts = np.where(model.pairs[places] == numbers, model.pair_counts[places], 0)
    totals = model.context_counts[contexts]
    kept = np.maximum(counts - model.discount, 0) / np.maximum(totals, 1)
    freed = model.discount * model.context_types[contexts] / np.maximum(totals, 1)
    return kept + np.where(totals > 0, freed, 1) * model.continuation[words]


def unigram_perplexity(probabilities: np.ndarray, tokens: np.ndarray) -> float:
    """Returns the perplexity per word of a text [N], given the probabilities [V] of words."""
    counts = _count_words(tokens, len(probabilities))
    return float(np.exp(-(counts @ np.log(probabilities)) / len(tokens)))


def bigram_perplexity(model: Bigram, tokens: np.ndarray) -> float:
    """Returns the perplexity per word of a text [N]."""
    total = sum(
        float(np.log(bigram_probabilities(model, contexts, words)).sum())
        for contexts, words in _chunks(tokens, model.eos)
    )
    return float(np.exp(-total / len(tokens)))


def _discounted(counts: np.ndarray) -> np.ndarray:
    """[V] counts -> [V] probabilities, interpolated with the uniform distribution."""
    discount = _discount(counts[counts > 0])
    freed = discount * np.count_nonzero(counts) / len(counts)
    return (np.maximum(counts - discount, 0) + freed) / counts.sum()


def _discount(counts: np.ndarray) -> float:
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    if not once:
        return 0.5  # without singletons there is no estimate
    return float(once) / float(once + 2 * twice)


def _count_words(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(tokens), _CHUNK):
        counts += np.bincount(tokens[start : start + _CHUNK], minlength=vocab_size)
    return counts


def _chunks(tokens: np.ndarray, eos: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of neighbours, (previous words, words), of at most a chunk."""
    previous = eos
    for start in range(0, len(tokens), _CHUNK):
        words = np.asarray(tokens[start : start + _CHUNK], np.int64)
        yield np.concatenate([[previous], words[:-1]]), words
        previous = words[-1]


def _merge(
    pairs: np.ndarray, counts: np.ndarray, new_pairs: np.ndarray, new_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    merged, places = np.unique(np.concatenate([pairs, new_pairs]), return_inverse=True)
    totals = np.zeros(len(merged), np.int64)
    np.add.at(totals, places, np.concatenate([counts, new_counts]))
    return merged, totals
