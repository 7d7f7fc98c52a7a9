"""Writes one program of Learning to Execute, evaluates it, and turns texts into ids and back.

Glossary of shapes:
  B: texts; N: levels of nesting; M: operands of an operation.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tasks.learning_to_execute import setting as setting_lib

# The id of each ASCII character; of those that no program has, that of padding.
_IDS = bytes(max(setting_lib.CHARACTERS.find(chr(code)), setting_lib.PAD) for code in range(256))


class Choices(NamedTuple):
    """What one program is built from; what it does not need of the lists [N] is left alone."""

    variants: Sequence[setting_lib.Variant]  # from the innermost on, as many as its own nesting
    base: int  # the innermost literal
    literals: Sequence[Sequence[int]]  # [N, M]
    turns: Sequence[int]  # [N]
    signs: Sequence[int]  # [N], 1 for + and <, -1 for - and >
    names: Sequence[int]  # [N] of variables, none twice


def write(choices: Choices, brackets: bool) -> tuple[str, int]:
    """Writes and evaluates a program.

    Args:
      choices: what it is built from.
      brackets: True to put brackets around what is nested, False for a program that prints.

    Returns:
      The text and the value.
    """
    lines, text, value = '', str(choices.base), choices.base
    for level, (operation, place) in enumerate(choices.variants):
        turns, sign = choices.turns[level], choices.signs[level]
        values: list[int] = list(choices.literals[level])
        texts: list[int | str] = list(values)
        values[place], texts[place] = value, f'({text})' if brackets and level else text
        fields = {
            'turns': turns,
            'sign': '+' if sign > 0 else '-',
            'compare': '<' if sign > 0 else '>',
            'name': setting_lib.VARIABLES[choices.names[level]],
        }
        lines += operation.lines.format(*texts, **fields)
        text = operation.expression.format(*texts, **fields)
        value = operation.value(values, turns, sign)
    return text if brackets else f'{lines}print({text})', value


def encode(texts: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Turns B texts into ids.

    Args:
      texts: B texts of at most `width` characters.
      width: to which ids are padded.

    Returns:
      The ids [B, width] uint8, padded at their ends, and the lengths of the texts [B] int32.
    """
    padded = ''.join([text.ljust(width, '\0') for text in texts])
    ids = np.frombuffer(padded.encode().translate(_IDS), np.uint8)
    return ids.reshape(len(texts), width), np.array([len(text) for text in texts], np.int32)


def decode(ids: Iterable[int]) -> str:
    """Returns ids as text, padding too."""
    return ''.join(setting_lib.CHARACTERS[index] for index in ids)
