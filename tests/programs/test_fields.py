"""What files of JSON have to hold, and reports on runs whose files were damaged."""

import contextlib
import io
import json
import math
import random

import pytest

from launch import report
from launch.runs import errors, fields, flags
from tasks import base
from tests.programs import test_perplexities, test_report_program

SHAPE = {
    'name': str,
    'facts': {'count': int, 'share': fields.NUMBER, 'best': fields.OPTIONAL},
    'kind': frozenset(('new', 'old')),
    'levels': [int],
    'pair': [int, str],
    'scores': fields.Each({'valid': fields.NUMBER}),
}
GOOD = {
    'name': 'a',
    'facts': {'count': 3, 'share': 0.5, 'best': None},
    'kind': 'old',
    'levels': [1, 2],
    'pair': [1, 'a'],
    'scores': {'x': {'valid': 2}},
    'more': [{}],
}
DAMAGE = (None, True, -1, 0, 10**400, math.nan, math.inf, '', 'x' * 300, '$\\x$\x1b[2J', [], {})


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({}, ''),
        ({'levels': [], 'scores': {}}, ''),
        ({'name': 3}, 'has no usable name'),
        ({'kind': 'other'}, 'has no usable kind'),
        ({'kind': []}, 'has no usable kind'),
        ({'facts': []}, 'has no usable facts'),
        ({'facts': {'count': 3}}, 'has no facts.best, facts.share'),
        ({'facts': {**GOOD['facts'], 'count': True}}, 'has no usable facts.count'),
        ({'facts': {**GOOD['facts'], 'count': 2**63}}, 'has no usable facts.count'),
        ({'facts': {**GOOD['facts'], 'share': math.nan}}, 'has no usable facts.share'),
        ({'facts': {**GOOD['facts'], 'best': 'high'}}, 'has no usable facts.best'),
        ({'levels': {}}, 'has no usable levels'),
        ({'levels': [1, None]}, 'has no usable levels.1'),
        ({'pair': [1, 2]}, 'has no usable pair.1'),
        ({'pair': [1]}, 'has not 2 of pair'),
        ({'scores': {'x': {'valid': math.inf}}}, 'has no usable scores.x.valid'),
        ({'scores': {'x': {}}}, 'has no scores.x.valid'),
    ],
)
def test_what_does_not_fit_is_named(change, reason):
    if not reason:
        fields.check('file', {**GOOD, **change}, SHAPE, 'write it again')
        return
    with pytest.raises(base.DataError) as caught:
        fields.check('file', {**GOOD, **change}, SHAPE, 'write it again')
    assert str(caught.value) == f'file {reason}: write it again'


def _places(value, place=()):
    """Yields the way to every value in a file of JSON."""
    parts = value.items() if isinstance(value, dict) else ()
    parts = enumerate(value) if isinstance(value, list) else parts
    for name, part in parts:
        yield (*place, name)
        yield from _places(part, (*place, name))


def _changed(value, place, new):
    """Returns a copy with another value in a place, or without the place."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for name in place[:-1]:
        inner = inner[name]
    if new is Ellipsis:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return copy


def _mutations(folder):
    """Yields a file of a run and its damaged text, for every value in it."""
    for name in ('run.json', 'evaluation.json'):
        text = (folder / name).read_text()
        whole = json.loads(text)
        for place in _places(whole):
            for new in (..., *DAMAGE):
                yield name, json.dumps(_changed(whole, place, new))
        yield from ((name, text) for text in (text[: len(text) // 2], '[1]', '[' * 200_000, ''))
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    for number, line in enumerate(lines[-2:], len(lines) - 2):
        for place in _places(json.loads(line)):
            for new in (..., *DAMAGE):
                changed = json.dumps(_changed(json.loads(line), place, new))
                yield 'metrics.jsonl', '\n'.join([*lines[:number], changed, *lines[number + 1 :]])
    yield 'metrics.jsonl', '\n'.join([*lines, '[' * 200_000, '{"step": 7, "loss"'])


def _report_each(folder, output, mutations):
    """Reports on a run once for each damage and returns how often with which code."""
    counts = {}
    for name, text in mutations:
        whole = (folder / name).read_bytes()
        (folder / name).write_text(text)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = flags.main(report.Config, report.run, 'report', None, [str(folder), output])
        (folder / name).write_bytes(whole)
        assert code in (0, errors.BAD_DATA), (name, text[:3000], err.getvalue())
        assert '\x1b' not in out.getvalue() + err.getvalue()
        if code:
            assert err.getvalue().startswith('report: ')
            assert (err.getvalue().count('\n'), len(err.getvalue()) < 2200) == (1, True)
        counts[code] = counts.get(code, 0) + 1
    return counts


def _runs(tmp_path):
    evaluation = test_perplexities._evaluation_of()
    for split in evaluation['splits'].values():
        split['oov_rate'] = 0.25
    evaluation['unroll']['streams'] = 1
    evaluation['program'] = 'lm'
    yield test_report_program._make(tmp_path / 'words', evaluation=evaluation)
    yield test_report_program._make_programs(tmp_path / 'programs')


def test_a_damaged_run_is_reported_or_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(report, '_draw_curves', lambda *args: [])
    monkeypatch.setattr(report, '_draw_programs', lambda *args: [])
    monkeypatch.setattr(report.perplexities, 'draw', lambda *args: [])
    for folder in _runs(tmp_path):
        counts = _report_each(folder, f'--output={tmp_path / "out"}', _mutations(folder))
        assert counts[errors.BAD_DATA] > 100
        assert counts[0] > 100


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_pictures_of_damaged_runs_are_drawn_or_refused(tmp_path):
    for folder in _runs(tmp_path):
        mutations = random.Random(0).sample(list(_mutations(folder)), 120)
        counts = _report_each(folder, f'--output={tmp_path / "out"}', mutations)
        assert counts[0] > 20
