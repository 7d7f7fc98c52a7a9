"""The vocabulary that all tasks share.

Glossary of shapes:
  T: time steps (or words of a window); B: batch size.
"""

from typing import NamedTuple

import chex


class Batch(NamedTuple):
    """One time-major batch of a supervised task."""

    inputs: chex.Array  # [T, B, ...]
    targets: chex.Array  # [T, B] or [B], class or word ids
    weights: chex.Array  # like targets; 0 where there is nothing to predict
    resets: chex.Array | None = None  # [T, B] bool, True at the first step of an episode


class DataError(Exception):
    """Data that cannot be used; the one-line message names path, reason and remedy (exit 65)."""
