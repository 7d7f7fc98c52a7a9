"""Runs of `learning_to_execute` beside each other and beside published numbers: Table 1.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822, and
Dehghani et al. 2019, "Universal Transformers", https://arxiv.org/abs/1807.03819, Tables 5 and 6.
Both report programs of nesting 2 and length 5, so beside others they are left out. How long the
strings to memorize were Santoro et al. do not say, nor which operations stand behind each column;
of several models they report the one that was best on a batch of the test.

A run is known by what `facts` makes of its files: `core`, `task`, `nesting`, `length`, `dialect`
and `decoding`, and where they are known `parameters`, `curriculum` and, after an evaluation,
`character_accuracy`, `sequence_accuracy` and `sequences`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from launch.runs import display

Facts = Mapping[str, Any]  # of a run
Runs = Mapping[str, Facts]  # by the name of the run

PROGRAM = 'learning_to_execute'
TASKS = {
    'programs': ('addition', 'control', 'program', 'algebra'),
    'memorization': ('copy', 'reverse', 'double'),
}
MEASURED = frozenset({'character_accuracy', 'sequence_accuracy', 'sequences'})
SETTING = frozenset({'core', 'task', 'nesting', 'length', 'dialect', 'decoding'})
_SANTORO, _DEHGHANI = 'Santoro et al. 2018', 'Dehghani et al. 2019'
_TABLE_1 = ('addition', 'control', 'program', 'copy', 'reverse', 'double')
# In % per character, of whole answers in parentheses, in the digits that were printed.
_SCORES = {
    ('LSTM', _SANTORO): ('99.8', '97.4', '66.1', '99.8', '99.7', '99.7'),
    ('EntNet', _SANTORO): ('98.4', '98.0', '73.4', '91.8', '100.0', '62.3'),
    ('DNC', _SANTORO): ('99.4', '83.8', '69.5', '100.0', '100.0', '100.0'),
    ('RMC', _SANTORO): ('99.9', '99.6', '79.0', '100.0', '100.0', '99.8'),
    ('LSTM', _DEHGHANI): ('83 (11)', '68 (21)', '53 (12)', '78', '91', '51'),
    ('Transformer', _DEHGHANI): ('100 (100)', '93 (66)', '71 (29)', '98', '81', '94'),
    ('Universal Transformer', _DEHGHANI): (
        '100 (100)',
        '100 (100)',
        '89 (63)',
        '100',
        '100',
        '100',
    ),
}
PUBLISHED: Mapping[tuple[str, str], Mapping[str, str]] = {  # by model and source, by task
    model: dict(zip(_TABLE_1, scores, strict=True)) for model, scores in _SCORES.items()
}
OURS = ('RMC', _SANTORO)  # the paper's own model
_BEST = 'published: Santoro et al. 2018 report the best of several models on a batch of the test'
_LENGTHS = (
    'published: at lengths that Santoro et al. 2018 do not state; of at most 55 characters in '
    'Dehghani et al. 2019'
)


class Difficulty(NamedTuple):
    """What makes runs comparable; sorts as it should be read."""

    memorizes: bool
    nesting: int
    length: int
    dialect: str

    @property
    def is_published(self) -> bool:
        """Whether there are published numbers, of strings at whatever length."""
        published = self.memorizes or (self.nesting, self.length) == (2, 5)
        return published and self.dialect == 'sonnet'

    def __str__(self) -> str:
        nesting = '' if self.memorizes else f'nesting {self.nesting}, '
        dialect = '' if self.dialect == 'sonnet' else f', {self.dialect}'
        return f'{nesting}length {self.length}{dialect}'


def facts(description: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Facts | None:
    """Returns what is known of a run, None if it is one of another program.

    Args:
      description: its `run.json`, or nothing.
      evaluation: its `evaluation.json`, or nothing.
    """
    if PROGRAM not in (description.get('program'), evaluation.get('program')):
        return None
    parameters = description.get('parameters')
    return {**description.get('config', {}), 'parameters': parameters, **evaluation}


def difficulty(known: Facts) -> Difficulty:
    """Returns how hard the programs of a run are."""
    return Difficulty(_memorizes(known), known['nesting'], known['length'], known['dialect'])


def _memorizes(known: Facts) -> bool:
    return known['task'] in TASKS['memorization']


def level(difficulty: Difficulty, task: str) -> float | None:
    """Returns the accuracy of the paper's own model, from 0 to 1, if it was trained on the same.

    The lengths of the strings that it memorized are not known.
    """
    score = PUBLISHED[OURS].get(task)
    same = difficulty.is_published and not difficulty.memorizes
    return float(score) / 100 if score and same else None


def lacking(known: Facts) -> list[str]:
    """Returns the names of what a run should tell and does not."""
    return sorted((SETTING | (MEASURED if 'test' in known else frozenset())) - known.keys())


def by_difficulty(runs: Runs) -> dict[Difficulty, Runs]:
    """Returns the runs whose accuracies are comparable, in groups, programs first."""
    groups: dict[Difficulty, dict[str, Facts]] = {}
    for name, known in runs.items():
        groups.setdefault(difficulty(known), {})[name] = known
    return dict(sorted(groups.items()))


def label(known: Facts) -> str:
    """Returns the name of a model: its core, and what is unusual about its training."""
    unusual = [
        str(known[name]).replace('_', ' ')
        for name, usual in (('decoding', 'non_autoregressive'), ('curriculum', 'mix'))
        if known.get(name, usual) != usual
    ]
    hinted = known.get('hint_weight', 0) > 0 and known['dialect'] == 'sonnet'
    with_hints = ['hints'] if hinted and not _memorizes(known) else []
    return ', '.join([known['core'], *with_hints, *unusual])


def describe(difficulty: Difficulty, runs: Runs) -> str:
    """Returns Table 1 as text: models by tasks.

    Args:
      difficulty: of all of the runs.
      runs: at least one, all of them evaluated.
    """
    columns = _columns(difficulty, runs)
    table = [['', 'parameters', *columns], *_own_rows(runs, columns)]
    notes = []
    if difficulty.is_published:
        table += [
            [f'{model} ({source})', '', *(scores.get(task, '') for task in columns)]
            for (model, source), scores in PUBLISHED.items()
        ]
        notes = [_LENGTHS if difficulty.memorizes else _BEST]
    sizes = {known['sequences'] for known in runs.values()}
    size = f'{sizes.pop():,} ' if len(sizes) == 1 else ''
    what = 'strings' if difficulty.memorizes else 'programs'
    title = f'accuracy in % per character (of whole answers) on {size}{what} of test, {difficulty}'
    return '\n'.join([f'{title}, as in Table 1', display.table(table), *notes])


def _columns(difficulty: Difficulty, runs: Runs) -> list[str]:
    """Returns the tasks of Table 1, and those of the runs that it lacks."""
    ran = {known['task'] for known in runs.values()}
    tasks = TASKS['memorization' if difficulty.memorizes else 'programs']
    return [task for task in tasks if task in ran or task in _TABLE_1]


def _own_rows(runs: Runs, columns: Sequence[str]) -> list[list[str]]:
    """Returns a row for each model; a second run of a model on the same task has its own.

    What depends on a task's texts makes the parameters of a model differ a little between tasks.
    """
    rows: dict[str, dict[str, str]] = {}
    counts: dict[str, list[int]] = {}
    for name, known in runs.items():
        model = label(known)
        if known['task'] in rows.get(model, {}):
            model = f'{model}: {name}'
        accuracies = (100 * known[f'{what}_accuracy'] for what in ('character', 'sequence'))
        cell = '{:.1f} ({:.1f})'.format(*accuracies)
        rows.setdefault(model, {})[known['task']] = cell
        counts.setdefault(model, []).extend(
            [known['parameters']] if known.get('parameters') else []
        )
    return [
        [model, _range(counts[model]), *(cells.get(task, '') for task in columns)]
        for model, cells in rows.items()
    ]


def _range(counts: Sequence[int]) -> str:
    """Returns a count, or the least and the greatest one."""
    ends = dict.fromkeys(f'{count:,}' for count in (min(counts), max(counts))) if counts else '?'
    return ' to '.join(ends)
