"""SIGTERM and SIGINT as an exception, raised where the program stands or where it is safe to stop.

  with signals.handled():           the first signal raises `Interrupted`, a second ends the process
      with signals.deferred():      here it is only recorded, and raised when the block ends
          with signals.allowed():   here, within, it is raised again

A signal that came is raised at the end of every further outermost `deferred` block and at the
start of every `allowed` one, so it is not lost where something swallows it; never while another
exception is being raised. Threads other than the main one receive no signals, and there all of this
does nothing.
"""

from collections.abc import Iterator
import contextlib
import os
import signal
import sys
import threading
import types

from launch.runs import errors

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(errors.RunError):
    """A signal came; nothing is lost that was saved."""

    def __init__(self, signal_name: str, where: str = ''):
        message = f'stopped by {signal_name}{where}; run the same command again to resume'
        super().__init__(errors.INTERRUPTED, message)
        self.signal = signal_name


class _State:
    """Of the process, which has one set of signal handlers."""

    received: str | None = None
    deferred: bool = False


def received() -> str | None:
    """Returns the name of the signal that came since `handled` was entered, None if none did."""
    return _State.received


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Raises `Interrupted` at the first signal while its block lasts; a second ends the process."""
    former = {number: signal.getsignal(number) for number in SIGNALS}
    if not _in_main_thread() or _handle in former.values():
        yield
        return
    _State.received = None
    try:
        for number in SIGNALS:
            signal.signal(number, _handle)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        _State.received = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Records a signal while its block lasts; it is raised when the outermost such block ends."""
    with _deferring(True):
        yield
    _raise_if_received()


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Raises signals while its block lasts, within `deferred`; one recorded before, at once."""
    with _deferring(False):
        _raise_if_received()
        yield


@contextlib.contextmanager
def _deferring(deferred: bool) -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    before, _State.deferred = _State.deferred, deferred
    try:
        yield
    finally:
        _State.deferred = before


def _raise_if_received() -> None:
    if _State.received and not _State.deferred and _in_main_thread() and not sys.exc_info()[0]:
        raise Interrupted(_State.received)


def _handle(number: int, frame: types.FrameType | None) -> None:
    del frame
    if _State.received:
        os._exit(errors.INTERRUPTED)
    _State.received = signal.Signals(number).name
    if not _State.deferred:
        raise Interrupted(_State.received)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
