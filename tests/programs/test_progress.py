"""How far a pass is: bars on terminals, plain lines elsewhere."""

import io
import re

import pytest

from launch.runs import progress as progress_lib


class _Terminal(io.StringIO):
    def isatty(self):
        return True


class _Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = _Clock()
    monkeypatch.setattr(progress_lib.time, 'monotonic', clock)
    return clock


def test_training_is_one_plain_line_for_each_logged_step():
    stream = io.StringIO()
    with progress_lib.Progress(stream) as progress:
        for step in range(10, 41):
            logged = {'loss': 5.12345, 'words_per_second': 12345.6}
            progress.step(step, 40, logged if step in (20, 40) else None)
        progress.say('done')
    first, second, last = stream.getvalue().splitlines()
    assert re.fullmatch(r'step 20/40  loss 5\.123  words/s 12,346  00:00 left', first)
    assert second.startswith('step 40/40  loss 5.123')
    assert last == 'done'


def test_a_terminal_gets_a_bar_with_the_values_and_lines_above_it():
    stream = _Terminal()
    with progress_lib.Progress(stream) as progress:
        progress.step(10, 40, None)
        progress.step(20, 40, {'loss': 5.12345, 'perplexity': 167.5, 'words_per_second': 999.5})
        progress.say('a line')
        progress.step(40, 40, None)
    shown = stream.getvalue()
    for part in ('10/40', '20/40', '40/40', 'loss 5.123  perplexity 167.5  words/s 999.5'):
        assert part in shown
    assert 'a line\n' in shown
    assert shown.endswith('\n')


def test_time_left_is_extrapolated_from_where_training_started(clock):
    stream = io.StringIO()
    progress = progress_lib.Progress(stream)
    progress.step(20, 100, None)
    clock.now += 10
    progress.step(40, 100, {'loss': 1.0})
    assert stream.getvalue() == 'step 40/100  loss 1  00:30 left\n'


def test_compiling_is_shown_with_its_time_and_counts_for_no_step(clock):
    stream = io.StringIO()
    progress = progress_lib.Progress(stream)
    progress.step(0, 100, None)
    with progress.compiling():
        assert stream.getvalue() == 'compiling…\n'
        clock.now += 90
    clock.now += 10
    progress.step(20, 100, {'loss': 1.0})
    lines = stream.getvalue().splitlines()
    assert lines[1:] == ['compiled in 90.0 s', 'step 20/100  loss 1  00:40 left']


def test_time_left_is_unknown_before_the_first_step():
    stream = io.StringIO()
    progress_lib.Progress(stream).step(7, 1200, {'loss': 1.0})
    assert stream.getvalue() == 'step 7/1,200  loss 1  ? left\n'


def test_a_pass_over_a_text_is_a_line_every_ten_seconds(clock):
    stream = io.StringIO()
    progress = progress_lib.Progress(stream)
    for number in range(7):
        progress.update('valid: read', 1000 * number, 6000, 'words')
        clock.now += 4
    assert stream.getvalue().splitlines() == [
        'valid: read 3,000/6,000 words  250 words/s  00:12 left',
        'valid: read 6,000/6,000 words  250 words/s  00:00 left',
    ]


def test_a_pass_of_unknown_length_shows_no_time_left(clock):
    stream = io.StringIO()
    progress = progress_lib.Progress(stream)
    for done, now in ((0, 100.0), (5000, 109.0), (6000, 110.0)):
        clock.now = now
        progress.update('read', done, None, 'words')
    assert stream.getvalue() == 'read 6,000 words  600 words/s\n'


def test_a_total_that_was_too_small_grows(clock):
    stream = io.StringIO()
    progress = progress_lib.Progress(stream)
    progress.update('read', 0, 10, 'words')
    clock.now += 10
    progress.update('read', 20, 10, 'words')
    assert stream.getvalue() == 'read 20/20 words  2 words/s  00:00 left\n'


def test_each_pass_has_its_own_clock(clock):
    stream = io.StringIO()
    progress = progress_lib.Progress(stream)
    progress.update('first', 0, 10, 'words')
    clock.now += 9
    progress.update('second', 0, 100, 'lines')
    clock.now += 9
    progress.update('second', 90, 100, 'lines')
    assert stream.getvalue() == ''
    clock.now += 1
    progress.update('second', 100, 100, 'lines')
    assert stream.getvalue() == 'second 100/100 lines  10 lines/s  00:00 left\n'


def test_a_long_pass_has_a_bar_and_a_short_one_has_none(monkeypatch):
    for delay, shown in ((0.0, True), (60.0, False)):
        monkeypatch.setattr(progress_lib, 'BAR_AFTER', delay)
        stream = _Terminal()
        with progress_lib.Progress(stream) as progress:
            progress.update('count', 0, 40, 'words')
            progress.update('count', 40, 40, 'words')
        assert ('count' in stream.getvalue() and '40/40' in stream.getvalue()) == shown


def test_passes_on_a_terminal_stand_below_each_other(monkeypatch):
    monkeypatch.setattr(progress_lib, 'BAR_AFTER', 0.0)
    stream = _Terminal()
    with progress_lib.Progress(stream) as progress:
        for title in ('one', 'two'):
            progress.update(title, 0, None, 'words')
            progress.update(title, 7, 5, 'words')
    lines = [line.split('\r')[-1] for line in stream.getvalue().split('\n')]
    assert [line.split()[0] for line in lines if line] == ['one', 'two']
    assert [line for line in lines if line and '7/7' not in line] == []
