"""The page on which a person steps through a sequence: one HTML file that needs nothing else.

`attention.html`, `attention.css`, `attention.js` and `attention_panels.js` beside this file are its
parts; the head of `attention.js` says which data it reads. Attention is stored in steps of 1/65535,
the memory's strips in 127 steps of their greatest value, all other numbers with five digits.

Glossary of shapes:
  T: steps; L: blocks; H: heads; R: rows that look; M: columns, N slots and the rows of the input.
  N: slots; F: slot size; C: cells of a slot's strip; G: one gate's size, F or 1.
"""

import base64
from collections.abc import Sequence
import html
import json
import pathlib
import re
from typing import Any

import numpy as np

from launch.inspection import subjects

_FOLDER = pathlib.Path(__file__).parent
_MOST_CELLS = 150_000  # of all strips, a byte each


def render(subject: subjects.Subject, looks: Sequence[subjects.Look]) -> str:
    """Returns the page.

    Args:
      subject: the core and what it was shown.
      looks: what happened inside, one an example.
    """
    data = json.dumps(describe(subject, looks), ensure_ascii=False, separators=(',', ':'))
    parts = {
        'style': _read('attention.css'),
        'script': '\n'.join(map(_read, ('attention.js', 'attention_panels.js'))),
        'data': data.replace('<', '\\u003c'),  # nothing in it ends the element it stands in
        'title': html.escape(subject.title),
    }
    return re.sub('@(style|script|data|title)@', lambda m: parts[m[1]], _read('attention.html'))


def describe(subject: subjects.Subject, looks: Sequence[subjects.Look]) -> dict[str, Any]:
    """Returns the data of the page, as JSON holds them.

    Args:
      subject: the core and what it was shown.
      looks: what happened inside, one an example.
    """
    first = looks[0]
    num_slots, slot_size = first.memory.shape[1:]
    heads, rows = first.attention[0].shape[1], [block.shape[2] for block in first.attention]
    num_steps = sum(len(look.memory) + 1 for look in looks)
    stride = -(-num_steps * num_slots * slot_size // _MOST_CELLS)  # every so many units are shown
    cells = -(-slot_size // stride)
    limit = max(float(np.abs(_with_start(look)).max()) for look in looks)
    return {
        'facts': _facts(num_slots, slot_size, heads, len(rows)),
        'gatesNote': _gates_note(first),
        'memoryNote': _memory_note(stride, slot_size, limit),
        'slots': num_slots,
        'names': _names(num_slots, first.attention[0].shape[3]),
        'heads': heads,
        'rows': rows,
        'gates': list(first.gates),
        'cells': cells,
        'limit': limit,
        'examples': [
            _example(example, look, stride, limit)
            for example, look in zip(subject.examples, looks, strict=True)
        ],
    }


def _example(
    example: subjects.Example, look: subjects.Look, stride: int, limit: float
) -> dict[str, Any]:
    strips = np.round(_with_start(look)[..., ::stride] * 127 / (limit or 1))
    change = np.linalg.norm(look.memory - look.before, axis=-1)
    return {
        'title': example.title,
        'steps': [
            {**step._asdict(), 'answers': [(text, _short(p)) for text, p in step.answers]}
            for step in example.steps
        ],
        'attention': [_base64(np.round(block * 65535), '<u2') for block in look.attention],
        'gates': {name: _table(gate.mean(axis=-1)) for name, gate in look.gates.items()},
        'change': _table(change),
        'memory': _base64(strips, 'i1'),
    }


def _with_start(look: subjects.Look) -> np.ndarray:
    """Returns the memory before the first step and after every one, [T + 1, N, F]."""
    return np.concatenate([look.before[:1], look.memory])


def _names(num_slots: int, num_columns: int) -> list[str]:
    """Names what is looked at: the slots, then the rows of the input."""
    num_inputs = num_columns - num_slots
    inputs = ['input'] if num_inputs == 1 else [f'input {k + 1}' for k in range(num_inputs)]
    return [*(f'slot {i + 1}' for i in range(num_slots)), *inputs]


def _facts(num_slots: int, slot_size: int, heads: int, blocks: int) -> str:
    counts = {'slot': num_slots, 'attention head': heads, 'block': blocks}
    parts = [f'{count:,} {name}{"" if count == 1 else "s"}' for name, count in counts.items()]
    parts[0] += f' of {slot_size:,} units'
    return ' · '.join(parts)


def _gates_note(look: subjects.Look) -> str:
    change = 'change is the length of the difference that the step made to the slot'
    if not look.gates:
        return f'This core has no gates; {change}.'
    means = 'mean over the units of a slot' if look.gates['input'].shape[-1] > 1 else 'one a slot'
    return f'Gates, {means}, lie between 0 and 1; {change}.'


def _memory_note(stride: int, slot_size: int, limit: float) -> str:
    shown = f'all {slot_size:,} units' if stride == 1 else f'one in {stride} of {slot_size:,} units'
    return f'A row is a slot, {shown}: blue is negative, orange positive, up to {limit:.2f}.'


def _table(values: np.ndarray) -> list[list[float]]:
    return [[_short(value) for value in row] for row in values.tolist()]


def _short(value: float) -> float:
    return float(f'{value:.5g}')


def _base64(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode('ascii')


def _read(name: str) -> str:
    return (_FOLDER / name).read_text('utf-8').rstrip('\n')
