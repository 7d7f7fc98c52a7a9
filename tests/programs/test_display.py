"""Metrics without repeats, progress on terminals and in files, numbers and tables as text."""

import io
import json
import re

import numpy as np
import pytest

from launch.runs import display, errors


def _lines(run_dir):
    return (run_dir / 'metrics.jsonl').read_text().splitlines()


def _write(run_dir, start, steps):
    with display.Metrics(run_dir, start, tensorboard=False) as metrics:
        for step in steps:
            metrics.write(step, {'loss': step + 0.5})


def test_each_step_is_one_line_of_json_at_once(tmp_path):
    with display.Metrics(tmp_path, tensorboard=False) as metrics:
        metrics.write(10, {'loss': np.float32(5.25), 'words': np.int64(7)})
        assert _lines(tmp_path) == ['{"step": 10, "loss": 5.25, "words": 7}']
        metrics.write(20, {'loss': 4.5})
    assert display.read_metrics(tmp_path / 'metrics.jsonl') == [
        {'step': 10, 'loss': 5.25, 'words': 7},
        {'step': 20, 'loss': 4.5},
    ]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    with display.Metrics(tmp_path, tensorboard=True) as metrics:
        metrics.write(1, {'a': float('nan'), 'b': np.float32('inf'), 'c': -np.inf, 'd': 2.5})

    def refuse(word):
        raise AssertionError(word)

    row = json.loads(_lines(tmp_path)[0], parse_constant=refuse)
    assert row == {'step': 1, 'a': None, 'b': None, 'c': None, 'd': 2.5}


def test_a_resumed_run_drops_later_steps_and_repeats_none(tmp_path):
    _write(tmp_path, 0, [10, 20, 30])
    _write(tmp_path, 20, [30, 40])
    steps = [row['step'] for row in display.read_metrics(tmp_path / 'metrics.jsonl')]
    assert steps == [10, 20, 30, 40]
    _write(tmp_path, 0, [10])
    assert _lines(tmp_path) == ['{"step": 10, "loss": 10.5}']


def test_lines_cut_short_are_dropped(tmp_path):
    _write(tmp_path, 0, [10, 20])
    with open(tmp_path / 'metrics.jsonl', 'ab') as file:
        file.write(b'{"step": 15}\n[3]\n{"loss": 3}\n\xff\xfe\n{"step": 18, "lo')
    _write(tmp_path, 20, [30])
    steps = [row['step'] for row in display.read_metrics(tmp_path / 'metrics.jsonl')]
    assert steps == [10, 20, 15, 30]
    assert len(_lines(tmp_path)) == 4


def test_a_missing_file_holds_no_metrics(tmp_path):
    assert display.read_metrics(tmp_path / 'absent.jsonl') == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.RunError, match=r'metrics\.jsonl cannot be written') as caught:
        display.Metrics(tmp_path / 'file')
    assert caught.value.code == errors.CANNOT_SAVE


def _events(folder):
    """Returns (step, tag) of each scalar and the steps where a resumed run began."""
    from tensorboardX.proto import event_pb2

    scalars, starts = [], []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], 'little')
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
            scalars += [(event.step, value.tag) for value in event.summary.value]
            if event.session_log.status == event_pb2.SessionLog.START:
                starts.append(event.step)
    return scalars, starts


def test_tensorboard_holds_the_finite_scalars_and_hides_repeats(tmp_path):
    for start in (0, 10):
        with display.Metrics(tmp_path, start) as metrics:
            metrics.write(start + 10, {'loss': 2.5, 'bad': float('nan')})
    scalars, starts = _events(tmp_path / 'tensorboard')
    assert scalars == [(10, 'loss'), (20, 'loss')]
    assert starts == [1, 11]


def test_plain_progress_is_one_line_for_each_logged_step():
    stream = io.StringIO()
    with display.Progress(num_steps=40, step=10, stream=stream) as progress:
        for step in range(11, 41):
            logged = {'loss': 5.12345, 'words_per_second': 12345.6}
            progress.update(step, logged if step % 20 == 0 else None)
        progress.say('done')
    first, second, last = stream.getvalue().splitlines()
    assert re.fullmatch(r'step 20/40  loss 5\.123  words/s 12,346  00:00 left', first)
    assert second.startswith('step 40/40  loss 5.123')
    assert last == 'done'


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_the_values_and_lines_above_it():
    stream = _Terminal()
    with display.Progress(num_steps=40, step=10, stream=stream) as progress:
        progress.update(20, {'loss': 5.12345, 'perplexity': 167.5, 'words_per_second': 999.5})
        progress.say('a line')
        progress.update(40)
    shown = stream.getvalue()
    assert '10/40' in shown
    assert '20/40' in shown
    assert '40/40' in shown
    assert 'loss 5.123  perplexity 167.5  words/s 999.5' in shown
    assert 'a line\n' in shown
    assert shown.endswith('\n')


def test_time_left_is_extrapolated(monkeypatch):
    now = iter([100.0, 110.0])
    monkeypatch.setattr(display.time, 'monotonic', lambda: next(now))
    stream = io.StringIO()
    progress = display.Progress(num_steps=100, step=20, stream=stream)
    progress.update(40, {'loss': 1.0})
    assert stream.getvalue() == 'step 40/100  loss 1  00:30 left\n'


@pytest.mark.parametrize(
    ('value', 'wanted'),
    [
        (0.000123456, '0.0001235'),
        (3, '3'),
        (12345.6, '12,346'),
        (-2000.4, '-2,000'),
        (99.987, '99.99'),
        (float('nan'), 'nan'),
        (float('inf'), 'inf'),
        (None, '?'),
    ],
)
def test_numbers_are_short(value, wanted):
    assert display.describe({'loss': value}) == f'loss {wanted}'


def test_points_are_the_numbers_of_a_column():
    rows = [{'step': 1, 'a': 7.0}, {'step': 2, 'a': None}, {'step': 3}, {'step': 4, 'a': 5}]
    assert display.points([*rows, {'step': 5, 'a': 'x'}], 'a') == [(1, 7.0), (4, 5)]


def test_a_table_is_aligned():
    rows = [['', 'a', 'bcd'], ['first', '10.5', '2'], ['x', '', '']]
    assert display.table(rows).splitlines() == [
        '          a  bcd',
        'first  10.5    2',
        'x',
    ]


def test_progress_names_what_it_counts():
    stream = io.StringIO()
    with display.Progress(num_steps=40, stream=stream, unit='word') as progress:
        progress.update(10, {'words_per_second': 5.0})
    assert stream.getvalue().startswith('word 10/40  words/s 5  ')


def test_training_seconds_add_up_and_lie_between_the_lines_of_the_log():
    rows = [{'step': 10, 'seconds': 4.0}, {'step': 10, 'accuracy': 0.5}, {'step': 30, 'seconds': 6}]
    assert display.training_seconds(rows, [0, 5, 10, 20, 30, 40]) == [0, 2, 4, 7, 10, 10]
    assert display.training_seconds([], [7]) == [0]
