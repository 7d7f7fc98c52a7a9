"""Networks that are trained side by side, each from a seed of its own.

Their parameters, and all else that each of them has alone, are one tree with an axis more. One
network alone has no such axis, so its state is what it was before there could be several.

What is measured of them stands in `metrics.jsonl` as the mean, under the measure's own name, and
beside it for each network, as `seed_3_accuracy`.

Glossary of shapes:
  S: networks; K: rows that have a mean.
"""

from collections.abc import Mapping, Sequence
import re
import statistics
from typing import Any

import chex
import jax
import numpy as np

from launch.runs import display

Values = Mapping[str, float]  # of one network


def stack(trees: Sequence[chex.ArrayTree]) -> chex.ArrayTree:
    """Makes one tree of host arrays [S, ...] of those of S networks; of one it stays as it is."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *x: np.stack(x), *trees)


def split(tree: chex.ArrayTree, count: int) -> list[chex.ArrayTree]:
    """Undoes `stack`: returns the tree of each of `count` networks."""
    if count == 1:
        return [tree]
    return [jax.tree.map(lambda x, index=index: x[index], tree) for index in range(count)]


def summarise(seeds: Sequence[int], values: Sequence[Values]) -> dict[str, float]:
    """Returns the means over networks by name and, if there are several, each network's values.

    Args:
      seeds: of the networks.
      values: what was measured of each, under the same names.
    """
    if len(seeds) == 1:
        return dict(values[0])
    own = {
        f'seed_{seed}_{name}': value
        for seed, each in zip(seeds, values, strict=True)
        for name, value in each.items()
    }
    return {**_means(values), **own}


def describe(values: Sequence[Values]) -> str:
    """Returns means and ranges as one line, for example `accuracy 0.512 (0.45 to 0.56)`."""
    return '  '.join(
        f'{display.describe({name: mean})}{_describe_range([each[name] for each in values])}'
        for name, mean in _means(values).items()
    )


def ranges(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Returns the lowest and the highest network wherever `metrics.points` finds the mean.

    Args:
      rows: of `metrics.jsonl`.
      name: of a measure.

    Returns:
      K pairs; none if there is one network, or if what each has alone was not written.
    """
    own = re.compile(f'seed_[0-9]+_{re.escape(name)}')
    columns = {column for row in rows for column in row if own.fullmatch(column)}
    if not columns:
        return []
    found = []
    for row in rows:
        if isinstance(row.get(name), int | float):
            each = [row[column] for column in columns if isinstance(row.get(column), int | float)]
            found.append((min(each, default=row[name]), max(each, default=row[name])))
    return found


def _means(values: Sequence[Values]) -> dict[str, float]:
    return {name: statistics.fmean(each[name] for each in values) for name in values[0]}


def _describe_range(values: Sequence[float]) -> str:
    if len(values) == 1:
        return ''
    return f' ({display.number(min(values))} to {display.number(max(values))})'
