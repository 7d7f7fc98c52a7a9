"""Numbers and tables as text."""

from collections.abc import Mapping, Sequence
import math

from launch.runs import plain


def perplexity(nll: float) -> float:
    """Returns the perplexity of a mean nll in nats, of 700 for one above, which would overflow."""
    return math.exp(min(nll, 700.0))


def describe(values: Mapping[str, float | None]) -> str:
    """Returns numbers by name as one readable line.

    Args:
      values: for example `{'loss': 5.12345, 'words_per_second': 12345.6}`.

    Returns:
      For example `loss 5.123  words/s 12,346`.
    """
    names = {name: name.replace('_per_second', '/s').replace('_', ' ') for name in values}
    return '  '.join(f'{names[name]} {number(value)}' for name, value in values.items())


def number(value: float | None) -> str:
    """Returns a number in about four digits, with commas, and ? for None."""
    if value is None:
        return '?'
    if math.isfinite(value) and (abs(value) >= 1000 or float(value).is_integer()):
        return f'{value:,.0f}'
    return f'{value:.4g}'


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells as text: the first column to the left, the others to the right.

    Args:
      rows: the header and the rows below it, all of one length.
    """
    rows = [[plain.line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        '  '.join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return '\n'.join(line.rstrip() for line in lines)
