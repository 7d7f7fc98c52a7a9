"""Runs of `learning_to_execute` next to published accuracies: Table 1.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822, and
Dehghani et al. 2019, "Universal Transformers", https://arxiv.org/abs/1807.03819, Tables 5 and 6.
Both report programs of nesting 2 and length 5; Santoro et al. do not state the length of the
strings to memorize, nor the operations of each task, and report the best of several models on a
batch of the test split. All of them were trained from the answers alone, on samples in random
order, so they appear only next to runs that were trained in that way.

Runs that differ in the seed alone are one entry, whose numbers are means with standard errors.
The facts of a run are its flags and, after an evaluation, its `evaluation.json`.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launch.reports import published, records, seeds
from launch.runs import display, fields, plots

Runs = Mapping[str, records.Facts]  # by the label of the run

PROGRAM = 'learning_to_execute'
TASKS = {
    'programs': ('addition', 'control', 'program', 'algebra'),
    'memorization': ('copy', 'reverse', 'double'),
}
_SETTING = {
    **dict.fromkeys(('core', 'dialect', 'decoding'), str),
    'task': frozenset(task for tasks in TASKS.values() for task in tasks),
    **dict.fromkeys(('nesting', 'length'), int),
}
_MEASURED = {
    'character_accuracy': fields.NUMBER,
    'sequence_accuracy': fields.NUMBER,
    'sequences': int,
}
_SCORES = 'character_accuracy', 'sequence_accuracy'
_BEST = 'published: Santoro et al. 2018 report the best of several models on a batch of the test'
_LENGTHS = (
    'published: at lengths that Santoro et al. 2018 do not state; of at most 55 characters in '
    'Dehghani et al. 2019'
)
_LEFT_OUT = 'published numbers are left out next to runs with a curriculum'


class Difficulty(NamedTuple):
    """The properties that make runs comparable; sorts in reading order."""

    memorizes: bool
    nesting: int
    length: int
    dialect: str

    def __str__(self) -> str:
        nesting = '' if self.memorizes else f'nesting {self.nesting}, '
        dialect = '' if self.dialect == 'sonnet' else f', {self.dialect}'
        return f'{nesting}length {self.length}{dialect}'

    @property
    def is_published(self) -> bool:
        """Whether there are published numbers; for strings, of any length."""
        same = self.memorizes or (self.nesting, self.length) == (2, 5)
        return same and self.dialect == 'sonnet'


def facts(run: records.Run) -> records.Facts | None:
    """Returns the facts of a run, None for another program.

    Raises:
      DataError: some of them are missing.
    """
    if run.description['program'] != PROGRAM:
        return None
    parameters = run.description['parameters']
    known = {**run.description['config'], 'parameters': parameters, **run.evaluation}
    shape = {**_SETTING, **(_MEASURED if run.evaluation else {})}
    fields.check(f'{run.label}:', known, shape, 'evaluate again with --mode=evaluate')
    return known


def difficulty(known: records.Facts) -> Difficulty:
    """Returns the difficulty of a run's programs."""
    memorizes = known['task'] in TASKS['memorization']
    return Difficulty(memorizes, known['nesting'], known['length'], known['dialect'])


def by_difficulty(runs: Runs) -> dict[Difficulty, dict[str, records.Facts]]:
    """Returns the runs in groups with comparable accuracies, programs first."""
    return dict(sorted(records.group(runs, difficulty).items()))


def published_accuracy(known: records.Facts) -> float | None:
    """Returns the accuracy of the paper's own model, from 0 to 1, if its training was the same.

    The lengths of the strings that it memorized are not known.
    """
    score, what = published.TABLE_1[published.RMC].get(known['task']), difficulty(known)
    same = what.is_published and not what.memorizes and not records.training(known)
    return float(score) / 100 if score and same else None


def name_model(known: records.Facts) -> str:
    """Returns the core of a run and what is unusual about its training."""
    decoding = known['decoding'].replace('_', ' ')
    decodings = [decoding] if decoding != 'non autoregressive' else []
    return ', '.join([plots.core_name(known['core']), *decodings, *records.training(known)])


def describe(runs: Runs) -> list[str]:
    """Returns Table 1 as text, models by tasks, once for each difficulty.

    Args:
      runs: evaluated ones.
    """
    return [_describe_difficulty(each, group) for each, group in by_difficulty(runs).items()]


def _describe_difficulty(what: Difficulty, runs: Runs) -> str:
    kind = 'memorization' if what.memorizes else 'programs'
    ran = {known['task'] for known in runs.values()}
    columns = [
        task for task in TASKS[kind] if task in ran or task in published.TABLE_1[published.RMC]
    ]
    table, notes = [['', 'parameters', *columns], *_own_rows(runs, columns)], []
    if what.is_published and any(map(records.training, runs.values())):
        notes = [_LEFT_OUT]
    elif what.is_published:
        for model, scores in published.TABLE_1.items():
            table.append([model, '', *(scores.get(task, '') for task in columns)])
        notes = [_LENGTHS if what.memorizes else _BEST]
    counts = {known['sequences'] for known in runs.values()}
    count = f'{counts.pop():,} ' if len(counts) == 1 else ''
    samples = f'{count}{"strings" if what.memorizes else "programs"} of test, {what}'
    title = f'accuracy in % per character (of whole answers) on {samples}, as in Table 1'
    return '\n'.join([title, display.table(table), *notes])


def _own_rows(runs: Runs, columns: Sequence[str]) -> list[list[str]]:
    """Returns a row for each model, and one for each of several runs of it on the same task.

    A model's parameters differ a little between tasks, as the sizes of their texts do.
    """
    rows: dict[str, dict[str, records.Facts]] = {}  # by model, by task
    counts = collections.Counter((name_model(known), known['task']) for known in runs.values())
    for known in runs.values():
        model = name_model(known)
        if counts[model, known['task']] > 1:
            model = str(known['series'])
        count = len(seeds.pooled(known))
        model += f', n = {count}' if count > 1 else ''
        rows.setdefault(model, {})[known['task']] = known
    return [
        [
            model,
            _describe_range([known['parameters'] for known in row.values()]),
            *(_describe_accuracies(row[task]) if task in row else '' for task in columns),
        ]
        for model, row in rows.items()
    ]


def _describe_accuracies(known: records.Facts) -> str:
    return '{} ({})'.format(*(_percent(known, name) for name in _SCORES))


def _percent(known: records.Facts, name: str) -> str:
    """Returns an accuracy in %, with its standard error if it is a mean over seeds."""
    found = seeds.estimate([100 * each[name] for each in seeds.pooled(known)])
    assert found is not None  # `facts` has checked them
    return f'{found.mean:.1f}' if found.error is None else seeds.show(found)


def _describe_range(counts: Sequence[int]) -> str:
    return ' to '.join(dict.fromkeys(f'{count:,}' for count in (min(counts), max(counts))))
