"""The page with the traces of a subject: one HTML file that needs nothing else.

`page.html`, `page.css`, `page.js`, `page_panels.js` and `page_scene.js` of this folder are its
parts; the head of `page.js` describes the data. Attention is stored in steps of 1/65535, the
strips of the memory in 127 steps of their greatest value, all other numbers with five digits.

Glossary of shapes:
  T: steps; L: blocks; H: heads; R: queries; N: slots; F: slot size; C: cells of a slot's strip.
"""

import base64
from collections.abc import Sequence
import html
import json
import pathlib
import re
from typing import Any

import numpy as np

from launch.inspection import tracing

_FOLDER = pathlib.Path(__file__).parent
_SCRIPTS = ('page.js', 'page_panels.js', 'page_scene.js')
_MAX_CELLS = 150_000  # of all strips together, a byte each


def render(subject: tracing.Subject, traces: Sequence[tracing.Trace]) -> str:
    """Returns the page.

    Args:
      subject: the core and its sequences.
      traces: one for each of them.
    """
    data = json.dumps(describe(subject, traces), ensure_ascii=False, separators=(',', ':'))
    parts = {
        'style': _read('page.css'),
        'script': '\n'.join(map(_read, _SCRIPTS)),
        'data': data.replace('<', '\\u003c'),  # so that it cannot end its element
        'title': html.escape(subject.title),
    }
    return re.sub('@(style|script|data|title)@', lambda m: parts[m[1]], _read('page.html'))


def describe(subject: tracing.Subject, traces: Sequence[tracing.Trace]) -> dict[str, Any]:
    """Returns the data of the page, of types that JSON knows.

    Args:
      subject: the core and its sequences.
      traces: one for each of them.
    """
    first = traces[0]
    num_slots, slot_size = first.memory.shape[1:]
    num_inputs = first.attention[0].shape[3] - num_slots
    inputs = ['input'] if num_inputs == 1 else [f'input {k + 1}' for k in range(num_inputs)]
    inputs = list(subject.inputs) or inputs
    num_heads = first.attention[0].shape[1]
    num_steps = sum(len(trace.memory) + 1 for trace in traces)
    stride = -(-num_steps * num_slots * slot_size // _MAX_CELLS)  # of the units that are shown
    limit = max(float(np.abs(_memories(trace)).max()) for trace in traces)
    units = f'all {slot_size:,}' if stride == 1 else f'one in {stride} of {slot_size:,}'
    return {
        'about': subject.about,
        'answersTitle': subject.answers,
        'facts': _facts(num_slots, slot_size, num_heads, len(first.attention)),
        'gatesNote': _gates_note(first),
        'memoryNote': f'One row per slot, {units} units: blue is negative, orange positive, '
        f'up to {limit:.2f}.',
        'slots': num_slots,
        'names': [*(f'slot {i + 1}' for i in range(num_slots)), *inputs],
        'inputColumns': subject.input_columns,
        'heads': num_heads,
        'queries': [block.shape[2] for block in first.attention],
        'gates': list(first.gates),
        'cells': -(-slot_size // stride),
        'limit': limit,
        'examples': [
            _example(example, trace, stride, limit)
            for example, trace in zip(subject.examples, traces, strict=True)
        ],
    }


def _example(
    example: tracing.Example, trace: tracing.Trace, stride: int, limit: float
) -> dict[str, Any]:
    points, pictures = example.points, example.pictures
    strips = np.round(_memories(trace)[..., ::stride] * 127 / (limit or 1))
    return {
        'title': example.title,
        'steps': [
            {**step._asdict(), 'answers': [(text, _short(p)) for text, p in step.answers]}
            for step in example.steps
        ],
        'attention': [_base64(np.round(block * 65535), '<u2') for block in trace.attention],
        'gates': {name: _table(gate.mean(axis=-1)) for name, gate in trace.gates.items()},
        'change': _table(np.linalg.norm(trace.memory - trace.before, axis=-1)),
        'memory': _base64(strips, 'i1'),
        'points': None if points is None else _table(points),
        'pictures': None if pictures is None else _pictures(pictures),
    }


def _pictures(pictures: np.ndarray) -> dict[str, Any]:
    height, width = pictures.shape[1:3]
    return {'height': height, 'width': width, 'colors': _base64(pictures, 'u1')}


def _memories(trace: tracing.Trace) -> np.ndarray:
    """Returns the memory before the first step and after every one, [T + 1, N, F]."""
    return np.concatenate([trace.before[:1], trace.memory])


def _facts(num_slots: int, slot_size: int, num_heads: int, num_blocks: int) -> str:
    counts = {'slot': num_slots, 'attention head': num_heads, 'block': num_blocks}
    parts = [f'{count:,} {name}{"" if count == 1 else "s"}' for name, count in counts.items()]
    parts[0] += f' of {slot_size:,} units'
    return ' · '.join(parts)


def _gates_note(trace: tracing.Trace) -> str:
    change = 'change is the length of the difference between a slot before and after the step'
    if not trace.gates:
        return f'This core has no gates; {change}.'
    is_unit = trace.gates['input'].shape[-1] > 1
    kind = 'means over the units of a slot' if is_unit else 'one per slot'
    return f'Gates, {kind}, are between 0 and 1; {change}.'


def _table(values: np.ndarray) -> list[list[float]]:
    return [[_short(value) for value in row] for row in values.tolist()]


def _short(value: float) -> float:
    return float(f'{value:.5g}')


def _base64(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode('ascii')


def _read(name: str) -> str:
    return (_FOLDER / name).read_text('utf-8').rstrip('\n')
