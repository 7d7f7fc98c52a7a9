"""Checks that a file of JSON, which may be damaged, holds what a program will read of it.

A shape is a type, a tuple of types, a frozen set of texts; a list with the shape of any number of
items, or of each; a mapping of names to shapes, which lists what has to be there (more is no
fault); or `Each`.
"""

import dataclasses
from typing import Any

from tasks import base

LARGEST = 2**63  # of a number; what is beyond is damage
NUMBER = (int, float)
OPTIONAL = (int, float, type(None))


@dataclasses.dataclass(frozen=True)
class Each:
    """A mapping of any names to values of one shape."""

    shape: Any


def check(name: object, value: Any, shape: Any, remedy: str) -> None:
    """Raises a DataError that says what is missing or wrong, unless a value has a shape.

    Args:
      name: of the file, for the message.
      value: what it holds.
      shape: what it should hold.
      remedy: what the user can do.
    """
    wrong = _wrong(value, shape, '')
    if wrong:
        raise base.DataError(f'{name} {wrong}: {remedy}')


def is_number(value: Any) -> bool:
    """Returns whether a value is a number that can be computed with."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and abs(value) < LARGEST  # which NaN is not


def _wrong(value: Any, shape: Any, place: str) -> str:
    """Returns what is wrong with a value that is at some place in the file, '' for nothing."""
    if isinstance(shape, frozenset):
        return '' if isinstance(value, str) and value in shape else f'has no usable {place}'
    if isinstance(shape, type | tuple):
        usable = isinstance(value, shape) and (not isinstance(value, NUMBER) or is_number(value))
        return '' if usable else f'has no usable {place}'
    fits = isinstance(value, list) if isinstance(shape, list) else isinstance(value, dict)
    if not fits:
        return f'has no usable {place or "content"}'
    if isinstance(shape, list):
        shapes = shape * len(value) if len(shape) == 1 else shape
        if len(shapes) != len(value):
            return f'has not {len(shapes)} of {place}'
        parts = list(zip(range(len(value)), value, shapes, strict=True))
    elif isinstance(shape, Each):
        parts = [(name, item, shape.shape) for name, item in value.items()]
    else:
        missing = sorted(f'{place}.{name}'.lstrip('.') for name in shape.keys() - value.keys())
        if missing:
            return f'has no {", ".join(missing)}'
        parts = [(name, value[name], inner) for name, inner in shape.items()]
    found = (_wrong(item, inner, f'{place}.{name}'.lstrip('.')) for name, item, inner in parts)
    return next(filter(None, found), '')
