"""Texts split into train, valid and test by shares and a seed.

Texts are read one after the other as one, and nothing is shuffled: neighbours would leak from one
split into another. valid and test are one stretch each, in places that the seed chooses, and train
is all that is around them. Stretches begin and end where a record of a file does, else a line or,
in books, a paragraph:

  |   train   | test |        train        | valid | train |
"""

from collections.abc import Iterator, Sequence
import itertools
import operator
import pathlib
import random
from typing import NamedTuple

from tasks import base
from tasks.text import files, layouts


class Split(NamedTuple):
    """How a text is split."""

    shares: tuple[float, ...]  # of train, valid and test, in bytes; the sum is 1
    seed: int


DEFAULT = Split((0.9, 0.05, 0.05), 0)


def parse(text: str, seed: int) -> Split:
    """Reads three shares with commas between them; raises a ValueError if they are not."""
    try:
        shares = tuple(float(part) for part in text.split(','))
    except ValueError:
        shares = ()
    if len(shares) != 3 or not all(0 < x < 1 for x in shares) or abs(sum(shares) - 1) > 1e-6:
        wanted = 'wanted shares of train, valid and test with a sum of 1, as 0.9,0.05,0.05'
        raise ValueError(f'split_shares: {wanted}, got {text!r}')
    return Split(shares, seed)


def read(
    paths: Sequence[pathlib.Path], end: str, split: str, how: Split
) -> Iterator[Iterator[str]]:
    """Reads a split of texts, without holding one in memory.

    Args:
      paths: the files, in this order.
      end: what their units end in: a line break, or two for paragraphs.
      split: one of `layouts.SPLITS`.
      how: the texts are split.

    Yields:
      The blocks of each text, or of the part of it that is in the split; to be read before the
      next one is asked for.

    Raises:
      DataError: as of `files.read`, or the split is empty.
    """
    found = False
    units = _units(paths, end, split, how)
    for _, same in itertools.groupby(units, operator.itemgetter(0)):
        found = True
        yield files.blocks(unit for _, unit in same)
    if not found:
        place = paths[0] if len(paths) == 1 else f'{paths[0]} … {paths[-1]}'
        share = how.shares[layouts.SPLITS.index(split)]
        wanted = f'the {split} split, a share of {share}, has no line, paragraph or record'
        raise base.DataError(f'{place}: {wanted}; take other --split_shares or a longer text')


def _units(
    paths: Sequence[pathlib.Path], end: str, split: str, how: Split
) -> Iterator[tuple[pathlib.Path, str]]:
    """Yields the units of a split, each with its file."""
    total = sum(len(unit.encode()) for path in paths for unit in files.units(path, end))
    borders, place = stretches(how), 0
    for path in paths:
        for unit in files.units(path, end):
            while borders[0][0] * total <= place and len(borders) > 1:
                borders = borders[1:]
            place += len(unit.encode())
            if borders[0][1] == split:
                yield path, unit


def stretches(how: Split) -> list[tuple[float, str]]:
    """Returns where each stretch of a text ends, as a share of it, and its split."""
    rng = random.Random(how.seed)
    train, valid, test = how.shares
    order = [('valid', valid), ('test', test)]
    if rng.random() < 0.5:
        order.reverse()
    before, between = sorted((rng.random() * train, rng.random() * train))
    lengths = [
        ('train', before),
        order[0],
        ('train', between - before),
        order[1],
        ('train', train - between),
    ]
    ends = itertools.accumulate(length for _, length in lengths)
    return [(end, name) for end, (name, _) in zip(ends, lengths, strict=True)]
