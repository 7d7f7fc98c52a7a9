"""Pictures of numbers, as PNG files: curves, bars, and points that are joined by lines.

Every series has a name, which the legend shows, and the same colour in each picture of a program
that gives its series in the same order.
"""

from collections.abc import Mapping, Sequence
import io
import os
import pathlib
from typing import Any

from launch.runs import display
from tasks import storage

Points = Sequence[tuple[float, float]]
PALETTE = ('#c8501e', '#2f6db3', '#2a7f62', '#7b4fa3', '#b08a1e', '#444444', '#c2628f', '#4fa3a3')
BACKGROUND = '#9db8d9'  # the colour of a series in the background
_FEW = 40  # up to so many points of a curve have markers


def plot_curves(
    curves: Mapping[str, Points],
    output: str | os.PathLike[str],
    title: str,
    x_label: str = 'training steps',
    y_label: str = 'perplexity',
    baselines: Mapping[str, float] | None = None,
    log_scale: bool = True,
    background: Sequence[str] = (),
) -> None:
    """Draws curves.

    Args:
      curves: (x, y) of each curve by its name; one without points is left out.
      output: the picture's path.
      title: of the picture.
      x_label: of the horizontal axis.
      y_label: of the vertical axis.
      baselines: heights of horizontal lines by name.
      log_scale: whether the vertical axis is logarithmic.
      background: names of the curves in the background.
    """
    picture, axes = _blank(title, x_label, y_label)
    for name, color in _colors(curves, background).items():
        if curves[name]:
            _draw_curve(axes, curves[name], name, color)
    for name, y in (baselines or {}).items():
        _draw_line(axes, y)
        text = f'{name}\n{display.number(y)}'
        style: Any = {'verticalalignment': 'center', 'xycoords': ('axes fraction', 'data')}
        _annotate(axes, text, (1, y), (6, 0), **style)
    if log_scale:
        set_log_scale(axes)
    axes.xaxis.set_major_formatter('{x:,.10g}')
    _save(picture, axes, output)


def plot_bars(
    series: Mapping[str, Sequence[float | None]],
    groups: Sequence[str],
    output: str | os.PathLike[str],
    title: str,
    x_label: str,
    y_label: str = 'perplexity',
) -> None:
    """Draws groups of bars on a logarithmic scale, each with its height above it.

    Args:
      series: the heights of each series by its name, one for each group; None where there is none.
      groups: names of the groups.
      output: the picture's path.
      title: of the picture.
      x_label: of the horizontal axis.
      y_label: of the vertical axis.
    """
    picture, axes = _blank(title, x_label, y_label)
    width = 0.8 / len(series)
    known = [height for heights in series.values() for height in heights if height]
    base = 0.5 * min(known, default=1.0)
    axes.set_ylim(base, 2 * max(known, default=2.0))
    set_log_scale(axes)
    size = 9 if len(series) < 4 else 7
    for index, (name, color) in enumerate(_colors(series).items()):
        xs = [group - 0.4 + width * (index + 0.5) for group in range(len(groups))]
        axes.bar(xs, [y or 0.0 for y in series[name]], 0.92 * width, label=name, color=color)
        for x, y in zip(xs, series[name], strict=True):
            text = display.number(y) if y else 'none'
            _annotate(axes, text, (x, y or base), (0, 4), size, horizontalalignment='center')
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis='x', length=0)
    _save(picture, axes, output)


def plot_points(
    series: Mapping[str, Points],
    output: str | os.PathLike[str],
    title: str,
    x_label: str,
    y_label: str,
) -> None:
    """Draws series of a few points each, with a tick at every x value, and a line at zero.

    Args:
      series: (x, y) of each series by its name; x > 0.
      output: the picture's path.
      title: of the picture.
      x_label: of the horizontal axis.
      y_label: of the vertical axis.
    """
    from matplotlib import ticker

    picture, axes = _blank(title, x_label, y_label)
    _draw_line(axes, 0)
    for name, color in _colors(series).items():
        xs, ys = zip(*series[name], strict=True) if series[name] else ((), ())
        axes.plot(xs, ys, label=name, color=color, linewidth=1.8, marker='o', markersize=5)
        for x, y in series[name] if len(series) == 1 else ():
            _annotate(axes, f'{y:.2f}', (x, y), (6, 5))  # to the right, where the curve has fallen
    axes.set_xscale('log')  # the short lengths, which matter most, would lie on each other
    axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
    axes.xaxis.set_major_formatter('{x:,.10g}')
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.08, y=0.12)
    _save(picture, axes, output)


def blank(**options: Any) -> Any:
    """Returns an empty figure of matplotlib, in which a $ is a dollar and begins no formula.

    Args:
      **options: of `matplotlib.figure.Figure`.
    """
    import matplotlib  # takes a second, at the end of a run only
    from matplotlib import figure

    matplotlib.rcParams['text.parse_math'] = False
    return figure.Figure(dpi=150, **options)


def set_style(axes: Any) -> None:
    """Gives axes the style of all pictures: a light grid, and no frame above and to the right."""
    axes.grid(axis='y', color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def set_log_scale(axes: Any) -> None:
    """Makes the vertical axis logarithmic, with a few ticks such as 1, 2, 5, 10 in plain digits."""
    from matplotlib import ticker

    axes.set_yscale('log')
    low, high = axes.get_ylim()
    wide = ticker.LogLocator(subs=(1, 2, 5))
    axes.yaxis.set_major_locator(
        wide if high > 5 * low else ticker.MaxNLocator(6, steps=[1, 2, 5, 10])
    )
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f'{value:,.10g}'))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _blank(title: str, x_label: str, y_label: str) -> tuple[Any, Any]:
    """Returns an empty picture and its axes."""
    picture = blank(figsize=(8, 4.8))
    axes = picture.add_subplot()
    axes.set_title(title, loc='left', fontsize=12, fontweight='bold')
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    set_style(axes)
    return picture, axes


def _save(picture: Any, axes: Any, output: str | os.PathLike[str]) -> None:
    """Adds the legend, next to the axes where it would be long, and writes the file."""
    count = len(axes.get_legend_handles_labels()[0])
    if count:
        outside = {'loc': 'upper left', 'bbox_to_anchor': (1.12, 1)} if count > 5 else {}
        axes.legend(frameon=False, **outside)
    write(picture, output)


def write(picture: Any, output: str | os.PathLike[str]) -> None:
    """Writes a picture of matplotlib as a PNG file, whole or not at all.

    Raises:
      OSError: the file cannot be written.
    """
    data = io.BytesIO()
    picture.savefig(data, format='png', bbox_inches='tight')
    storage.write(pathlib.Path(output), data.getvalue())


def _colors(names: Mapping[str, Any], background: Sequence[str] = ()) -> dict[str, str]:
    """Returns the colour of each series."""
    foreground = [name for name in names if name not in background]
    colors = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(foreground)}
    return {name: colors.get(name, BACKGROUND) for name in names}


def _draw_curve(axes: Any, points: Points, name: str, color: str) -> None:
    xs, ys = zip(*points, strict=True)
    few = len(points) <= _FEW
    axes.plot(
        xs,
        ys,
        label=f'{name} ({display.number(ys[-1])} at the end)',
        color=color,
        linewidth=1.8 if few else 1.2,
        marker='o' if few else None,
        markersize=4,
        zorder=2 if color == BACKGROUND else 3,
    )


def _draw_line(axes: Any, y: float) -> None:
    axes.axhline(y, color='0.45', linestyle=(0, (4, 3)), linewidth=1.1)


def _annotate(
    axes: Any,
    text: str,
    point: tuple[float, float],
    offset: tuple[float, float],
    size: int = 9,
    **options: Any,
) -> None:
    """Writes a text at a distance from a point, which is in typographic points."""
    place = {'xytext': offset, 'textcoords': 'offset points'}
    axes.annotate(text, point, color='0.3', fontsize=size, **place, **options)
