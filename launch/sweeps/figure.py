"""The curves of a sweep as one picture, in the style of figure 4 of Santoro et al. 2018.

"Relational recurrent neural networks", https://arxiv.org/abs/1806.01822, figure 4: a panel for each
number of slots, and in it a curve for each number of heads and gate style. Here the first axis of
the grid makes panels, the second colours and marks, the third dashes; with one axis there is one
panel. The seed is no such axis: runs that differ in it alone are one curve, their mean, with a band
of its standard error and the single runs as thin lines. Cores have the colours that they have in
all pictures. Other colours go from dark to light, so that they can be distinguished in print and by
people who do not see some colours, and each has a mark of its own.
"""

from collections.abc import Sequence
import itertools
import math
import os
from typing import Any, NamedTuple

from launch.runs import drawing, labels, plots
from launch.sweeps import grid as grid_lib
from launch.sweeps import results as results_lib

_SECONDS = {'minutes': 60, 'hours': 3600}
_COLUMNS = 3  # so many panels stand in one row, more in a square
_LIGHT = 0.85  # of the colour map, whose end is too pale on white
_MARKS = 'osD^vPX*<>'
_NUM_MARKS = 7  # on a curve, about


class _Style(NamedTuple):
    """How the axes of a grid are shown."""

    panels: str | None  # the axis that makes panels, if there is one
    colors: str | None
    dashes: str | None
    further: Sequence[str]  # axes whose curves look alike
    of_color: dict[str | None, dict[str, Any]]  # colour and mark, by the value of the axis `colors`
    of_dash: dict[str | None, Any]  # by the value of the axis `dashes`


def plot(
    grid: grid_lib.Grid,
    results: Sequence[results_lib.Result],
    output: str | os.PathLike[str],
    x: str = 'steps',
    target: float | None = None,
    title: str | None = None,
) -> None:
    """Plots the measure of every run that has one.

    Args:
      grid: what was run.
      results: what the runs have reached, which can be compared; one of them has a curve.
      output: the picture's path.
      x: what the horizontal axis shows: steps, units (what the program counts), minutes or hours.
      target: the height of a horizontal line.
      title: of the picture; by default the program.
    """
    style = _make_style(grid)
    values = [''] if style.panels is None else grid.values(style.panels)
    columns = len(values) if len(values) <= _COLUMNS else math.ceil(math.sqrt(len(values)))
    rows = math.ceil(len(values) / columns)
    size = (drawing.WIDTH, 3.1) if columns == 1 else (drawing.WIDE, 2.1 * rows + 0.8)
    picture = drawing.blank(figsize=size, layout='constrained')
    panels = picture.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    shown = results
    for panel, value in zip(panels, values, strict=False):
        if style.panels is not None:
            shown = [each for each in results if each.run.configuration[style.panels] == value]
            panel.set_title(_name(style.panels, value), loc='left', fontsize=9)
        _plot_panel(panel, style, shown, x, target)
    for panel in panels[len(values) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(values) - columns) : len(values)]:  # with none below
        panel.tick_params(labelbottom=True)
    many = any(len(group) > 1 for group in results_lib.by_seed(results))
    title = title or grid.program.replace('_', ' ')
    _label(picture, panels[0], title, results, x, _keys(style, many))
    drawing.write(picture, output)


def _make_style(grid: grid_lib.Grid) -> _Style:
    import matplotlib

    axes = [axis for axis in grid.axes if axis != 'seed']
    first = [None] if len(axes) <= 1 else []
    panels, colors, dashes = [*first, *axes, None, None, None][:3]
    values: list[str | None] = [None] if colors is None else [*grid.values(colors)]
    shades = [_LIGHT * index / max(1, len(values) - 1) for index in range(len(values))]
    looks = [
        {'color': matplotlib.colormaps['viridis'](shade), 'marker': mark}
        for shade, mark in zip(shades, itertools.cycle(_MARKS), strict=False)
    ]
    of_color = dict(zip(values, looks, strict=True))
    cores = {str(value): str(value) for value in values} if colors == 'core' else {}
    for value, look in plots.core_styles(cores).items():
        of_color[value]['color'] = look['color']
    dashed: list[str | None] = [None] if dashes is None else [*grid.values(dashes)]
    of_dash = dict(zip(dashed, itertools.cycle(plots.DASHES), strict=False))
    return _Style(panels, colors, dashes, axes[3:], of_color, of_dash)


def _plot_panel(
    panel: Any, style: _Style, results: Sequence[results_lib.Result], x: str, target: float | None
) -> None:
    """Plots the curves of one panel."""
    drawing.set_style(panel)
    if target is not None:
        panel.axhline(target, color='0.6', linewidth=0.8)
    groups = results_lib.by_seed(results)
    for index, group in enumerate(groups):
        configuration = group[0].run.configuration
        look = style.of_color[configuration.get(style.colors or '')]
        curve = results_lib.curve(group, lambda each: _places(each, x))
        plots.draw_spread(panel, curve, look['color'])
        xs, ys = zip(*curve.points, strict=True) if curve.points else ((), ())
        gap = max(1, len(xs) // _NUM_MARKS)
        panel.plot(
            xs,
            ys,
            linewidth=1.4,
            linestyle=style.of_dash[configuration.get(style.dashes or '')],
            markersize=4.5,
            clip_on=False,
            markevery=(index * gap // len(groups), gap),  # not on those of the next curve
            **look,
        )
    drawing.format_steps(panel)


def _places(result: results_lib.Result, x: str) -> list[float]:
    """Returns the x values [K] of a result."""
    if x in _SECONDS:
        return [seconds / _SECONDS[x] for seconds in result.seconds]
    units = result.description['units_per_update'] if x == 'units' else 1
    return [units * step for step in result.steps]


def _label(
    picture: Any,
    panel: Any,
    title: str,
    results: Sequence[results_lib.Result],
    x: str,
    keys: Sequence[Any],
) -> None:
    """Writes the title, what the axes show and the legend, and scales the axes."""
    curves = [each for each in results if each.values]
    losses = not any(each.higher_is_better for each in curves)
    if losses and min(min(each.values) for each in curves) > 0:
        drawing.set_log_scale(panel)
    else:
        drawing.limit(panel, [value for each in curves for value in each.values])
    name = labels.axis_name(curves[0].measure)
    unit = curves[0].description.get('unit', 'units')
    x = unit if x == 'units' else x
    label = labels.X_LABELS.get(x, f'{x} seen')
    drawing.label_panels(picture, title, label, name, keys)


def _name(axis: str, value: str) -> str:
    """Returns what a value of an axis is called."""
    return plots.core_name(value) if axis == 'core' else f'{labels.flag_name(axis)} = {value}'


def _keys(style: _Style, many: bool) -> list[Any]:
    """Returns the lines of the legend: the values of the second axis, of the third, the rest."""
    from matplotlib import lines

    looks: list[tuple[str, dict[str, Any]]] = []
    if style.colors is not None:
        looks = [(_name(style.colors, str(x)), look) for x, look in style.of_color.items()]
    if style.dashes is not None:
        for value, dashes in style.of_dash.items():
            look = {'color': '0.2', 'linestyle': dashes}
            looks.append((_name(style.dashes, str(value)), look))
    if style.further:
        looks.append((f'one curve for each {", ".join(style.further)}', {'linestyle': 'none'}))
    if many:
        looks.append((plots.BAND, {'linestyle': 'none'}))
    return [lines.Line2D([], [], label=label, **look) for label, look in looks]
