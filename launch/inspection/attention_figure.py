"""Attention over time as a picture, after figure 3 of Santoro et al. 2018.

A column of matrices is a step, a row of them a head. In each matrix, rows are queries and columns
keys: the slots, then after a line the input. Steps that the task marks have a frame.

Glossary of shapes:
  T: steps; H: heads; R: queries; M: keys; N: slots.
"""

from collections.abc import Sequence
import os
from typing import Any

import numpy as np

from launch.inspection import tracing
from launch.runs import plots

MAX_STEPS, MAX_HEADS = 16, 8  # more would be too small to see
_MARK = plots.PALETTE[0]


def draw(
    example: tracing.Example, trace: tracing.Trace, output: str | os.PathLike[str], title: str
) -> None:
    """Draws the attention of the last block.

    Args:
      example: a sequence; at most its first 16 steps are drawn.
      trace: of this sequence; at most the first 8 heads are drawn.
      output: the picture's path.
      title: above the picture.
    """
    attention = trace.attention[-1][:MAX_STEPS, :MAX_HEADS]  # [T, H, R, M]
    num_steps, num_heads, queries, keys = attention.shape
    size = max(0.55, min(1.0, 0.11 * keys + 0.3))
    picture = plots.blank(
        layout='compressed',
        figsize=(1.6 + num_steps * size * 1.12, 1.7 + num_heads * size * 1.12 * queries / keys),
    )
    grid = picture.subplots(num_heads, num_steps, squeeze=False)
    for head, row in enumerate(grid):
        for axes, weights, step in zip(row, attention[:, head], example.steps, strict=False):
            image = _draw_matrix(axes, weights, bool(step.mark))
        row[0].set_ylabel(f'head {head + 1}', fontsize=9, rotation=0, ha='right', va='center')
    for axes, step in zip(grid[0], example.steps, strict=False):
        _write_label(axes, step)
    bar = picture.colorbar(image, ax=grid, fraction=0.02, pad=0.01)
    bar.outline.set_visible(False)
    bar.set_label('attention', fontsize=9)
    caption = _caption(example.steps[:num_steps])
    picture.suptitle(f'{title}\n', x=0, ha='left', fontsize=12, fontweight='bold')
    picture.text(0, 0, caption, ha='left', va='top', fontsize=9, parse_math=False)
    plots.write(picture, output)


def _draw_matrix(axes: Any, weights: np.ndarray, marked: bool) -> Any:
    """Draws weights [R, M], 0 white and 1 dark, and a line before the keys of the input."""
    queries, keys = weights.shape
    image = axes.imshow(weights, cmap='Oranges', vmin=0, vmax=1, interpolation='nearest')
    num_slots = queries if queries < keys else keys - 1
    axes.axvline(num_slots - 0.5, color='0.35', linewidth=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(_MARK if marked else '0.8')
    axes.spines[:].set_linewidth(2.2 if marked else 0.6)
    return image


def _write_label(axes: Any, step: tracing.Step) -> None:
    text = step.label if len(step.label) <= 9 else f'{step.label[:8]}…'
    weight, color = ('bold', _MARK) if step.mark else ('normal', '0.2')
    # Labels may contain dollar signs, which would be parsed as formulas.
    axes.set_title(
        text, fontsize=8, fontweight=weight, color=color, rotation=30, ha='left', parse_math=False
    )


def _caption(steps: Sequence[tracing.Step]) -> str:
    marks = ', '.join(dict.fromkeys(step.mark for step in steps if step.mark))
    caption = 'rows: queries; columns: keys, the slots, and after the line the input'
    return f'{caption}; framed: {marks}' if marks else caption
