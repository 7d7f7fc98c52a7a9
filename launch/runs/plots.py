"""Pictures of numbers, as PNG files: curves, bars, and a value at a few places.

Every series has a name, which the legend shows, and the same colour in each picture of a program
that hands in its series in the same order.
"""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from launch.runs import display

Points = Sequence[tuple[float, float]]
Ranges = Sequence[tuple[float, float]]  # lowest and highest, at every point of a curve
PALETTE = ('#c8501e', '#2f6db3', '#2a7f62', '#7b4fa3', '#b08a1e', '#444444', '#c2628f', '#4fa3a3')
PALE = '#9db8d9'  # of what is drawn behind the others
_FEW = 40  # so many points are marked one by one


def plot_curves(
    curves: Mapping[str, Points],
    output: str | os.PathLike[str],
    title: str,
    x_label: str = 'training steps',
    y_label: str = 'perplexity',
    baselines: Mapping[str, float] | None = None,
    log_scale: bool = True,
    background: Sequence[str] = (),
    bands: Mapping[str, Ranges] | None = None,
) -> None:
    """Draws curves.

    Args:
      curves: (x, y) of each curve by its name; one without points is left out.
      output: the picture's path.
      title: stands above the picture.
      x_label: stands below it.
      y_label: stands beside it.
      baselines: heights of horizontal lines by name.
      log_scale: whether the vertical axis is logarithmic.
      background: names of the curves to draw behind the others.
      bands: between what each curve is a mean of, by the curve's name; empty where it is of one.
    """
    picture, axes = _blank(title, x_label, y_label)
    for name, color in _colors(curves, background).items():
        if curves[name]:
            _draw_curve(axes, curves[name], name, color)
            shade(axes, [x for x, _ in curves[name]], (bands or {}).get(name, ()), color)
    _draw_baselines(axes, baselines or {})
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
      series: the heights of each series by its name, one a group; None where there is nothing.
      groups: what stands below the groups.
      output: the picture's path.
      title: stands above the picture.
      x_label: stands below it.
      y_label: stands beside it.
    """
    picture, axes = _blank(title, x_label, y_label)
    width = 0.8 / len(series)
    known = [height for heights in series.values() for height in heights if height]
    base = 0.5 * min(known, default=1.0)
    axes.set_ylim(base, 2 * max(known, default=2.0))
    set_log_scale(axes)
    for index, (name, color) in enumerate(_colors(series, ()).items()):
        places = [group - 0.4 + width * (index + 0.5) for group in range(len(groups))]
        heights = [height or 0.0 for height in series[name]]
        axes.bar(places, heights, 0.92 * width, label=name, color=color)
        for place, height in zip(places, series[name], strict=True):
            text, top = (display.number(height), height) if height else ('none', base)
            _write_above(axes, text, place, top, 9 if len(series) < 4 else 7)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis='x', length=0)
    _save(picture, axes, output)


def plot_places(
    series: Mapping[str, Points],
    output: str | os.PathLike[str],
    title: str,
    x_label: str,
    y_label: str,
) -> None:
    """Draws series that have a value at a few places on the horizontal axis, and a line at zero.

    Args:
      series: (x, y) of each series by its name; x > 0.
      output: the picture's path.
      title: stands above the picture.
      x_label: stands below it.
      y_label: stands beside it.
    """
    from matplotlib import ticker

    picture, axes = _blank(title, x_label, y_label)
    axes.axhline(0, color='0.45', linestyle=(0, (4, 3)), linewidth=1.1)
    for name, color in _colors(series, ()).items():
        places, heights = zip(*series[name], strict=True) if series[name] else ((), ())
        axes.plot(places, heights, label=name, color=color, linewidth=1.8, marker='o', markersize=5)
        for place, height in series[name] if len(series) == 1 else ():
            axes.annotate(
                f'{height:.2f}',
                (place, height),
                xytext=(6, 5),  # to the right, where the curve has fallen
                textcoords='offset points',
                color='0.3',
                fontsize=9,
            )
    axes.set_xscale('log')  # the short lengths, which matter most, would lie on each other
    axes.set_xticks(sorted({place for points in series.values() for place, _ in points}))
    axes.xaxis.set_major_formatter('{x:,.10g}')
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.08, y=0.12)
    _save(picture, axes, output)


def shade(axes: Any, places: Sequence[float], ranges: Ranges, color: Any) -> None:
    """Fills what lies between lowest and highest, background and behind a curve.

    Args:
      axes: where.
      places: of the curve's points.
      ranges: lowest and highest at each of them; empty for nothing.
      color: the curve's.
    """
    if ranges:
        lowest, highest = zip(*ranges, strict=True)
        axes.fill_between(places, lowest, highest, color=color, alpha=0.2, linewidth=0, zorder=1)


def set_manner(axes: Any) -> None:
    """Gives axes what all pictures have: background lines behind, and no frame above and to the right."""
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
    from matplotlib import figure  # takes a second, at the end of a run only

    picture = figure.Figure(figsize=(8, 4.8), dpi=150)
    axes = picture.add_subplot()
    axes.set_title(title, loc='left', fontsize=12, fontweight='bold')
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    set_manner(axes)
    return picture, axes


def _save(picture: Any, axes: Any, output: str | os.PathLike[str]) -> None:
    """Adds the legend, beside the axes where it would be long, and writes the file."""
    count = len(axes.get_legend_handles_labels()[0])
    if count > 5:
        axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1.12, 1))
    elif count:
        axes.legend(frameon=False)
    picture.savefig(output, format='png', bbox_inches='tight')


def _colors(names: Mapping[str, Any], background: Sequence[str]) -> dict[str, str]:
    """Returns a colour for each series, the background one for what lies behind."""
    strong = [name for name in names if name not in background]
    colors = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(strong)}
    return {name: colors.get(name, PALE) for name in names}


def _draw_curve(axes: Any, points: Points, name: str, color: str) -> None:
    places, heights = zip(*points, strict=True)
    few = len(points) <= _FEW
    axes.plot(
        places,
        heights,
        label=f'{name} ({display.number(heights[-1])} at the end)',
        color=color,
        linewidth=1.8 if few else 1.2,
        marker='o' if few else None,
        markersize=4,
        zorder=2 if color == PALE else 3,
    )


def _draw_baselines(axes: Any, baselines: Mapping[str, float]) -> None:
    """Draws a dashed line for each baseline, with its name and height at its right end."""
    for name, height in baselines.items():
        axes.axhline(height, color='0.45', linestyle=(0, (4, 3)), linewidth=1.1)
        axes.annotate(
            f'{name}\n{display.number(height)}',
            (1, height),
            xycoords=('axes fraction', 'data'),
            xytext=(6, 0),
            textcoords='offset points',
            verticalalignment='center',
            color='0.3',
            fontsize=9,
        )


def _write_above(axes: Any, text: str, place: float, height: float, size: int) -> None:
    axes.annotate(
        text,
        (place, height),
        xytext=(0, 4),
        textcoords='offset points',
        horizontalalignment='center',
        color='0.3',
        fontsize=size,
    )
