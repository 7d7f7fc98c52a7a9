# ruff: noqa: PT012  # where in its block a signal is raised is the point
"""Signals: raised where the program stands, or where that is allowed; a second ends the process."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from launch.runs import errors, signals

MESSAGE = 'stopped by SIGTERM; run the same command again to resume'


def _kill(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def _handlers():
    return [signal.getsignal(number) for number in signals.SIGNALS]


@pytest.fixture(autouse=True)
def former():
    """Returns the handlers before a test, which has to bring them back."""
    before = _handlers()
    yield before
    assert _handlers() == before


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_raised_where_the_program_stands(number, former):
    after = []
    with pytest.raises(signals.Interrupted) as stop, signals.handled():
        assert all(a != b for a, b in zip(former, _handlers(), strict=True))
        _kill(number)
        after.append(number)
    assert not after
    assert isinstance(stop.value, errors.RunError)
    assert (stop.value.code, stop.value.signal) == (errors.INTERRUPTED, number.name)
    assert str(stop.value) == MESSAGE.replace('SIGTERM', number.name)


def test_the_handlers_come_back_after_another_error():
    with pytest.raises(KeyError), signals.handled():
        raise KeyError


def test_a_second_block_within_changes_nothing():
    with signals.handled():
        handlers = _handlers()
        with signals.handled():
            assert _handlers() == handlers
        assert _handlers() == handlers
        with pytest.raises(signals.Interrupted), signals.handled():
            _kill()
        assert signals.received() == 'SIGTERM'
    assert signals.received() is None


def test_what_came_before_is_forgotten():
    for _ in range(2):
        with pytest.raises(signals.Interrupted), signals.handled():
            assert signals.received() is None
            _kill()


def test_a_deferred_signal_is_raised_when_the_outermost_block_ends():
    done = []
    with signals.handled():
        with pytest.raises(signals.Interrupted, match=MESSAGE), signals.deferred():
            with signals.deferred():
                assert signals.received() is None
                _kill()
                done.append('inner')
            assert signals.received() == 'SIGTERM'
            done.append('outer')
        assert done == ['inner', 'outer']


def test_after_a_deferred_block_signals_raise_again():
    with signals.handled():
        with signals.deferred():
            pass
        with pytest.raises(signals.Interrupted):
            _kill()


def test_an_allowed_block_raises_within_a_deferred_one():
    done = []
    with signals.handled(), pytest.raises(signals.Interrupted, match=MESSAGE), signals.deferred():
        done.append(1)
        with signals.allowed():
            _kill()
            done.append(2)
    assert done == [1]


def test_an_allowed_block_raises_at_once_what_was_recorded_before():
    done = []
    with signals.handled(), pytest.raises(signals.Interrupted), signals.deferred():
        _kill()
        done.append(1)
        with signals.allowed():
            done.append(2)
    assert done == [1]


def test_what_is_swallowed_in_an_allowed_block_is_raised_when_the_deferred_one_ends():
    done = []
    with signals.handled(), pytest.raises(signals.Interrupted), signals.deferred():
        for _ in range(2):
            with pytest.raises(signals.Interrupted), signals.allowed():
                _kill() if not done else None
            done.append(signals.received())
        with signals.deferred():
            done.append('deferred again')
    assert done == ['SIGTERM', 'SIGTERM', 'deferred again']


class _Finalizer:
    def __init__(self, action):
        self._action = action

    def __del__(self):
        self._action()


def test_a_signal_inside_a_finalizer_is_not_shown_and_raised_later(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda unraisable: shown.append(unraisable.exc_type))
    with pytest.raises(signals.Interrupted), signals.handled():
        _Finalizer(_kill)
        _Finalizer(lambda: 1 / 0)
        assert signals.received() == 'SIGTERM'
        with signals.deferred():
            pass
    assert shown == [ZeroDivisionError]


def test_an_error_on_its_way_is_not_replaced():
    with signals.handled():
        with pytest.raises(KeyError) as caught, signals.deferred():
            _kill()
            raise KeyError
        assert caught.value.__context__ is None
        with pytest.raises(signals.Interrupted), signals.deferred():
            pass  # nothing is lost


def test_cleaning_up_after_a_signal_is_not_interrupted_by_it():
    done = []
    with pytest.raises(signals.Interrupted), signals.handled():
        try:
            _kill()
        finally:
            with signals.deferred():
                done.append(1)
            with signals.allowed():
                done.append(2)
    assert done == [1, 2]


def test_an_error_in_a_deferred_block_ends_it():
    with signals.handled():
        with pytest.raises(KeyError), signals.deferred(), signals.allowed():
            raise KeyError
        with pytest.raises(signals.Interrupted):
            _kill()


def test_without_handlers_the_blocks_do_nothing():
    with signals.deferred(), signals.allowed():
        assert signals.received() is None


def test_another_thread_changes_nothing():
    found = []

    def work():
        before = _handlers()
        with signals.handled(), signals.deferred():
            found.append(_handlers() == before)
            inside.set()
            outside.wait(timeout=10)

    inside, outside = threading.Event(), threading.Event()
    thread = threading.Thread(target=work)
    with signals.handled():
        thread.start()
        inside.wait(timeout=10)
        with pytest.raises(signals.Interrupted):
            _kill()
        outside.set()
        thread.join()
    assert found == [True]


def test_a_second_signal_ends_the_process_at_once():
    script = """
        import os, signal
        from launch.runs import signals
        with signals.handled(), signals.deferred():
            for name in ('SIGHUP', 'SIGHUP', 'SIGINT', 'SIGHUP'):
                os.kill(os.getpid(), getattr(signal, name))
                print(signals.received(), flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            print('too far', flush=True)
    """
    command = [sys.executable, '-c', textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == errors.INTERRUPTED
    assert done.stdout.split() == ['SIGHUP', 'SIGHUP', 'SIGINT', 'SIGINT']
    assert done.stderr == ''


def test_after_a_hangup_that_was_raised_another_signal_is_not_raised_again():
    with pytest.raises(signals.Interrupted, match='SIGHUP'), signals.handled():
        try:
            _kill(signal.SIGHUP)
        finally:
            _kill()
            assert signals.received() == 'SIGTERM'


def test_a_hangup_that_is_ignored_stays_so(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled():
            _kill(signal.SIGHUP)
            assert signals.received() is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
