"""Reads the directories of runs that a report compares."""

from collections.abc import Callable, Hashable, Mapping, Sequence
import itertools
import os
import pathlib
from typing import Any, NamedTuple, TypeVar

from launch.language import evaluation as evaluation_lib
from launch.reports import settings
from launch.runs import directory, fields, metrics, plain
from tasks import base

Key = TypeVar('Key', bound=Hashable)
Facts = Mapping[str, Any]


# The flags that reports read, where a program has them.
_TEXTS = (
    *('core', 'dataset', 'data_dir', 'data', 'gigaword_text', 'tokenizer', 'split_shares'),
    *('task', 'dialect', 'game', 'rules', 'head', 'answers', 'curriculum'),
)
_SIZES = {
    'vocab_size',
    'split_seed',
    'evaluation_batch',
    *itertools.chain(*settings.TASKS.values()),
}
_FLAGS = dict.fromkeys(_SIZES, fields.OPTIONAL) | dict.fromkeys(_TEXTS, (str, type(None)))


class Run(NamedTuple):
    """The files of one run."""

    label: str  # the directory's name, then what `training` returns
    rows: list[dict[str, Any]]  # of `metrics.jsonl`, at least one
    description: dict[str, Any]  # `run.json`
    evaluation: dict[str, Any]  # `evaluation.json`; empty before the end of training
    folder: pathlib.Path = pathlib.Path()  # the run's directory


def load_all(paths: Sequence[str]) -> list[Run]:
    """Reads each run once; directories of equal names are labelled with their whole paths.

    Raises:
      DataError: one of them is not a run's directory, or a file in it is damaged.
    """
    folders = list(dict.fromkeys(pathlib.Path(path).resolve() for path in paths))
    names = [folder.name for folder in folders]
    return [
        _load(folder, folder.name if names.count(folder.name) == 1 else str(folder))
        for folder in folders
    ]


def _load(folder: pathlib.Path, name: str) -> Run:
    for file in ('metrics.jsonl', directory.DESCRIPTION):
        if not os.path.isfile(folder / file):
            found = f'it has no {file}' if folder.is_dir() else 'there is no such folder'
            raise base.DataError(f"{folder}: wanted a run's directory, {found}")
    rows = metrics.read_metrics(folder / 'metrics.jsonl')
    if not rows:
        message = 'has no metrics yet; wait for some or leave out the run'
        raise base.DataError(f'{folder / "metrics.jsonl"}: {message}')
    description = directory.read_description(folder)
    known = {**description['config'], 'data': description.get('data')}
    shape = {name: kind for name, kind in _FLAGS.items() if name in known}
    fields.check(folder / directory.DESCRIPTION, known, shape, 'restore it or leave out the run')
    label = plain.line(', '.join([name, *training(description['config'])]))
    return Run(label, rows, description, evaluation_lib.load(folder), folder)


def training(config: Facts) -> list[str]:
    """Returns what a run learnt from in addition to the answers to samples in random order."""
    found = []
    if config.get('head') == 'distances':
        found.append('with auxiliary losses')
    if config.get('answers') == 'every_n':
        found.append('answers for every n')
    curriculum = config.get('curriculum') or 'mix'
    if curriculum != 'mix':
        found.append(
            f'{curriculum} curriculum' if str(curriculum).isalpha() else 'with a curriculum'
        )
    return found


def group(runs: Mapping[str, Facts], key: Callable[[Facts], Key]) -> dict[Key, dict[str, Facts]]:
    """Returns runs by label, in groups of equal keys, in the order in which the keys occur."""
    groups: dict[Key, dict[str, Facts]] = {}
    for label, facts in runs.items():
        groups.setdefault(key(facts), {})[label] = facts
    return groups
