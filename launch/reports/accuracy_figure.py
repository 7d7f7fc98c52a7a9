"""Accuracies of `learning_to_execute` over training as one picture: Figure 8.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822,
figure 8: a panel for each task and difficulty, a curve for each model. A row of panels has one
difficulty; a model has the same colour in all of them, and further runs of it have other dashes.
The mean of several seeds has a band of its standard error and thin lines of the single runs. A
horizontal line is the accuracy of the paper's own model, where the training was the same.
"""

from collections.abc import Mapping
import os
from typing import Any

from launch.reports import accuracies
from launch.reports import published as published_lib
from launch.runs import drawing, plots

_PUBLISHED: dict[str, Any] = {'color': '0.45', 'linestyle': (0, (2, 2)), 'linewidth': 1.0}


def draw(
    runs: accuracies.Runs,
    curves: Mapping[str, plots.Points | plots.Curve],
    output: str | os.PathLike[str],
    x_label: str,
) -> None:
    """Draws the curves of runs.

    Args:
      runs: at least one.
      curves: (x, accuracy from 0 to 1) of each run by its label, at least one point each.
      output: the picture's path.
      x_label: of the horizontal axes.
    """
    groups = [
        (difficulty, group, _tasks(group))
        for difficulty, group in accuracies.by_difficulty(runs).items()
    ]
    columns = max(len(tasks) for _, _, tasks in groups)
    width = drawing.WIDE if columns > 1 else drawing.WIDTH
    size = width, 2.1 * len(groups) + 0.8
    picture = drawing.blank(figsize=size, layout='constrained')
    grid = picture.subplots(len(groups), columns, sharey=True, squeeze=False)
    known_curves = {label: plots.as_curve(curve) for label, curve in curves.items()}
    models = {accuracies.name_model(known): str(known['core']) for known in runs.values()}
    legend: dict[str, dict[str, Any]] = dict(plots.core_styles(models))
    for panels, (difficulty, group, tasks) in zip(grid, groups, strict=True):
        for panel, task in zip(panels, tasks, strict=False):
            panel.set_title(f'{task}, {difficulty}', loc='left', fontsize=9)
            own = {label: known for label, known in group.items() if known['task'] == task}
            legend |= _draw_panel(panel, own, known_curves, legend)
        for panel in panels[len(tasks) :]:
            panel.set_visible(False)
        panels[0].tick_params(labelleft=True)
    drawing.limit(grid[0, 0], [y for curve in known_curves.values() for y in plots.heights(curve)])
    if any(curve.singles for curve in known_curves.values()):
        legend[plots.BAND] = {'color': 'none'}
    _annotate(picture, x_label, legend)
    drawing.write(picture, output)


def _tasks(group: accuracies.Runs) -> list[str]:
    """Returns the tasks of runs in the order of Table 1."""
    ran = {known['task'] for known in group.values()}
    return [task for tasks in accuracies.TASKS.values() for task in tasks if task in ran]


def _draw_panel(
    panel: Any,
    runs: accuracies.Runs,
    curves: Mapping[str, plots.Curve],
    styles: Mapping[str, dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Draws the runs of one task and returns what else the legend has to explain."""
    legend: dict[str, dict[str, Any]] = {}
    drawing.set_style(panel)
    counts = dict.fromkeys(styles, 0)
    for label, known in runs.items():
        model = accuracies.name_model(known)
        curve, style = curves[label], dict(styles[model])
        if counts[model]:
            style['linestyle'] = plots.DASHES[counts[model] % len(plots.DASHES)]
        plots.draw_spread(panel, curve, style['color'])
        style |= {'linewidth': 1.5, 'marker': 'o' if len(curve.points) == 1 else None}
        if curve.points:
            panel.plot(*zip(*curve.points, strict=True), **style, markersize=4, clip_on=False)
        counts[model] += 1
    if max(counts.values()) > 1:
        legend['further run of a model'] = {'color': '0.2', 'linestyle': plots.DASHES[1]}
    published = set(map(accuracies.published_accuracy, runs.values()))
    if None not in published:
        panel.axhline(published.pop(), zorder=1, **_PUBLISHED)
        legend[f'{published_lib.RMC}, Table 1'] = _PUBLISHED
    drawing.format_steps(panel)
    return legend


def _annotate(picture: Any, x_label: str, legend: Mapping[str, dict[str, Any]]) -> None:
    """Writes the title, the labels of the axes, and the legend."""
    from matplotlib import lines

    title = f'Accuracy per character over {x_label}'
    keys = [lines.Line2D([], [], label=label, **style) for label, style in legend.items()]
    drawing.label_panels(picture, title, x_label, 'accuracy per character', keys)
