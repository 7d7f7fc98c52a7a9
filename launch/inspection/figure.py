"""Attention over time as a picture, after figure 3 of Santoro et al. 2018.

A column is a step, a row of matrices a head. In a matrix, rows look and columns are looked at: the
slots, then behind a line the input. Steps that the task marks are framed.

Glossary of shapes:
  T: steps; H: heads; R: rows that look; M: columns; N: slots.
"""

from collections.abc import Sequence
import os
from typing import Any

import numpy as np

from launch.inspection import subjects
from launch.runs import plots

_MOST_STEPS, _MOST_HEADS = 16, 8  # more would be too small to see
_MARK = plots.PALETTE[0]


def draw(
    example: subjects.Example, look: subjects.Look, output: str | os.PathLike[str], title: str
) -> None:
    """Draws the attention of the last block.

    Args:
      example: what the core was shown; of a long one the first 16 steps are drawn.
      look: what happened inside; of many heads the first 8 are drawn.
      output: the picture's path.
      title: stands above the picture.
    """
    from matplotlib import figure  # takes a second

    attention = look.attention[-1][:_MOST_STEPS, :_MOST_HEADS]
    num_steps, heads, rows, columns = attention.shape
    size = max(0.55, min(1.0, 0.11 * columns + 0.3))
    picture = figure.Figure(
        layout='compressed',
        figsize=(1.6 + num_steps * size * 1.12, 1.7 + heads * size * 1.12 * rows / columns),
        dpi=150,
    )
    grid = picture.subplots(heads, num_steps, squeeze=False)
    for head in range(heads):
        for t in range(num_steps):
            image = _draw_matrix(grid[head, t], attention[t, head], bool(example.steps[t].mark))
        grid[head, 0].set_ylabel(
            f'head {head + 1}', fontsize=9, rotation=0, ha='right', va='center'
        )
    for t in range(num_steps):
        step = example.steps[t]
        _write_label(grid[0, t], step.label, bool(step.mark))
    bar = picture.colorbar(image, ax=grid, fraction=0.02, pad=0.01)
    bar.outline.set_visible(False)
    bar.set_label('attention', fontsize=9)
    caption = _caption(example.steps[:num_steps])
    picture.suptitle(f'{title}\n', x=0, ha='left', fontsize=12, fontweight='bold')
    picture.text(0, 0, caption, ha='left', va='top', fontsize=9, parse_math=False)
    picture.savefig(output, format='png', bbox_inches='tight')


def _draw_matrix(axes: Any, weights: np.ndarray, marked: bool) -> Any:
    """Draws weights [R, M], 0 white and 1 dark, and a line before the input's columns."""
    rows, columns = weights.shape
    image = axes.imshow(weights, cmap='Oranges', vmin=0, vmax=1, interpolation='nearest')
    num_slots = rows if rows < columns else columns - 1
    axes.axvline(num_slots - 0.5, color='0.35', linewidth=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(_MARK if marked else '0.8')
    axes.spines[:].set_linewidth(2.2 if marked else 0.6)
    return image


def _write_label(axes: Any, label: str, marked: bool) -> None:
    text = label if len(label) <= 9 else f'{label[:8]}…'
    weight, color = ('bold', _MARK) if marked else ('normal', '0.2')
    # What a task shows may hold dollar signs, which would be read as formulas.
    axes.set_title(
        text, fontsize=8, fontweight=weight, color=color, rotation=30, ha='left', parse_math=False
    )


def _caption(steps: Sequence[subjects.Step]) -> str:
    """Says what is what, and what the marks mean."""
    marks = ', '.join(dict.fromkeys(step.mark for step in steps if step.mark))
    caption = 'rows look; columns: the slots, and behind the line the input'
    return f'{caption}; framed: {marks}' if marks else caption
