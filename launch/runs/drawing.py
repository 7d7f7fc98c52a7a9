"""What all pictures share: sizes, letters, axes and files. Colours are in `plots`.

Pictures are as wide as `WIDTH` inches, those of several panels `WIDE`, so that their text, of 8 to
10 points, can be read on a page of 600 pixels and in a column of a paper.
"""

from collections.abc import Sequence
import io
import math
import os
import pathlib
import textwrap
from typing import Any

from tasks import storage

FORMATS = ('png', 'pdf', 'svg')
WIDTH, WIDE = 5.0, 7.0  # inches
_LETTER = 0.09  # inches: of a letter of a title, about
_LINE = 0.15  # inches: from one line of text to the next
_SIZES: dict[Any, Any] = {
    'font.size': 9,
    'axes.titlesize': 10,
    'legend.fontsize': 8.5,
    'legend.frameon': False,
}
_SIZES |= {f'{axis}tick.labelsize': 8.5 for axis in 'xy'}
_METADATA: dict[str, dict[str, Any]] = {'pdf': {'CreationDate': None}, 'svg': {'Date': None}}


def check_formats(formats: str) -> None:
    """Raises a ValueError unless a flag names formats of pictures, separated by commas."""
    if not formats or set(formats.split(',')) - set(FORMATS):
        wanted = f'wanted some of {",".join(FORMATS)}'
        raise ValueError(f'--formats: {wanted}, got {formats!r}')


def blank(**options: Any) -> Any:
    """Returns an empty figure of matplotlib, in which a $ is a dollar and begins no formula.

    Args:
      **options: of `matplotlib.figure.Figure`.
    """
    import matplotlib  # takes a second, at the end of a run only
    from matplotlib import figure

    matplotlib.rcParams['text.parse_math'] = False
    matplotlib.rcParams['pdf.fonttype'] = 42  # text stays text
    matplotlib.rcParams['svg.hashsalt'] = 'relational_rnn'  # names of parts, else random
    matplotlib.rcParams.update(_SIZES)
    return figure.Figure(dpi=220, **options)


def set_title(axes: Any, text: str) -> None:
    """Writes the title of a picture of one panel, on as many lines as it needs."""
    axes.set_title(_wrap(text, 0.92 * WIDTH), x=-0.12, loc='left', weight='bold')


def label_panels(picture: Any, title: str, x_label: str, y_label: str, keys: Sequence[Any]) -> None:
    """Writes title, labels of the axes and legend of a picture of panels, below them.

    Args:
      picture: of matplotlib, with a layout; it becomes higher by the legend.
      title: of the picture.
      x_label: of the horizontal axes.
      y_label: of the vertical axes.
      keys: the lines of the legend.
    """
    width = picture.get_figwidth()
    columns = 2 if width > WIDTH else 1
    style = {'x': 0.01, 'ha': 'left', 'fontsize': _SIZES['axes.titlesize'], 'weight': 'bold'}
    picture.suptitle(_wrap(title, 0.97 * width), **style)
    picture.supylabel(y_label, fontsize=_SIZES['font.size'])
    # Empty lines below the label are the room of the legend, for which the layout makes none.
    lines = math.ceil(1.3 * math.ceil(len(keys) / columns))
    picture.supxlabel(x_label + '\n' * lines, fontsize=_SIZES['font.size'])
    picture.set_figheight(picture.get_figheight() + lines * _LINE)
    if keys:
        picture.legend(handles=keys, loc='lower left', ncols=columns, handlelength=3)


def _wrap(text: str, width: float) -> str:
    """Breaks a title into lines of some inches, none between the sides of 5 x 5."""
    return textwrap.fill(text.replace(' x ', '\xa0x\xa0'), int(width / _LETTER))


def format_steps(axes: Any) -> None:
    """Lets the horizontal axis begin at 0, with a few ticks, in millions where it is that long."""
    from matplotlib import ticker

    def show(x: float, _: int) -> str:
        millions = axes.get_xlim()[1] >= 1e6 and x
        return f'{x / 1e6:.10g} M' if millions else f'{x:,.10g}'

    axes.set_xlim(left=0)
    room = 6 if axes.get_subplotspec().get_gridspec().ncols == 1 else 4
    axes.xaxis.set_major_locator(ticker.MaxNLocator(room, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(show))


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
    subs = (1, 2, 5) if high > 20 * low else (1, 1.5, 2, 3, 5, 7)
    axes.yaxis.set_major_locator(
        ticker.LogLocator(subs=subs)
        if high > 5 * low
        else ticker.MaxNLocator(6, steps=[1, 2, 5, 10])
    )
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f'{value:,.10g}'))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def limit(axes: Any, values: Sequence[float]) -> None:
    """Ends the vertical axis at 0 and 1 where it would go beyond and no value does.

    Curves are to be drawn with `clip_on=False`, which keeps their whole width at the ends.
    """
    low, high = axes.get_ylim()
    values = list(values) or [low, high]
    if min(values) >= 0:
        low = max(low, 0.0)
        high = min(high, 1.0) if max(values) <= 1 else high
    axes.set_ylim(low, high)


def write(picture: Any, output: str | os.PathLike[str]) -> None:
    """Writes a picture of matplotlib, whole or not at all; its file's name ends with the format.

    Raises:
      OSError: the file cannot be written.
    """
    data, kind = io.BytesIO(), pathlib.Path(output).suffix[1:].lower()
    kind = kind if kind in FORMATS else 'png'
    metadata = _METADATA.get(kind)  # without the time, so that equal pictures are equal files
    picture.savefig(data, format=kind, bbox_inches='tight', metadata=metadata)
    storage.write(pathlib.Path(output), data.getvalue())
