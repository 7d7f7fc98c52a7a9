"""Where the splits of your own text lie in a folder, and which of its files are left out.

A layout is a pattern of names in which `{}` stands for a split: `valid` may also be called
`validation`, `val` or `dev`. Capitals do not matter. A name may further end in `.utf-8` or `.utf8`,
as those of Project Gutenberg do, and then in `.gz` or `.zst`. `.jsonl` and `.parquet` hold a text
in each record. A split may lie in several files, `train-00000-of-00002.parquet` and so on, as
Hugging Face has them. In the last layout a split is a folder with texts of these kinds at any
depth, links followed, each folder once.

A folder in which no split has a name has texts of these kinds at any depth, too.

What is not read is listed, so that nobody trains on a tenth of his books without a word: other
names, hidden files (macOS writes `._NAME` next to NAME), packed copies of files that are there
unpacked, and files of another layout.
"""

from collections.abc import Iterator, Sequence
import os
import pathlib
import re
from typing import NamedTuple

from tasks import base

SPLITS = ('train', 'valid', 'test')
FOLDERS = '{}/*.txt'
UNSPLIT = '*.txt'  # at any depth; no split has a name
LAYOUTS = (
    *('wiki.{}.tokens', 'wiki.{}.raw', 'ptb.{}.txt', '{}.txt', '{}.jsonl', '{}.parquet'),
    FOLDERS,
)
_PACKED = ('.gz', '.zst')
_KINDS = ('.txt', '.jsonl', '.parquet')
_NAMES = {'train': ('train',), 'valid': ('valid', 'validation', 'val', 'dev'), 'test': ('test',)}
_ENDINGS = re.compile(r'(\.utf-?8)?(\.gz|\.zst)?$')
_SHARD = re.compile(r'-\d+-of-(\d+)(?=\.)')
_LISTED = 3  # names of each kind of file that is left out


class Found(NamedTuple):
    """The files of a corpus."""

    layout: str  # of `LAYOUTS`, or `UNSPLIT`
    # split, or `UNSPLIT` -> the name by which a text is known -> file
    paths: dict[str, dict[str, pathlib.Path]]
    left_out: list[str]  # lines, each a reason with the files that are not read for it


class _Split(NamedTuple):
    """What a layout has of a split: files by name, and reasons with what is left out for them."""

    paths: dict[str, pathlib.Path]
    left_out: dict[str, list[pathlib.Path]]


def find(folder: pathlib.Path, layouts: Sequence[str] = LAYOUTS) -> Found:
    """Finds the splits in a folder.

    Args:
      folder: the folder.
      layouts: of `LAYOUTS`, in the order of preference.

    Returns:
      The files of the most complete layout, and what is left out. Where no layout has any split,
      all texts at any depth.

    Raises:
      DataError: there is no such folder, it cannot be listed, or a split is missing or empty.
    """
    if not folder.is_dir():
        raise base.DataError(f'{folder} is neither a folder nor a file: data_dir names one')
    found = {
        layout: {split: _split(folder, layout, split) for split in SPLITS} for layout in LAYOUTS
    }
    if not any(split.paths for splits in found.values() for split in splits.values()):
        texts = _texts(folder)
        if texts.paths:
            lines = [_line(folder, *each) for each in texts.left_out.items()]
            return Found(UNSPLIT, {UNSPLIT: texts.paths}, lines)
    found = {layout: found[layout] for layout in layouts}
    layout = max(layouts, key=lambda layout: sum(bool(x.paths) for x in found[layout].values()))
    splits = {split: found[layout][split].paths for split in SPLITS}
    for split, paths in splits.items():
        if not paths:
            wanted = ', '.join(layout.format(split) for layout in layouts)
            others = ' (one layout for all splits; also packed as .gz or .zst)'
            raise base.DataError(f'{folder} has no {split} split: looked for {wanted}{others}')
        if not any(path.stat().st_size for path in paths.values()):
            raise base.DataError(f'{folder}: the {split} split ({layout.format(split)}) is empty')
    return Found(layout, splits, _describe(folder, found, layout))


def is_packed(path: pathlib.Path) -> bool:
    """Returns whether the name of a file says that its bytes are not those of a text."""
    return path.suffix.lower() in (*_PACKED, '.parquet')


def check_kind(path: pathlib.Path) -> None:
    """Raises a DataError if a single file does not end like one that can be read."""
    if kind(path) not in _KINDS:
        wanted = f'wanted a file that ends in {", ".join(_KINDS)}, also packed as .gz or .zst'
        raise base.DataError(f'{path}: {wanted}; or the folder of the splits')


def kind(path: pathlib.Path) -> str:
    """Returns the ending of a name without what tells encoding and packing, as '.txt'."""
    return pathlib.PurePath(_plain(path.name)).suffix


def _split(folder: pathlib.Path, layout: str, split: str) -> _Split:
    """Finds a split by the first of its names that is there."""
    pattern = layout.partition('/')[0]
    names = [pattern.format(name) for name in _NAMES[split]]
    there = [path for path in _listed(folder) if _stem(path) in names and _fits(path, layout)]
    there.sort(key=lambda path: (names.index(_stem(path)), len(path.name), path.name))
    if not there:
        return _Split({}, {})
    first, read = there[0], _shards(there)
    others = [path for path in there if path not in read]
    left_out = {f'{first.name} is read': others} if others else {}
    if layout != FOLDERS:
        return _Split({path.name: path for path in read}, left_out)
    texts = _texts(first)
    return _Split(texts.paths, texts.left_out | left_out)


def _shards(there: list[pathlib.Path]) -> list[pathlib.Path]:
    """Returns the first of some files with all others of which it is a part."""
    first = there[0]
    shard = _SHARD.search(first.name)
    if not shard:
        return [first]
    around = first.name[: shard.start()], f'-of-{shard[1]}{first.name[shard.end() :]}'
    found = [x for x in there if x.name.startswith(around[0]) and x.name.endswith(around[1])]
    if len(found) != int(shard[1]):
        wanted = f'wanted {int(shard[1])} files like {first.name}'
        raise base.DataError(f'{first.parent}: {wanted}, got {len(found)}; get the others too')
    return found


def _fits(path: pathlib.Path, layout: str) -> bool:
    return path.is_dir() if layout == FOLDERS else path.is_file()


def _texts(folder: pathlib.Path) -> _Split:
    """Sorts all files below a folder into texts, by their names in it, and what is left out."""
    paths: dict[str, pathlib.Path] = {}
    left_out: dict[str, list[pathlib.Path]] = {}
    for path in _walk(folder):
        name = path.name
        if name.startswith('.'):
            reason = 'hidden'
        elif kind(path) not in _KINDS:
            reason = f'not {", ".join(_KINDS)}, also packed as .gz or .zst'
        elif not path.is_file():
            reason = 'no file'
        elif path.suffix.lower() in _PACKED and path.with_suffix('').is_file():
            reason = 'is there unpacked'
        else:
            paths[path.relative_to(folder).as_posix()] = path
            continue
        left_out.setdefault(reason, []).append(path)
    return _Split(dict(sorted(paths.items())), left_out)


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields all files below a folder, and its hidden folders; follows links, each folder once."""
    seen = set()
    for root, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        hidden = [name for name in folders if name.startswith('.')]
        folders[:] = sorted(set(folders).difference(hidden))
        yield from (pathlib.Path(root, name) for name in sorted([*names, *hidden]))


def _listed(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        _refuse(error)
        raise


def _refuse(error: OSError) -> None:
    raise base.DataError(f'{error.filename} cannot be listed: {error.strerror}') from error


def _plain(name: str) -> str:
    """A name in small letters without what tells encoding and packing."""
    return _ENDINGS.sub('', name.lower())


def _stem(path: pathlib.Path) -> str:
    """A plain name, which all files of a split in several files have in common."""
    return _SHARD.sub('', _plain(path.name))


def _describe(folder: pathlib.Path, found: dict[str, dict[str, _Split]], layout: str) -> list[str]:
    """Lists what is left out, by reason, a few names each."""
    left_out: dict[str, list[pathlib.Path]] = {}
    for split in found[layout].values():
        for reason, paths in split.left_out.items():
            left_out.setdefault(reason, []).extend(paths)
    texts = {
        name: [path for x in splits.values() for path in x.paths.values()]
        for name, splits in found.items()
    }
    read = set(texts[layout])
    unread = [path for paths in texts.values() for path in paths if path not in read]
    if unread:
        left_out[f'{layout.format("SPLIT")} is read'] = unread
    return [_line(folder, reason, paths) for reason, paths in left_out.items()]


def _line(folder: pathlib.Path, reason: str, paths: list[pathlib.Path]) -> str:
    names = [repr(path.relative_to(folder).as_posix()) for path in paths[:_LISTED]]
    names += ['…'] if len(paths) > _LISTED else []
    return f'{folder}: {len(paths):,} left out ({reason}): {", ".join(names)}'
