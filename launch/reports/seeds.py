"""Runs that differ in the seed alone: which they are, and mean and standard error of their numbers.

The standard error of n numbers is their standard deviation, with n - 1 in its denominator, divided
by the square root of n.

Glossary of shapes:
  R: runs; K: points of their mean curve.
"""

from collections.abc import Collection, Mapping, Sequence
import itertools
import json
import math
from typing import Any, NamedTuple

import numpy as np

from launch.runs import display, plots

Facts = Mapping[str, Any]

# Flags with which a run is started again without a change of its results, besides the seed. Where a
# corpus lies is among them because the corpus itself is compared, see `settings`.
IGNORED = frozenset(
    {
        *('seed', 'run_dir', 'preset', 'mode', 'log_every', 'evaluate_every', 'save_every', 'keep'),
        *('cache_dir', 'data_dir', 'compilation_cache', 'coordinator_address', 'process_id'),
        *('evaluation_words', 'num_words', 'output', 'prompt', 'repeats', 'target'),
        *('temperature', 'top_p'),
    }
)


class Estimate(NamedTuple):
    """The mean of n numbers."""

    mean: float
    error: float | None  # the standard error, None for one number
    n: int


def by_seed(
    configs: Sequence[Mapping[str, Any]], ignored: Collection[str] = IGNORED
) -> list[list[int]]:
    """Returns the indices of runs in groups that differ in the seed alone, in the given order.

    A run without a seed, or with one that its group has already, is in another group: it would add
    no independent number.

    Args:
      configs: the flags of each run.
      ignored: flags that may differ; `seed` is one of them.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for index, config in enumerate(configs):
        rest = {name: value for name, value in config.items() if name not in ignored}
        key, seed = json.dumps(rest, sort_keys=True, default=str), config.get('seed')
        for count in itertools.count():
            group = groups.setdefault((key, count), [])
            seeds = [configs[other].get('seed') for other in group]
            if not group or (seed is not None and seed not in seeds and None not in seeds):
                group.append(index)
                break
    return list(groups.values())


def estimate(values: Sequence[float | None]) -> Estimate | None:
    """Returns mean and standard error of the numbers among some values, None if there is none."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    n = len(numbers)
    error = float(np.std(numbers, ddof=1)) / math.sqrt(n) if n > 1 else None
    return Estimate(float(np.mean(numbers)), error, n)


def mean_curve(curves: Sequence[plots.Points]) -> plots.Curve:
    """Returns the mean of curves where all of them are known, and its standard error.

    Its x values are those of all curves, from where the last one begins to where the first one
    ends; between two points a curve is a straight line. So every point of the mean is of all R
    curves, and no curve is continued beyond what was measured.

    Args:
      curves: (x, y) of the runs in the order of x, R in all; those without points are left out.
    """
    known = [curve for curve in curves if curve]
    if len(known) < 2:
        return plots.Curve(known[0] if known else [])
    low = max(curve[0][0] for curve in known)
    high = min(curve[-1][0] for curve in known)
    xs = sorted({x for curve in known for x, _ in curve if low <= x <= high})
    columns = [tuple(zip(*curve, strict=True)) for curve in known]
    heights = np.array([np.interp(xs, places, ys) for places, ys in columns])  # [R, K]
    means = heights.mean(axis=0) if xs else []
    errors = heights.std(axis=0, ddof=1) / math.sqrt(len(known)) if xs else []
    points = [(x, float(mean)) for x, mean in zip(xs, means, strict=True)]
    return plots.Curve(points, [float(error) for error in errors], known)


def show(found: Estimate | None) -> str:
    """Returns a mean and its standard error, to two digits of the error, as a cell of a table."""
    if found is None or found.error is None:
        return display.number(found.mean if found else None)
    return display.mean(found.mean, found.error)


def pool(runs: Sequence[Facts]) -> Facts:
    """Returns the facts of the first of some runs, which stand for all; see `pooled`."""
    return {**runs[0], 'runs': list(runs)}


def pooled(facts: Facts) -> Sequence[Facts]:
    """Returns the facts of each run of what `pool` has returned, or of the one run."""
    return facts.get('runs', [facts])
