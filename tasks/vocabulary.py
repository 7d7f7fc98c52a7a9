"""Words and their numbers.

A vocabulary is counted once over a stream of words. Ids are ranks by frequency: id 0 is the most
frequent word, and equally frequent words stand in the order of their code points, so the same
words give the same ids everywhere (and an adaptive softmax can cut the ids into bands). Two words
are always there and are ranked like all others: `<eos>`, the end of a line or paragraph, and
`<unk>`, which stands for every word left out. A corpus that spells them out means the same words.

Glossary of shapes:
  V: vocabulary size; N: number of words.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
import dataclasses
import functools
import itertools
import os
import pathlib

import numpy as np

from tasks import base

UNK = '<unk>'
EOS = '<eos>'


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words a model knows, most frequent first."""

    words: tuple[str, ...]  # [V]
    counts: np.ndarray  # [V] int64, occurrences in the counted text, words left out under <unk>

    def __post_init__(self) -> None:
        missing = [word for word in (UNK, EOS) if word not in self.index]
        if missing or not len(self.words) == len(self.counts) == len(self.index):
            raise ValueError(
                f'a vocabulary holds {UNK}, {EOS}, no word twice and one count a word: got '
                f'{len(self.words)} words, {len(self.index)} of them different, '
                f'{len(self.counts)} counts, without {missing}'
            )

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """The id of every word."""
        return {word: rank for rank, word in enumerate(self.words)}

    @property
    def unk(self) -> int:
        """The id of `<unk>`."""
        return self.index[UNK]

    @property
    def eos(self) -> int:
        """The id of `<eos>`."""
        return self.index[EOS]

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """Turns N words into ids.

        Args:
          words: [N] words; those that are not in the vocabulary become `<unk>`.

        Returns:
          [N] int32 ids.
        """
        ids = map(self.index.get, words, itertools.repeat(self.unk))
        return np.fromiter(ids, np.int32, len(words))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Turns N ids into words.

        Args:
          ids: [N] ids, each in [0, V).

        Returns:
          [N] words.
        """
        return [self.words[i] for i in ids]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one line a word, `word<TAB>count`, in the order of the ids.

        Args:
          path: the UTF-8 file to write.
        """
        lines = map('{}\t{}\n'.format, self.words, self.counts)
        pathlib.Path(path).write_text(''.join(lines), encoding='utf-8', newline='\n')


def count(blocks: Iterable[Sequence[str]]) -> Counter[str]:
    """Counts words, holding one block and the counts in memory.

    Args:
      blocks: lists of words, of any length.

    Returns:
      How often each word occurs.
    """
    counts: Counter[str] = Counter()
    for words in blocks:
        counts.update(words)
    return counts


def from_counts(counts: Counter[str], size: int | None = None) -> Vocabulary:
    """Ranks counted words.

    Args:
      counts: how often each word occurs.
      size: the most words to keep, `<unk>` and `<eos>` included; None or 0 keeps all.

    Returns:
      The vocabulary of the most frequent words; the count of `<unk>` is that of all words left out.

    Raises:
      ValueError: the size has no room for a word beside `<unk>` and `<eos>`.
    """
    if size and size < 3:
        raise ValueError(f'vocab_size holds {UNK}, {EOS} and words: wanted 0 (all) or >= 3: {size}')
    ranked = _ranked(counts.keys() - {UNK, EOS}, counts)
    kept = ranked[: size - 2] if size else ranked
    totals = Counter({word: counts[word] for word in kept})
    totals[EOS] = counts[EOS]
    totals[UNK] = counts[UNK] + sum(counts[word] for word in ranked[len(kept) :])
    words = _ranked(totals, totals)
    return Vocabulary(tuple(words), np.array([totals[word] for word in words], np.int64))


def load(path: str | os.PathLike[str]) -> Vocabulary:
    """Reads what `Vocabulary.save` wrote.

    Args:
      path: the file.

    Returns:
      The vocabulary.

    Raises:
      DataError: the file is not a vocabulary.
    """
    try:
        lines = pathlib.Path(path).read_bytes().decode().split('\n')[:-1]
        pairs = [line.split('\t') for line in lines]
        return Vocabulary(
            tuple(word for word, _ in pairs), np.array([int(n) for _, n in pairs], np.int64)
        )
    except (OSError, ValueError) as error:
        raise base.DataError(
            f'{path} is not a vocabulary of lines "word<TAB>count": {error}'
        ) from error


def _ranked(words: Iterable[str], counts: Counter[str]) -> list[str]:
    return sorted(words, key=lambda word: (-counts[word], word))
