"""Accuracies of `learning_to_execute` over training as one picture: Figure 8.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822,
figure 8: a panel for each task and difficulty, and in it a curve for each model. A row of panels is
of one difficulty; a model has its colour in all of them, and a second run of it other dashes. A
line shows what the paper's own model reached on programs of its Table 1; the lengths of the strings
there are not known.
"""

from collections.abc import Mapping, Sequence
import os
from typing import Any, NamedTuple

from launch.reports import accuracies
from launch.runs import plots

# One difficulty, its runs, and their tasks in order.
_Row = tuple[accuracies.Difficulty, accuracies.Runs, list[str]]
_DASHES: tuple[Any, ...] = ('-', (0, (5, 2)), (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)))
_LEVEL: dict[str, Any] = {'color': '0.45', 'linestyle': (0, (2, 2)), 'linewidth': 1.0}


class Curve(NamedTuple):
    """What a run has reached in its training."""

    points: plots.Points  # (x, accuracy); the accuracy from 0 to 1
    ranges: plots.Ranges  # of several networks at every point, or empty


def draw(
    runs: accuracies.Runs,
    curves: Mapping[str, Curve],
    output: str | os.PathLike[str],
    x_label: str,
) -> None:
    """Draws the curves of runs.

    Args:
      runs: at least one.
      curves: of each of them, by name; each has a point.
      output: the picture's path.
      x_label: what the horizontal axes show.
    """
    from matplotlib import figure  # takes a second

    rows = [
        (difficulty, group, _tasks(group))
        for difficulty, group in accuracies.by_difficulty(runs).items()
    ]
    columns = max(len(tasks) for _, _, tasks in rows)
    size = (max(9, 3.6 * columns + 2.5), 3.2 * len(rows) + 0.8)
    picture = figure.Figure(figsize=size, dpi=150, layout='constrained')
    panels = picture.subplots(len(rows), columns, sharey=True, squeeze=False)
    colors = _colors(runs)
    for line, (difficulty, group, tasks) in zip(panels, rows, strict=True):
        for panel, task in zip(line, tasks, strict=False):
            panel.set_title(f'{task}, {difficulty}', loc='left', fontsize=10)
            shown = {name: known for name, known in group.items() if known['task'] == task}
            _draw_runs(panel, shown, curves, colors)
            level = accuracies.level(difficulty, task)
            if level is not None:
                panel.axhline(level, zorder=1, **_LEVEL)
        for panel in line[len(tasks) :]:
            panel.set_visible(False)
        line[0].tick_params(labelleft=True)
    panels[0, 0].set_ylim(top=1.01)
    looks = {model: {'color': color} for model, color in colors.items()}
    _describe(picture, x_label, {**looks, **_rest(rows)})
    picture.savefig(output, format='png', bbox_inches='tight')


def _tasks(group: accuracies.Runs) -> list[str]:
    """Returns the tasks of runs in the order of Table 1."""
    ran = {known['task'] for known in group.values()}
    return [task for tasks in accuracies.TASKS.values() for task in tasks if task in ran]


def _colors(runs: accuracies.Runs) -> dict[str, str]:
    """Returns a colour for each model, in the order in which they occur."""
    models = dict.fromkeys(accuracies.label(known) for known in runs.values())
    return {model: plots.PALETTE[i % len(plots.PALETTE)] for i, model in enumerate(models)}


def _draw_runs(
    panel: Any,
    runs: accuracies.Runs,
    curves: Mapping[str, Curve],
    colors: Mapping[str, str],
) -> None:
    """Draws the runs of one task."""
    plots.set_style(panel)
    counts = dict.fromkeys(colors, 0)
    for name, known in runs.items():
        model = accuracies.label(known)
        places, heights = zip(*curves[name].points, strict=True)
        few = len(places) == 1
        panel.plot(
            places,
            heights,
            color=colors[model],
            linestyle=_DASHES[counts[model] % len(_DASHES)],
            linewidth=1.5,
            marker='o' if few else None,
            markersize=4,
        )
        plots.shade(panel, places, curves[name].ranges, colors[model])
        counts[model] += 1
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter('{x:,.10g}')
    panel.xaxis.set_major_locator(_locator())


def _locator() -> Any:
    """Returns what sets few marks, for panels are narrow and updates are long numbers."""
    from matplotlib import ticker

    return ticker.MaxNLocator(4)


def _rest(rows: Sequence[_Row]) -> dict[str, dict[str, Any]]:
    """Returns what else the legend shows, if there is such a line, and how it looks."""
    rest: dict[str, dict[str, Any]] = {}
    models = [
        (difficulty, known['task'], accuracies.label(known))
        for difficulty, group, _ in rows
        for known in group.values()
    ]
    if len(set(models)) < len(models):
        rest['second run of a model'] = {'color': '0.2', 'linestyle': _DASHES[1]}
    levels = {accuracies.level(difficulty, task) for difficulty, task, _ in models}
    if levels - {None}:
        rest[', '.join([*accuracies.OURS, 'Table 1'])] = _LEVEL
    return rest


def _describe(picture: Any, x_label: str, looks: Mapping[str, dict[str, Any]]) -> None:
    """Writes the title, what the axes show, and the legend."""
    from matplotlib import lines

    title = f'Accuracy per character over {x_label}'
    picture.suptitle(title, x=0.01, ha='left', fontsize=12, fontweight='bold')
    picture.supxlabel(x_label, fontsize=10)
    picture.supylabel('accuracy per character', fontsize=10)
    keys = [lines.Line2D([], [], label=name, **look) for name, look in looks.items()]
    picture.legend(
        handles=keys, loc='outside right upper', frameon=False, fontsize=9, handlelength=2.8
    )
