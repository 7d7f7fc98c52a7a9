"""Attention over time as a picture, after figure 3 of Santoro et al. 2018.

A column of matrices is a step, a row of them a head; the steps of a long sequence go on in further
bands below. In each matrix, rows are queries and columns keys: the slots by their numbers, then
after a line the input. Steps that the task marks have a frame. The picture is as wide as the text
of a page of a paper, 5.5 inches.

Glossary of shapes:
  T: steps; H: heads; R: queries; M: keys; N: slots.
"""

from collections.abc import Iterator, Sequence
import math
import os
import textwrap
from typing import Any, NamedTuple

import numpy as np

from launch.inspection import tracing
from launch.runs import drawing, plots

_MARK = plots.PALETTE[0]
_WIDTH, _LEFT, _RIGHT = 5.5, 0.72, 0.5  # inches: all, names of heads and queries, colour bar
_TOP, _LABELS, _KEYS = 0.42, 0.33, 0.3  # inches: title, labels above a band, keys below it
_GAP = 0.07  # inches between matrices
_SMALLEST, _LARGEST = 0.46, 1.0  # inches: of a matrix, if it has few keys
_CELL = 0.034  # inches: the least width of a key
_PITCH = 0.085  # inches: of numbers that do not touch
_LETTER = 0.067  # inches: of a letter of a step's label, about


class _Layout(NamedTuple):
    """Where matrices are, in inches from the upper left corner."""

    num_columns: int  # steps of a band
    width: float  # of a matrix
    height: float
    num_heads: int

    @property
    def panels(self) -> float:
        """The height of a band's matrices."""
        return self.num_heads * (self.height + _GAP) - _GAP

    def corner(self, step: int, head: int) -> tuple[float, float]:
        """Returns x and y of the upper left corner of a matrix."""
        band, column = divmod(step, self.num_columns)
        top = _TOP + band * (_LABELS + self.panels + _KEYS) + _LABELS
        return _LEFT + column * (self.width + _GAP), top + head * (self.height + _GAP)


def draw(
    example: tracing.Example,
    trace: tracing.Trace,
    output: str | os.PathLike[str],
    title: str,
    max_steps: int,
) -> None:
    """Draws the attention of the last block.

    Args:
      example: a sequence.
      trace: of this sequence.
      output: the picture's path.
      title: of the subject, above the picture.
      max_steps: at most so many first steps are drawn.
    """
    attention = trace.attention[-1][:max_steps]  # [T, H, R, M]
    num_steps, num_slots = len(attention), trace.memory.shape[1]
    layout = _arrange(attention.shape)
    _, bottom = layout.corner(num_steps - 1, layout.num_heads - 1)
    height = bottom + layout.height + _KEYS
    picture = drawing.blank(figsize=(_WIDTH, height))
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(height, 0))  # in inches
    axes.axis('off')
    for step, head in np.ndindex(attention.shape[:2]):
        corner, marked = layout.corner(step, head), bool(example.steps[step].mark)
        image = _draw_matrix(axes, layout, corner, attention[step, head], num_slots, marked)
    for step in range(num_steps):
        _name_step(axes, layout, step, example.steps[step])
        _name_keys(axes, layout, step, attention.shape[3], num_slots)
    for first in range(0, num_steps, layout.num_columns):
        _name_queries(axes, layout, first, attention.shape[2], num_slots)
    _write_title(axes, title, example, num_steps)
    _draw_bar(picture, image, height, layout)
    caption = '\n'.join(_caption(example.steps, num_steps))
    axes.text(0, height + 0.05, caption, fontsize=7, va='top')
    drawing.write(picture, output)


def _arrange(shape: Sequence[int]) -> _Layout:
    """Returns the layout for attention of a shape T, H, R, M: as few bands as are readable."""
    num_steps, num_heads, queries, keys = shape
    room = _WIDTH - _LEFT - _RIGHT
    least = max(_SMALLEST, _CELL * keys)
    most_columns = max(1, int((room + _GAP) / (least + _GAP)))
    num_bands = -(-num_steps // most_columns)
    num_columns = -(-num_steps // num_bands)
    width = min(_LARGEST, (room + _GAP) / num_columns - _GAP)
    return _Layout(num_columns, width, width * queries / keys, num_heads)


def _draw_matrix(
    axes: Any,
    layout: _Layout,
    corner: tuple[float, float],
    weights: np.ndarray,
    num_slots: int,
    marked: bool,
) -> Any:
    """Draws weights [R, M], 0 white and 1 dark, and a line before the keys of the input."""
    x, y = corner
    right, bottom = x + layout.width, y + layout.height
    image = axes.imshow(
        weights,
        cmap='Oranges',
        vmin=0,
        vmax=1,
        interpolation='nearest',
        extent=(x, right, bottom, y),
    )
    split = x + layout.width * num_slots / weights.shape[1]
    axes.plot([split, split], [y, bottom], color='0.35', linewidth=0.6)
    color, line_width = (_MARK, 1.8) if marked else ('0.7', 0.5)
    frame = [x, right, right, x], [y, y, bottom, bottom]
    axes.fill(*frame, facecolor='none', edgecolor=color, linewidth=line_width, zorder=3)
    return image


def _name_step(axes: Any, layout: _Layout, step: int, described: tracing.Step) -> None:
    """Writes the label of a step upright above its column, on two lines at most."""
    x, y = layout.corner(step, 0)
    letters = max(4, int((layout.width + _GAP) / _LETTER))
    lines = textwrap.wrap(described.label, letters)
    if len(lines) > 2:
        lines = [lines[0], f'{lines[1][: letters - 1]}…']
    weight, color = ('bold', _MARK) if described.mark else ('normal', '0.1')
    text = '\n'.join(lines)
    place = {'ha': 'center', 'va': 'bottom', 'linespacing': 1.0}
    axes.text(x + layout.width / 2, y - 0.04, text, fontsize=7, weight=weight, color=color, **place)


def _name_keys(axes: Any, layout: _Layout, step: int, keys: int, num_slots: int) -> None:
    """Writes the numbers of the slots and 'in' below the last head of a step."""
    x, y = layout.corner(step, layout.num_heads - 1)
    y += layout.height
    for key, text in _numbers(layout.width / keys, num_slots, keys):
        place = x + layout.width * (key + 0.5) / keys
        axes.text(place, y + 0.03, text, fontsize=5.5, color='0.25', ha='center', va='top')
    if step % layout.num_columns == 0:
        axes.text(x, y + 0.13, 'key', fontsize=6.5, color='0.25', va='top', style='italic')


def _name_queries(axes: Any, layout: _Layout, step: int, queries: int, num_slots: int) -> None:
    """Writes the names of the heads and the numbers of the queries to the left of a band."""
    for head in range(layout.num_heads):
        x, y = layout.corner(step, head)
        for query, text in _numbers(layout.height / queries, num_slots, queries):
            place = y + layout.height * (query + 0.5) / queries
            style = {'ha': 'right', 'va': 'center_baseline'}
            axes.text(x - 0.03, place, text, fontsize=5.5, color='0.25', **style)
        axes.text(0, y + layout.height / 2, f'head {head + 1}', fontsize=7, va='center')
    x, y = layout.corner(step, 0)
    style = {'ha': 'right', 'va': 'bottom', 'style': 'italic'}
    axes.text(x - 0.03, y - 0.02, 'query', fontsize=6.5, color='0.25', **style)


def _numbers(pitch: float, num_slots: int, count: int) -> Iterator[tuple[float, str]]:
    """Yields the index and name of slots and of the input, as many as do not touch."""
    room = _PITCH * (1 if num_slots < 10 else 1.3)
    middle = (num_slots + count - 1) / 2  # of the inputs, if there are any
    for index in range(0, num_slots, math.ceil(room / pitch)):
        if count == num_slots or (middle - index) * pitch >= room:
            yield index, f'{index + 1}'
    if count > num_slots:
        yield middle, 'in'


def _write_title(axes: Any, title: str, example: tracing.Example, num_steps: int) -> None:
    shown = len(example.steps)
    count = f'{shown} steps' if num_steps == shown else f'the first {num_steps} of {shown} steps'
    size = min(9, 9 * 66 / len(title))  # so that it is no wider than the picture
    axes.text(0, 0.02, title, fontsize=size, weight='bold', va='top')
    text = textwrap.shorten(f'{count}: {example.title}', 100, placeholder=' …')
    axes.text(0, 0.23, text, fontsize=7, color='0.25', va='top')


def _draw_bar(picture: Any, image: Any, height: float, layout: _Layout) -> None:
    """Draws the colour bar, as high as the matrices of the first band."""
    x, y = layout.corner(layout.num_columns - 1, 0)
    left = (x + layout.width + 0.1) / _WIDTH
    box = left, 1 - (y + layout.panels) / height, 0.09 / _WIDTH, layout.panels / height
    bar = picture.colorbar(image, cax=picture.add_axes(box), ticks=(0, 0.5, 1))
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=6.5, length=2, width=0.4, pad=1.5)
    bar.set_label('attention', fontsize=7, labelpad=1)


def _caption(steps: Sequence[tracing.Step], num_steps: int) -> Iterator[str]:
    """Yields the lines below the picture."""
    marks = ', '.join(dict.fromkeys(step.mark for step in steps[:num_steps] if step.mark))
    yield 'Rows are queries, the slots; columns are keys: the slots, after the line the input (in).'
    if marks:
        yield f'Framed: {marks}.'
    if num_steps < len(steps):
        left = len(steps) - num_steps
        yield f'{left} further steps are not shown; --picture_steps={len(steps)} shows all.'
