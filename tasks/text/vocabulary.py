"""Words and their numbers.

A vocabulary is counted once over a stream of words. Ids are ranks by frequency: id 0 is the most
frequent word, and equally frequent words stand in the order of their code points, so the same
words give the same ids everywhere (and an adaptive softmax can cut the ids into bands). Two words
are always there and are ranked like all others: `<eos>`, the end of a line or paragraph, and
`<unk>`, which stands for every word left out. A corpus that spells them out means the same words.

A text of billions of words has more types (different words) than fit in memory. Counting therefore
spills: when there are `MAX_TYPES` counts they are written to a file, sorted by word, and counting
starts from zero; at the end the files are merged and the counts of equal words added. This is
exact: the vocabulary is the one that counting in memory gives.

Glossary of shapes:
  V: vocabulary size; N: number of words.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import functools
import heapq
import itertools
import operator
import os
import pathlib
from typing import Protocol

import numpy as np

from tasks import base, storage

UNK = '<unk>'
EOS = '<eos>'
MAX_TYPES = 1 << 21  # that are counted in memory; measured: they take less than 400 MB
_MAX_RUNS = 64  # files that are merged, and therefore open, at once

Pair = tuple[str, int]  # a word and how often it occurs


class Counts(Protocol):
    """How often words occur: a Counter, or what was spilled to files."""

    def items(self) -> Iterable[Pair]:
        """Each word once, in any order, with its count."""


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words of a model, most frequent first."""

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
        """Returns N words as ids [N] int32; out-of-vocabulary words become `<unk>`."""
        ids = map(self.index.get, words, itertools.repeat(self.unk))
        return np.fromiter(ids, np.int32, len(words))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Returns N ids, each in [0, V), as words."""
        return [self.words[i] for i in ids]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a UTF-8 file of one line a word, `word<TAB>count`, in the order of the ids."""
        lines = map('{}\t{}\n'.format, self.words, self.counts)
        storage.write_text(pathlib.Path(path), ''.join(lines))


def count(
    blocks: Iterable[Sequence[str]],
    spill_dir: str | os.PathLike[str] | None = None,
) -> Counts:
    """Counts words, holding one block and the counts of `MAX_TYPES` words in memory.

    Args:
      blocks: lists of words, of any length.
      spill_dir: an empty folder for the counts of more types, to be kept as long as the result is
        read and to be deleted by the caller; None holds the counts of all types in memory.

    Returns:
      How often each word occurs: a Counter, unless there were too many types for it.
    """
    counts: Counter[str] = Counter()
    runs = _Runs(pathlib.Path(spill_dir), []) if spill_dir else None
    for words in blocks:
        counts.update(words)
        if runs and len(counts) >= MAX_TYPES:
            runs.add(counts)
            counts.clear()
    if not runs or not runs.paths:
        return counts
    runs.add(counts)
    return runs


def from_counts(counts: Counts, size: int | None = None, always: Iterable[str] = ()) -> Vocabulary:
    """Ranks counted words, holding no more of them in memory than are kept.

    Args:
      counts: how often each word occurs.
      size: the most words to keep, `<unk>` and `<eos>` included; None or 0 keeps all.
      always: words that are kept even if they do not occur.

    Returns:
      The vocabulary of the most frequent words; the count of `<unk>` is that of all words left out.

    Raises:
      ValueError: the size has no room for a word in addition to `<unk>` and `<eos>`, or for those
        that are always kept.
    """
    special = dict.fromkeys((UNK, EOS, *always), 0)
    least = max(3, len(special))
    if size and size < least:
        wanted = f'wanted 0 (all) or at least {least}, got {size}'
        raise ValueError(f'vocab_size holds {UNK}, {EOS} and words: {wanted}')
    pairs = _ordinary(counts.items(), special)
    kept = heapq.nsmallest(size - len(special), pairs, key=_rank) if size else list(pairs)
    for _ in pairs:  # of which `nsmallest` reads none where there is no room
        pass
    special[UNK] -= sum(number for _, number in kept)
    ranked = sorted([*kept, *special.items()], key=_rank)
    return Vocabulary(
        tuple(word for word, _ in ranked), np.array([number for _, number in ranked], np.int64)
    )


def load(path: str | os.PathLike[str]) -> Vocabulary:
    """Reads what `Vocabulary.save` wrote; raises a DataError if the file is no vocabulary."""
    try:
        lines = pathlib.Path(path).read_bytes().decode().split('\n')[:-1]
        pairs = [line.rsplit('\t', 1) for line in lines]  # a word may be a tab
        return Vocabulary(
            tuple(word for word, _ in pairs), np.array([int(n) for _, n in pairs], np.int64)
        )
    except (OSError, ValueError) as error:
        raise base.DataError(
            f'{path} is not a vocabulary of lines "word<TAB>count": {error}'
        ) from error


@dataclasses.dataclass(frozen=True)
class _Runs:
    """Counts in files of lines `word<TAB>count`, each file sorted by word."""

    folder: pathlib.Path
    paths: list[pathlib.Path]

    def add(self, counts: Counts) -> None:
        """Writes one more file; too many files become one."""
        self._write(sorted(counts.items()))
        if len(self.paths) == _MAX_RUNS:
            merged = self.paths.copy()
            self._write(self.items())
            for path in merged:
                self.paths.remove(path)
                path.unlink()

    def items(self) -> Iterator[Pair]:
        """Merges the files: each word once, in the order of code points, with its count."""
        lines = heapq.merge(*map(_read, self.paths))
        for word, same in itertools.groupby(lines, operator.itemgetter(0)):
            yield word, sum(number for _, number in same)

    def _write(self, pairs: Iterable[Pair]) -> None:
        name = f'{int(self.paths[-1].name) + 1 if self.paths else 0}'
        with (self.folder / name).open('w', encoding='utf-8', newline='\n') as file:
            file.writelines(f'{word}\t{number}\n' for word, number in pairs)
        self.paths.append(self.folder / name)


def _read(path: pathlib.Path) -> Iterator[Pair]:
    with path.open(encoding='utf-8', newline='\n') as file:
        for line in file:
            word, _, number = line.rpartition('\t')
            yield word, int(number)


def _ordinary(pairs: Iterable[Pair], special: dict[str, int]) -> Iterator[Pair]:
    """Sets special words apart; counts all others under `<unk>` until they are kept."""
    for word, number in pairs:
        if word in special:
            special[word] += number
        else:
            special[UNK] += number
            yield word, number


def _rank(pair: Pair) -> tuple[int, str]:
    return -pair[1], pair[0]
