"""The curves of a sweep as one picture, in the style of figure 4 of Santoro et al. 2018.

"Relational recurrent neural networks", https://arxiv.org/abs/1806.01822, figure 4: a panel for each
number of slots, and in it a curve for each number of heads and gate style. Here the first axis of
the grid makes panels, the second colours and marks, the third dashes; with one axis there is one
panel. The colours go from dark to light, so that they can be told apart in print and by people who
do not see some colours, and each has a mark of its own.
"""

from collections.abc import Sequence
import itertools
import math
import os
from typing import Any, NamedTuple

from launch.runs import plots
from launch.sweeps import grid as grid_lib
from launch.sweeps import results as results_lib

_SECONDS = {'minutes': 60, 'hours': 3600}
_COLUMNS = 3  # so many panels stand in one row, more in a square
_LIGHT = 0.85  # of the colour map, whose end is too pale on white
_MARKS = 'osD^vPX*<>'
_DASHES: tuple[Any, ...] = ('-', (0, (5, 2)), (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)), (0, (9, 3)))
_NUM_MARKS = 7  # on a curve, about


class _Style(NamedTuple):
    """How the axes of a grid are shown."""

    panels: str | None  # the axis that makes panels, if there is one
    colors: str
    dashes: str | None
    of_color: dict[str, dict[str, Any]]  # colour and mark, by the value of the axis `colors`
    of_dash: dict[str | None, Any]  # by the value of the axis `dashes`


def plot(
    grid: grid_lib.Grid,
    results: Sequence[results_lib.Result],
    output: str | os.PathLike[str],
    x: str = 'minutes',
    target: float | None = None,
) -> None:
    """Plots the measure of every run that has one.

    Args:
      grid: what was run.
      results: what the runs have reached; one of them has a curve.
      output: the picture's path.
      x: what the horizontal axis shows: steps, minutes or hours.
      target: the height of a horizontal line.
    """
    style = _make_style(grid)
    values = [''] if style.panels is None else grid.values(style.panels)
    columns = len(values) if len(values) <= _COLUMNS else math.ceil(math.sqrt(len(values)))
    rows = math.ceil(len(values) / columns)
    size = (8, 4.8) if columns == 1 else (4 * columns + 1.5, 3.4 * rows + 0.6)
    picture = plots.blank(figsize=size, layout='constrained')
    panels = picture.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    shown = results
    for panel, value in zip(panels, values, strict=False):
        if style.panels is not None:
            shown = [each for each in results if each.run.configuration[style.panels] == value]
            panel.set_title(f'{style.panels} = {value}', loc='left', fontsize=10)
        _plot_panel(panel, style, shown, x, target)
    for panel in panels[len(values) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(values) - columns) : len(values)]:  # with none below
        panel.tick_params(labelbottom=True)
    _label(picture, panels[0], grid.program, results, x)
    legend = {'frameon': False, 'fontsize': 9, 'handlelength': 3.2}
    picture.legend(handles=_keys(grid, style), loc='outside right upper', **legend)
    plots.write(picture, output)


def _make_style(grid: grid_lib.Grid) -> _Style:
    import matplotlib

    first = [None] if len(grid.axes) == 1 else []
    panels, colors, dashes = [*first, *grid.axes, None, None][:3]
    assert colors is not None
    values = grid.values(colors)
    shades = [_LIGHT * index / max(1, len(values) - 1) for index in range(len(values))]
    looks = [
        {'color': matplotlib.colormaps['viridis'](shade), 'marker': mark}
        for shade, mark in zip(shades, itertools.cycle(_MARKS), strict=False)
    ]
    dashed = [None] if dashes is None else grid.values(dashes)
    of_dash = dict(zip(dashed, itertools.cycle(_DASHES), strict=False))
    return _Style(panels, colors, dashes, dict(zip(values, looks, strict=True)), of_dash)


def _plot_panel(
    panel: Any, style: _Style, results: Sequence[results_lib.Result], x: str, target: float | None
) -> None:
    """Plots the curves of one panel."""
    plots.set_style(panel)
    if target is not None:
        panel.axhline(target, color='0.6', linewidth=0.8)
    for index, each in enumerate(results):
        xs = each.steps if x == 'steps' else [s / _SECONDS[x] for s in each.seconds]
        gap = max(1, len(xs) // _NUM_MARKS)
        panel.plot(
            xs,
            each.values,
            linewidth=1.4,
            linestyle=style.of_dash[each.run.configuration.get(style.dashes or '')],
            markersize=4.5,
            markevery=(index * gap // len(results), gap),  # not on those of the next curve
            **style.of_color[each.run.configuration[style.colors]],
        )
    panel.xaxis.set_major_formatter('{x:,.10g}')


def _label(
    picture: Any, panel: Any, program: str, results: Sequence[results_lib.Result], x: str
) -> None:
    """Writes the title and what the axes show, and scales them."""
    curves = [each for each in results if each.values]
    losses = not any(each.higher_is_better for each in curves)
    if losses and min(min(each.values) for each in curves) > 0:
        plots.set_log_scale(panel)
    panel.set_xlim(left=0)  # of all panels, for they share it
    name = curves[0].measure.replace('valid_', 'validation ').replace('_', ' ')
    label = 'updates' if x == 'steps' else f'{x} of training'
    title = {'x': 0.01, 'ha': 'left', 'fontsize': 12, 'fontweight': 'bold'}
    picture.suptitle(f'{program}: {name} over {label}', **title)
    picture.supxlabel(label, fontsize=10)
    picture.supylabel(name, fontsize=10)


def _keys(grid: grid_lib.Grid, style: _Style) -> list[Any]:
    """Returns the lines of the legend: the values of the second axis, of the third, the rest."""
    from matplotlib import lines

    looks = [(f'{style.colors} = {value}', look) for value, look in style.of_color.items()]
    if style.dashes is not None:
        for value, dashes in style.of_dash.items():
            looks.append((f'{style.dashes} = {value}', {'color': '0.2', 'linestyle': dashes}))
    if grid.axes[3:]:
        looks.append((f'one curve for each {", ".join(grid.axes[3:])}', {'linestyle': 'none'}))
    return [lines.Line2D([], [], label=label, **look) for label, look in looks]
