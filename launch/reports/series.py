"""Runs as they are compared: in settings that are equal, and there seeds of one model together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from launch.reports import records, seeds, settings
from launch.runs import labels, plots

_NAMED = {'core', 'head', 'answers', 'curriculum'}  # flags that a label names in words
_MOST = 3  # further flags in a label


class Series(NamedTuple):
    """Runs that differ in the seed alone; a curve of a picture and a row of a table."""

    label: str  # differs from those of the other series of its setting
    runs: Sequence[records.Run]  # one at least

    @property
    def core(self) -> str:
        """The name of the core, '' if there is none."""
        return str(self.runs[0].description['config'].get('core', ''))


class Comparison(NamedTuple):
    """What can be compared."""

    title: str
    setting: settings.Setting
    series: Sequence[Series]

    @property
    def runs(self) -> list[records.Run]:
        """All runs."""
        return [run for each in self.series for run in each.runs]

    @property
    def configs(self) -> list[Mapping[str, Any]]:
        """The flags of all runs."""
        return [run.description['config'] for run in self.runs]


def compare(runs: Sequence[records.Run]) -> list[Comparison]:
    """Returns runs in groups that can be compared, in the order in which they occur."""
    groups: dict[settings.Setting, list[records.Run]] = {}
    for run in runs:
        groups.setdefault(settings.of(run.description, run.evaluation), []).append(run)
    return [
        Comparison(_title(setting, group), setting, _series(group))
        for setting, group in groups.items()
    ]


def styles(series: Sequence[Series]) -> dict[str, dict[str, Any]]:
    """Returns how each series is drawn, by its label."""
    return plots.core_styles({each.label: each.core for each in series})


def _title(setting: settings.Setting, runs: Sequence[records.Run]) -> str:
    sizes = [run.evaluation.get('vocab_size') for run in runs]
    folder = runs[0].description['config'].get('data_dir')
    return settings.title(setting, next(filter(None, sizes), None), folder)


def _series(runs: Sequence[records.Run]) -> list[Series]:
    """Returns the runs of a setting with seeds together, named by what distinguishes them."""
    configs = [run.description['config'] for run in runs]
    groups = [[runs[index] for index in group] for group in seeds.by_seed(configs)]
    labels = [_label(group[0], groups) for group in groups]
    return [
        Series(label if labels.count(label) == 1 else f'{_core(group[0])}: {group[0].label}', group)
        for label, group in zip(labels, groups, strict=True)
    ]


def _label(run: records.Run, groups: Sequence[Sequence[records.Run]]) -> str:
    """Returns the core of a run, and the flags in which other runs of the core differ from it."""
    config = run.description['config']
    if not config.get('core'):
        return run.label
    others = [group[0].description['config'] for group in groups]
    same = [other for other in others if other.get('core') == config['core']]
    names = [name for name in config if name not in seeds.IGNORED | _NAMED]
    differ = [name for name in names if any(x.get(name) != config[name] for x in same)]
    further = [_phrase(name, config) for name in differ] if len(differ) <= _MOST else []
    return ', '.join([_core(run), *records.training(config), *further])


def _core(run: records.Run) -> str:
    return plots.core_name(run.description['config']['core'])


def _phrase(name: str, config: Mapping[str, Any]) -> str:
    return f'{labels.flag_name(name)} {config[name]}'
