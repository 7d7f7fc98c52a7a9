import io

import pytest

from tasks.text import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def eager(monkeypatch):
    """Shows everything at once."""
    monkeypatch.setattr(progress_bar, '_BAR_AFTER', 0.0)
    monkeypatch.setattr(progress_bar, '_LINE_EVERY', 0.0)


def show(stream, updates):
    with progress_bar.Progress('toy train: counted', stream) as shown:
        for done, total in updates:
            shown.update(done, total)
    return stream.getvalue()


@pytest.mark.parametrize('stream', [io.StringIO(), Terminal()])
def test_a_short_pass_shows_nothing(stream):
    assert show(stream, [(4, 9), (9, 9)]) == ''


def test_elsewhere_than_on_a_terminal_there_are_lines(eager):
    first, second = show(io.StringIO(), [(4, 9), (9, None)]).splitlines()
    assert first.startswith('toy train: counted 4 of 9 words  ')
    assert first.endswith(' left')
    assert second.startswith('toy train: counted 9 words  ')


def test_lines_come_every_so_often(eager, monkeypatch):
    seconds = iter([0.0, 1.0, 4.0, 4.0, 6.0, 8.0, 8.0])  # a line asks for the time twice
    monkeypatch.setattr(progress_bar.time, 'monotonic', lambda: next(seconds))
    monkeypatch.setattr(progress_bar, '_LINE_EVERY', 3.0)
    lines = show(io.StringIO(), [(100, 800), (200, 800), (300, 800), (400, 800)]).splitlines()
    assert lines == [
        'toy train: counted 200 of 800 words  50 words/s  00:12 left',
        'toy train: counted 400 of 800 words  50 words/s  00:08 left',
    ]


def test_on_a_terminal_there_is_a_bar(eager):
    written = show(Terminal(), [(450_000, 900_000), (900_000, 900_000)])
    assert 'toy train: counted: 100%|' in written
    assert '900k/900k' in written
    assert 'words/s]' in written


def test_the_guess_of_a_total_never_lies_below_what_is_done(eager):
    assert 'counted 9 of 9 words' in show(io.StringIO(), [(9, 8)])
    assert '9.00/9.00' in show(Terminal(), [(9, 8)])


def test_without_a_stream_nothing_happens():
    with progress_bar.Progress('toy', None) as shown:
        shown.update(5)


def test_a_line_by_hand():
    line = progress_bar.describe('toy', 12_000_000, 48_000_000, 4.0)
    assert line == 'toy 12,000,000 of 48,000,000 words  3,000,000 words/s  00:12 left'
    assert progress_bar.describe('toy', 1500, None, 2.0) == 'toy 1,500 words  750 words/s'
    assert progress_bar.describe('toy', 0, 10, 2.0) == 'toy 0 words  0 words/s'
