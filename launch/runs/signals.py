"""Signals as an exception, raised where the program stands or where it is safe to stop.

  signals.end_at_once('lm')         until there is something to save, a signal ends the process
  with signals.handled():           the first signal raises `Interrupted`, a second ends the process
      with signals.deferred():      here it is only recorded, and raised when the block ends
          with signals.allowed():   here, within, it is raised again

A signal that came is raised at the end of every further outermost `deferred` block and at the
start of every `allowed` one, so it is not lost where something swallows it; never while another
exception is being raised. Threads other than the main one receive no signals, and there all of this
does nothing.

The signals are SIGTERM, SIGINT and, for a terminal that was closed, SIGHUP. That one can come
twice, from the system and from the shell, so it never counts as the second; where it is ignored
(`nohup`) it stays so.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import sys
import threading
import types
from typing import Any

from launch.runs import errors

_HANGUP = 'SIGHUP'  # Windows has none
SIGNALS = tuple(x for x in signal.Signals if x.name in ('SIGTERM', 'SIGINT', _HANGUP))


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


def end_at_once(program: str) -> None:
    """Lets signals outside of `handled` end the process, with a line and its exit code.

    Args:
      program: the module's name in `launch`.
    """

    def end(number: int, frame: types.FrameType | None) -> None:
        del frame
        with contextlib.suppress(OSError):
            os.write(2, f'{program}: {Interrupted(signal.Signals(number).name)}\n'.encode())
        os._exit(errors.INTERRUPTED)

    for number in _handlers():
        signal.signal(number, end)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Raises `Interrupted` at the first signal while its block lasts; a second ends the process."""
    former = _handlers()
    if not _in_main_thread() or _handle in former.values():
        yield
        return
    _State.received = None
    hook = sys.unraisablehook
    try:
        sys.unraisablehook = _without_interrupted(hook)
        for number in former:
            signal.signal(number, _handle)
        yield
    finally:
        sys.unraisablehook = hook
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


def _without_interrupted(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Returns a `sys.unraisablehook` that shows no signal which came inside a finalizer.

    Python swallows what is raised there (`__del__`, callbacks of the garbage collector); the signal
    is recorded and raised again.
    """

    def show(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            hook(unraisable)

    return show


def _handle(number: int, frame: types.FrameType | None) -> None:
    del frame
    name, before = signal.Signals(number).name, _State.received
    if before in (None, _HANGUP):
        _State.received = name
    elif name != _HANGUP:
        os._exit(errors.INTERRUPTED)
    if before is None and not _State.deferred:
        raise Interrupted(name)


def _handlers() -> dict[signal.Signals, Any]:
    """Returns the handlers of the signals, without that of a SIGHUP which is ignored."""
    found = [(number, signal.getsignal(number)) for number in SIGNALS]
    return {x: handler for x, handler in found if x.name != _HANGUP or handler != signal.SIG_IGN}


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
