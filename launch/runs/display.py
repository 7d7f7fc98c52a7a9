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


def short(value: float) -> str:
    """Returns a number in three digits, as the legends of pictures show it."""
    if abs(value) >= 10_000:
        return f'{value / 1000:,.3g} k' if abs(value) < 999_500 else f'{value / 1e6:,.3g} M'
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def decimals(value: float, digits: int = 3) -> int:
    """Returns how many digits after the point a positive number has if it is shown in so many."""
    return max(0, digits - 1 - math.floor(math.log10(value))) if value else 0


def mean(value: float, error: float) -> str:
    """Returns a mean and its standard error, to two digits of the error."""
    if not (error > 0 and math.isfinite(error)):
        return f'{number(value)} ± {number(error)}'
    places = decimals(error, digits=2)
    return f'{value:,.{places}f} ± {error:,.{places}f}'


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
