"""The curves of a sweep as one picture, in the manner of figure 4 of Santoro et al. 2018.

"Relational recurrent neural networks", https://arxiv.org/abs/1806.01822, figure 4: a panel for each
number of slots, and in it a curve for each number of heads and gate style. Here the first axis of
the grid makes panels, the second colours and marks, the third dashes; with one axis there is one
panel. The colours go from dark to light, so that they can be told apart in print and by people who
do not see some colours, and each has a mark of its own. Where a run trains several networks, the
curve is their mean, on a pale band from the lowest to the highest.
"""

from collections.abc import Sequence
import math
import os
from typing import Any, NamedTuple

from launch.runs import plots
from launch.sweeps import grid as grid_lib
from launch.sweeps import results as results_lib

X = ('steps', *results_lib.SECONDS)  # what the horizontal axis may show
_COLUMNS = 3  # so many panels stand in one row, more in a square
_DARK, _LIGHT = 0.0, 0.85  # of the colour map; its end is too pale on white
_MARKS = 'osD^vPX*<>'
_DASHES: tuple[Any, ...] = ('-', (0, (5, 2)), (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)), (0, (9, 3)))
_NUM_MARKS = 7  # on a curve, about


class _Manner(NamedTuple):
    """Which axis of the grid shows as what; None if none does."""

    panels: int | None
    colors: int
    dashes: int | None


def draw(
    grid: grid_lib.Grid,
    results: Sequence[results_lib.Result],
    output: str | os.PathLike[str],
    x: str = 'minutes',
    level: float | None = None,
) -> None:
    """Draws the measure of every point that has one.

    Args:
      grid: what was run.
      results: what the points have reached; one of them has a curve.
      output: the picture's path.
      x: what the horizontal axis shows, one of `X`.
      level: the height of a horizontal line.
    """
    from matplotlib import figure  # takes a second

    manner = _manner(grid)
    titles = [''] if manner.panels is None else grid.values(manner.panels)
    columns = len(titles) if len(titles) <= _COLUMNS else math.ceil(math.sqrt(len(titles)))
    rows = math.ceil(len(titles) / columns)
    size = (8, 4.8) if columns == 1 else (4 * columns + 1.5, 3.4 * rows + 0.6)
    picture = figure.Figure(figsize=size, dpi=150, layout='constrained')
    panels = picture.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    shown = results
    for panel, title in zip(panels, titles, strict=False):
        if manner.panels is not None:
            shown = [each for each in results if each.point[manner.panels] == title]
            panel.set_title(f'{grid.axes[manner.panels]} = {title}', loc='left', fontsize=10)
        _draw_panel(panel, grid, manner, shown, x, level)
    for panel in panels[len(titles) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(titles) - columns) : len(titles)]:  # with none below
        panel.tick_params(labelbottom=True)
    _describe(picture, panels[0], grid, manner, results, x)
    picture.savefig(output, format='png', bbox_inches='tight')


def _manner(grid: grid_lib.Grid) -> _Manner:
    count = len(grid.axes)
    return _Manner(0 if count > 1 else None, min(1, count - 1), 2 if count > 2 else None)


def _draw_panel(
    panel: Any,
    grid: grid_lib.Grid,
    manner: _Manner,
    results: Sequence[results_lib.Result],
    x: str,
    level: float | None,
) -> None:
    """Draws the curves of one panel."""
    plots.set_style(panel)
    if level is not None:
        panel.axhline(level, color='0.6', linewidth=0.8)
    for index, each in enumerate(results):
        places = each.steps if x == 'steps' else [s / results_lib.SECONDS[x] for s in each.seconds]
        gap = max(1, len(places) // _NUM_MARKS)
        look = _color_and_mark(grid, manner, each.point[manner.colors])
        plots.shade(panel, places, each.ranges, look['color'])
        panel.plot(
            places,
            each.values,
            linewidth=1.4,
            markersize=4.5,
            markevery=(index * gap // len(results), gap),  # not on those of the next curve
            **look,
            linestyle=_dashes(grid, manner, each.point),
        )
    panel.xaxis.set_major_formatter('{x:,.10g}')


def _color_and_mark(grid: grid_lib.Grid, manner: _Manner, value: str) -> dict[str, Any]:
    """Returns how curves with a value of the second axis look."""
    import matplotlib

    values = grid.values(manner.colors)
    index = values.index(value)
    place = _DARK + (_LIGHT - _DARK) * index / max(1, len(values) - 1)
    color = matplotlib.colormaps['viridis'](place)
    return {'color': color, 'marker': _MARKS[index % len(_MARKS)]}


def _dashes(grid: grid_lib.Grid, manner: _Manner, point: grid_lib.Point) -> Any:
    """Returns the dashes of a point's value of the third axis; after the fifth they repeat."""
    if manner.dashes is None:
        return '-'
    index = grid.values(manner.dashes).index(point[manner.dashes])
    return _DASHES[index % len(_DASHES)]


def _describe(
    picture: Any,
    panel: Any,
    grid: grid_lib.Grid,
    manner: _Manner,
    results: Sequence[results_lib.Result],
    x: str,
) -> None:
    """Writes the title, what the axes show, and the legend."""
    drawn = [each for each in results if each.values]
    losses = not any(each.higher_is_better for each in drawn)
    if losses and min(min(each.values) for each in drawn) > 0:
        plots.set_log_scale(panel)
    panel.set_xlim(left=0)  # of all panels, for they share it
    name = drawn[0].measure.replace('valid_', 'validation ').replace('_', ' ')
    name = f'mean {name}' if any(each.ranges for each in drawn) else name
    label = 'updates' if x == 'steps' else f'{x} of training'
    picture.suptitle(
        f'{grid.program}: {name} over {label}', x=0.01, ha='left', fontsize=12, fontweight='bold'
    )
    picture.supxlabel(label, fontsize=10)
    picture.supylabel(name, fontsize=10)
    picture.legend(
        handles=_keys(grid, manner),
        loc='outside right upper',
        frameon=False,
        fontsize=9,
        handlelength=3.2,
    )


def _keys(grid: grid_lib.Grid, manner: _Manner) -> list[Any]:
    """Returns the lines of the legend: the values of the second axis, of the third, the rest."""
    from matplotlib import lines

    keys = [
        lines.Line2D(
            [],
            [],
            label=f'{grid.axes[manner.colors]} = {value}',
            **_color_and_mark(grid, manner, value),
        )
        for value in grid.values(manner.colors)
    ]
    for index, value in enumerate(grid.values(manner.dashes) if manner.dashes else ()):
        label = f'{grid.axes[2]} = {value}'
        dashes = _DASHES[index % len(_DASHES)]
        keys.append(lines.Line2D([], [], label=label, color='0.2', linestyle=dashes))
    rest = ', '.join(grid.axes[3:])
    if rest:
        keys.append(lines.Line2D([], [], label=f'one curve for each {rest}', linestyle='none'))
    return keys
