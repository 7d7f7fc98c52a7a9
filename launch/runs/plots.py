"""Pictures of numbers, as PNG, SVG or PDF files: curves, bars, and points joined by lines.

Every series has a name, which the legend shows. A core has its own colour in all pictures that
compare cores, see `CORES`; other series have the colours of `PALETTE` in their order. The legend
stands below the axes, where it covers nothing and makes no picture wider.
"""

from collections.abc import Mapping, Sequence
import os
from typing import Any, NamedTuple

from launch.runs import display, drawing, labels

Points = Sequence[tuple[float, float]]
PALETTE = ('#c8501e', '#2f6db3', '#2a7f62', '#7b4fa3', '#b08a1e', '#444444', '#c2628f', '#4fa3a3')
# The cores of all programs: their names in titles and legends, and their colours.
CORES = {
    'rmc': ('Relational Memory Core', '#c8501e'),
    'lstm': ('LSTM', '#2f6db3'),
    'dnc': ('DNC', '#2a7f62'),
    'transformer': ('Transformer', '#7b4fa3'),
    'entnet': ('EntNet', '#b08a1e'),
    'conv_lstm': ('ConvLSTM', '#4fa3a3'),
    'feed_forward': ('feed-forward', '#444444'),
}
DASHES: tuple[Any, ...] = (
    *('-', (0, (5, 2)), (0, (1, 1.3))),
    *((0, (6, 1.5, 1, 1.5)), (0, (9, 3))),
)
BAND = 'band: standard error of the mean; thin lines: single runs'
BACKGROUND = '#b4b4b4'  # the colour of a series in the background, which is that of no core
_FAR = 3  # times the height of all curves
_FEW = 40  # up to so many points of a curve have markers


class Curve(NamedTuple):
    """A curve of K points, which may be the mean of several runs."""

    points: Points  # [K] of (x, y)
    errors: Sequence[float] = ()  # [K], standard errors of a mean
    singles: Sequence[Points] = ()  # the curves of which it is the mean


def core_name(core: str) -> str:
    """Returns what a core is called in titles and legends."""
    return CORES[core][0] if core in CORES else core.replace('_', ' ')


def core_styles(cores: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Returns how series are drawn: in the colour of their core, further ones of it with dashes.

    Args:
      cores: the core of each series, by the name of the series.
    """
    taken = {color for _, color in CORES.values()}
    free = [color for color in PALETTE if color not in taken]
    unknown = [core for core in dict.fromkeys(cores.values()) if core not in CORES]
    colors = {core: free[index % len(free)] for index, core in enumerate(unknown)}
    colors |= {core: color for core, (_, color) in CORES.items()}
    counts = dict.fromkeys(cores.values(), 0)
    found = {}
    for name, core in cores.items():
        found[name] = {'color': colors[core], 'linestyle': DASHES[counts[core] % len(DASHES)]}
        counts[core] += 1
    return found


def plot_curves(
    curves: Mapping[str, Points | Curve],
    output: str | os.PathLike[str],
    title: str,
    x_label: str = labels.X_LABELS['steps'],
    y_label: str = 'perplexity',
    baselines: Mapping[str, float] | None = None,
    log_scale: bool = True,
    background: Sequence[str] = (),
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Draws curves; a mean has a band of its standard error, and thin lines of the single runs.

    Args:
      curves: (x, y) of each curve by its name; one without points is left out.
      output: the picture's path.
      title: of the picture.
      x_label: of the horizontal axis.
      y_label: of the vertical axis.
      baselines: heights of horizontal lines by name, which differ in their dashes; one so far from
        the curves that it would flatten them is in the legend alone.
      log_scale: whether the vertical axis is logarithmic.
      background: names of the curves in the background.
      styles: colour and dashes by name, by default colours in the order of the curves.
    """
    picture, axes = _blank(title, x_label, y_label)
    known = {name: as_curve(curve) for name, curve in curves.items()}
    for name, color in _colors(curves, background).items():
        style = {'color': color, **(styles or {}).get(name, {})}
        draw_spread(axes, known[name], style['color'])
        if known[name].points:
            _draw_curve(axes, known[name], name, style)
    ys = [y for curve in known.values() for y in heights(curve)]
    for index, (name, y) in enumerate((baselines or {}).items(), 1):
        where = '' if log_scale else _beyond(y, ys)
        text = f'{name} ({display.short(y)}{where})'
        _draw_line(axes, None if where else y, text, DASHES[index % len(DASHES)])
    if log_scale:
        drawing.set_log_scale(axes)
    else:
        drawing.limit(axes, ys)
    drawing.format_steps(axes)
    _save(picture, axes, output, BAND if any(curve.singles for curve in known.values()) else '')


def as_curve(curve: Points | Curve) -> Curve:
    """Returns points as a curve of one run."""
    return curve if isinstance(curve, Curve) else Curve(curve)


def heights(curve: Curve) -> list[float]:
    """Returns all y values that were measured for a curve."""
    return [y for points in (curve.points, *curve.singles) for _, y in points]


def draw_spread(axes: Any, curve: Curve, color: Any) -> None:
    """Draws the single runs of a mean, and the band of its standard error; nothing for one run."""
    for points in curve.singles:
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, color=color, linewidth=0.7, alpha=0.5, clip_on=False, zorder=2.5)
    if curve.singles and curve.points:
        xs, ys = zip(*curve.points, strict=True)
        pairs = list(zip(ys, curve.errors, strict=True))
        low, high = [y - error for y, error in pairs], [y + error for y, error in pairs]
        axes.fill_between(xs, low, high, color=color, alpha=0.2, linewidth=0, zorder=2)


def plot_bars(
    series: Mapping[str, Sequence[float | None]],
    groups: Sequence[str],
    output: str | os.PathLike[str],
    title: str,
    x_label: str,
    y_label: str = 'perplexity',
    errors: Mapping[str, Sequence[float]] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Draws groups of bars on a logarithmic scale, each with its height above it, many upright.

    Args:
      series: the heights of each series by its name, one for each group; None where there is none.
      groups: names of the groups.
      output: the picture's path.
      title: of the picture.
      x_label: of the horizontal axis.
      y_label: of the vertical axis.
      errors: the standard error of every height by name; 0 for none.
      styles: as of `plot_curves`.
    """
    picture, axes = _blank(title, x_label, y_label)
    width = 0.8 / len(series)
    known = [height for heights in series.values() for height in heights if height]
    base = 0.5 * min(known, default=1.0)
    many = len(series) > 2
    axes.set_ylim(base, (4 if many else 2) * max(known, default=2.0))
    drawing.set_log_scale(axes)
    for index, (name, color) in enumerate(_colors(series).items()):
        xs = [group - 0.4 + width * (index + 0.5) for group in range(len(groups))]
        color = (styles or {}).get(name, {}).get('color', color)
        spread = (errors or {}).get(name, ())
        bars: Any = {'yerr': spread, 'ecolor': '0.2', 'capsize': 3} if any(spread) else {}
        tops = [y or 0.0 for y in series[name]]
        axes.bar(xs, tops, 0.92 * width, label=name, color=color, **bars)
        for x, y in zip(xs, series[name], strict=True):
            text, style = display.short(y) if y else 'none', {'rotation': 90 if many else 0}
            _annotate(axes, text, (x, y or base), (0, 3), 7.5, ha='center', va='bottom', **style)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis='x', length=0)
    _save(picture, axes, output)


def plot_points(
    series: Mapping[str, Points | Curve],
    output: str | os.PathLike[str],
    title: str,
    x_label: str,
    y_label: str,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Draws series of a few points each, with a tick at every x value, and a line at zero.

    Args:
      series: (x, y) of each series by its name; x > 0.
      output: the picture's path.
      title: of the picture.
      x_label: of the horizontal axis.
      y_label: of the vertical axis.
      styles: as of `plot_curves`.
    """
    from matplotlib import ticker

    picture, axes = _blank(title, x_label, y_label)
    _draw_line(axes, 0)
    known = {name: as_curve(curve) for name, curve in series.items()}
    for name, color in _colors(series).items():
        points, style = known[name].points, {'color': color, **(styles or {}).get(name, {})}
        xs, ys = zip(*points, strict=True) if points else ((), ())
        draw_spread(axes, known[name], style['color'])
        axes.plot(xs, ys, label=name, linewidth=1.6, marker='o', markersize=4, **style)
        decimals = display.decimals(max((abs(y) for _, y in points), default=1.0))
        for x, y in points if len(series) == 1 else ():
            # to the right, where the curve has fallen
            _annotate(axes, f'{y:z,.{decimals}f}', (x, y), (5, 4), 8)
    axes.set_xscale('log')  # the short lengths, which matter most, would lie on each other
    axes.set_xticks(sorted({x for curve in known.values() for x, _ in curve.points}))
    axes.xaxis.set_major_formatter('{x:,.10g}')
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.08, y=0.12)
    _save(picture, axes, output, BAND if any(curve.singles for curve in known.values()) else '')


def _blank(title: str, x_label: str, y_label: str) -> tuple[Any, Any]:
    """Returns an empty picture and its axes."""
    picture = drawing.blank(figsize=(drawing.WIDTH, 3.1))
    axes = picture.add_subplot()
    drawing.set_title(axes, title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    drawing.set_style(axes)
    return picture, axes


def _save(picture: Any, axes: Any, output: str | os.PathLike[str], note: str = '') -> None:
    """Adds the legend below the axes and writes the file."""
    from matplotlib import transforms

    if axes.get_legend_handles_labels()[0]:
        below = transforms.ScaledTranslation(0, -0.42, picture.dpi_scale_trans)  # the axis' labels
        place = {'loc': 'upper left', 'bbox_to_anchor': (-0.02, 0)}
        title = {'title': note, 'title_fontsize': 8, 'alignment': 'left'} if note else {}
        axes.legend(**place, **title, bbox_transform=axes.transAxes + below, borderaxespad=0)
    drawing.write(picture, output)


def _colors(names: Mapping[str, Any], background: Sequence[str] = ()) -> dict[str, str]:
    """Returns the colour of each series."""
    foreground = [name for name in names if name not in background]
    colors = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(foreground)}
    return {name: colors.get(name, BACKGROUND) for name in names}


def _draw_curve(axes: Any, curve: Curve, name: str, style: Mapping[str, Any]) -> None:
    xs, ys = zip(*curve.points, strict=True)
    behind = style['color'] == BACKGROUND
    few = len(xs) <= _FEW and not curve.singles and not behind
    value = display.mean(ys[-1], curve.errors[-1]) if curve.errors else display.short(ys[-1])
    count = f', n = {len(curve.singles)}' if curve.singles else ''
    axes.plot(
        xs,
        ys,
        label=name if behind else f'{name} ({value} at the end{count})',
        linewidth=1.6 if few or curve.singles else 1.1,
        marker='o' if few else None,
        markersize=3,
        clip_on=False,
        zorder=2 if behind else 3,
        **style,
    )


def _beyond(y: float, values: Sequence[float]) -> str:
    """Returns on which side of the axis a line is that lies far from all values; '' if near."""
    low, high = min(values, default=y), max(values, default=y)
    far = _FAR * (high - low) or abs(y - low)  # of one height everything is near
    return ', above the axis' if y > high + far else ', below the axis' if y < low - far else ''


def _draw_line(axes: Any, y: float | None, name: str = '', dashes: Any = DASHES[1]) -> None:
    """Draws a horizontal line; with a name, which may stand alone, it is in the legend."""
    style = {'color': '0.45', 'linestyle': dashes, 'linewidth': 1.1, 'zorder': 1.5}
    if y is None:
        axes.plot([], [], label=name, **style)
    else:
        axes.axhline(y, label=name or None, **style)


def _annotate(
    axes: Any,
    text: str,
    point: tuple[float, float],
    offset: tuple[float, float],
    size: float,
    **options: Any,
) -> None:
    """Writes a text at a distance from a point, which is in typographic points."""
    place = {'xytext': offset, 'textcoords': 'offset points'}
    axes.annotate(text, point, color='0.3', fontsize=size, **place, **options)
