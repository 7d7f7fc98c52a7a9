"""Smaller tasks of Nth Farthest in the format of the whole one, for a curriculum.

A smaller task has fewer vectors, or vectors of fewer dimensions. Its labels, n and m are below its
number of vectors. Its inputs have the size of the whole task's: what it lacks is 0. Its sequences
have as many steps as vectors.

Glossary of shapes:
  N: vectors of the whole task; D: their dimensions; B: sequences; K, E: those of a smaller one.
"""

from collections.abc import Callable, Sequence
import functools
import re
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from tasks import nth_farthest

_Result = TypeVar('_Result')


class Sizes(NamedTuple):
    """The sizes of a task."""

    num_objects: int
    num_dims: int


class Sample(NamedTuple):
    """Sequences of a smaller task, in the format of the whole one."""

    inputs: jax.Array  # [N, B, D + 3 N], 0 after step K
    answers: jax.Array  # [B] int32, labels below K
    ranking: jax.Array  # [N n, B] int32, the answer for every n; 0 where n is not below K
    ranking_weights: jax.Array  # [N n, B], 1 / K where n is below K, else 0


def parse(text: str, whole: Sizes) -> tuple[Sizes, ...]:
    """Returns the levels that a flag names, with the whole task as the last.

    Args:
      text: such as `3x1,4x1`, vectors x dimensions; empty for no curriculum.
      whole: the whole task.

    Raises:
      ValueError: it names no sizes, or larger ones than those of the whole task.
    """
    if not text:
        return ()
    levels = []
    for part in text.split(','):
        found = re.fullmatch(r'(\d+)x(\d+)', part.strip())
        if not found:
            raise ValueError(f'wanted VECTORSxDIMENSIONS,..., such as 3x1,4x1; got {part!r}')
        sizes = Sizes(*map(int, found.groups()))
        if not 2 <= sizes.num_objects <= whole.num_objects:
            raise ValueError(f'wanted 2 to {whole.num_objects} vectors, got {part.strip()}')
        if not 1 <= sizes.num_dims <= whole.num_dims:
            raise ValueError(f'wanted 1 to {whole.num_dims} dimensions, got {part.strip()}')
        levels.append(sizes)
    return (*levels, *([whole] if levels[-1] != whole else []))


def sample(keys: jax.Array, sizes: Sizes, whole: Sizes) -> Sample:
    """Samples sequences of a smaller task.

    Args:
      keys: [B] keys.
      sizes: K and E.
      whole: N and D.
    """
    questions = nth_farthest.sample(keys, *sizes)
    vectors, *one_hots = nth_farthest.split(questions.inputs, sizes.num_dims)
    widened = [_widen(one_hot, whole.num_objects) for one_hot in one_hots]
    inputs = jnp.concatenate([_widen(vectors, whole.num_dims), *widened], axis=-1)
    missing = whole.num_objects - sizes.num_objects
    weights = jnp.full(questions.ranking.shape, 1 / sizes.num_objects)
    return Sample(
        jnp.pad(inputs, [(0, missing), (0, 0), (0, 0)]),
        questions.answers,
        jnp.pad(questions.ranking, [(0, missing), (0, 0)]),
        jnp.pad(weights, [(0, missing), (0, 0)]),
    )


def sample_level(keys: jax.Array, levels: Sequence[Sizes], level: jax.Array) -> Sample:
    """Returns what `sample` does for a level [] int32 of levels, of which the last is the whole."""
    branches = [functools.partial(sample, sizes=sizes, whole=levels[-1]) for sizes in levels]
    return jax.lax.switch(level, branches, keys)


def of_length(
    function: Callable[[jax.Array], _Result],
    inputs: jax.Array,
    levels: Sequence[Sizes],
    level: jax.Array,
) -> _Result:
    """Returns `function` of inputs [N, B, ...] without the steps that a level does not have.

    Args:
      function: of inputs [K, B, ...]; its result has the same shape for every K.
      inputs: of `sample_level`.
      levels: the levels.
      level: [] int32, which of them.
    """
    lengths = sorted({sizes.num_objects for sizes in levels})
    branches = [lambda inputs, length=length: function(inputs[:length]) for length in lengths]
    places = jnp.array([lengths.index(sizes.num_objects) for sizes in levels])
    return jax.lax.switch(places[level], branches, inputs)


def _widen(x: jax.Array, size: int) -> jax.Array:
    """Returns [..., ?] followed by zeros, [..., size]."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])])
