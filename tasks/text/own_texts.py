"""Your own texts as the three splits of a corpus: folders by split, or all as one text in shares.

`layouts` finds the files of the splits. A single file, or a folder of texts none of which says its
split by its name, is split as `shares` says.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import pathlib
from typing import NamedTuple

from tasks import base
from tasks.text import digests, files, layouts, shares


class Texts(NamedTuple):
    """The texts of a corpus."""

    read: Callable[[str], Iterator[Iterator[str]]]  # split -> the blocks of each of its texts
    are_books: bool  # whether they are wrapped at some column
    identity: tuple  # changes with what the files hold, and with the way in which they are split
    num_bytes: Mapping[str, int]  # split -> of its texts, where that is known
    places: Mapping[str, pathlib.Path]  # split -> where it lies


def find(
    place: pathlib.Path,
    patterns: Sequence[str],
    split: shares.Split,
    cache_dir: pathlib.Path,
    progress: base.Progress,
) -> Texts:
    """Finds texts.

    Args:
      place: a folder or a file.
      patterns: of `layouts.LAYOUTS`, those that a folder may have; with only the last of them a
        single file is a book.
      split: how texts without splits are split.
      cache_dir: where digests are remembered.
      progress: receives which files are left out.

    Raises:
      DataError: the texts cannot be used.
    """
    if place.is_file():
        layouts.check_kind(place)
        identity = (digests.digest(place, cache_dir), place.name), split
        return _shared([place], place, list(patterns) == [layouts.FOLDERS], identity, split)
    layout, paths, left_out = layouts.find(place, patterns)
    for line in left_out:
        progress.say(line)
    sums = [
        (name, known_as, digests.digest(path, cache_dir))
        for name in paths
        for known_as, path in paths[name].items()
    ]
    if layout == layouts.UNSPLIT:
        texts = list(paths[layout].values())
        progress.say(f'{place}: no names of splits, its {len(texts):,} texts are split by shares')
        return _shared(texts, place, True, (layout, sums, split), split)
    return _named(paths, layout == layouts.FOLDERS, (layout, sums))


def _end(are_books: bool) -> str:
    """Returns what ends a line of texts, or a paragraph of books."""
    return '\n\n' if are_books else '\n'


def _named(
    paths: Mapping[str, Mapping[str, pathlib.Path]], are_books: bool, identity: tuple
) -> Texts:
    """Texts whose splits have names."""
    found = {split: list(paths[split].values()) for split in layouts.SPLITS}

    def read(split: str) -> Iterator[Iterator[str]]:
        return (files.read(path, _end(are_books)) for path in found[split])

    sizes = {
        split: sum(path.stat().st_size for path in some)
        for split, some in found.items()
        if not any(map(layouts.is_packed, some))
    }
    places = {split: x[0] if len(x) == 1 else x[0].parent for split, x in found.items()}
    return Texts(read, are_books, identity, sizes, places)


def _shared(
    paths: Sequence[pathlib.Path],
    place: pathlib.Path,
    are_books: bool,
    identity: tuple,
    how: shares.Split,
) -> Texts:
    """Texts that are split by shares."""

    def read(split: str) -> Iterator[Iterator[str]]:
        return shares.read(paths, _end(are_books), split, how)

    return Texts(read, are_books, identity, {}, dict.fromkeys(layouts.SPLITS, place))
