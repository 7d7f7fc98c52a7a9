"""One text split into train, valid and test by shares and a seed.

A file is never shuffled: neighbours would leak from one split into another. valid and test are one
stretch each of the file, in places that the seed chooses, and train is all that is around them.
Stretches begin and end where a record of the file does, else a line or, in books, a paragraph:

  |   train   | test |        train        | valid | train |
"""

from collections.abc import Iterator
import itertools
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


def read(path: pathlib.Path, end: str, split: str, how: Split) -> Iterator[str]:
    """Reads a split of a file in blocks, without holding the file in memory.

    Args:
      path: the file.
      end: what its units end in: a line break, or two for paragraphs.
      split: one of `layouts.SPLITS`.
      how: the file is split.

    Yields:
      The text.

    Raises:
      DataError: as of `files.read`, or the split is empty.
    """
    found = False
    for block in files.blocks(_units(path, end, split, how)):
        found = True
        yield block
    if not found:
        share = how.shares[layouts.SPLITS.index(split)]
        wanted = f'the {split} split, a share of {share}, has no line, paragraph or record'
        raise base.DataError(f'{path}: {wanted}; take other --split_shares or a longer text')


def _units(path: pathlib.Path, end: str, split: str, how: Split) -> Iterator[str]:
    """Yields the units of a split."""
    total = sum(len(unit.encode()) for unit in files.units(path, end))
    borders, place = stretches(how), 0
    for unit in files.units(path, end):
        while borders[0][0] * total <= place and len(borders) > 1:
            borders = borders[1:]
        place += len(unit.encode())
        if borders[0][1] == split:
            yield unit


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
