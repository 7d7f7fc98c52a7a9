"""Signals: the first is noted, a second ends the process at once."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from launch.runs import errors, signals


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_raised_when_asked(number):
    with signals.Interrupts() as interrupts:
        interrupts.check()
        assert interrupts.received is None
        os.kill(os.getpid(), number)
        assert interrupts.received == number.name
        message = f'stopped by {number.name}; the same command goes on from here'
        with pytest.raises(errors.RunError, match=message) as stop:
            interrupts.check()
    assert stop.value.code == errors.INTERRUPTED


def test_the_former_handlers_come_back():
    former = [signal.getsignal(number) for number in signals.Interrupts.SIGNALS]
    with signals.Interrupts():
        inside = [signal.getsignal(number) for number in signals.Interrupts.SIGNALS]
        assert all(a != b for a, b in zip(former, inside, strict=True))
    assert [signal.getsignal(number) for number in signals.Interrupts.SIGNALS] == former


def test_the_former_handlers_come_back_after_an_error():
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), signals.Interrupts():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) == former


@pytest.mark.parametrize('first', ['SIGTERM', 'SIGINT'])
def test_a_second_signal_ends_the_process_at_once(first):
    script = f"""
        import os, signal
        from launch.runs import signals
        with signals.Interrupts():
            os.kill(os.getpid(), signal.{first})
            print('goes on', flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            print('too far', flush=True)
    """
    command = [sys.executable, '-c', textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (errors.INTERRUPTED, 'goes on\n')
    assert done.stderr == ''
