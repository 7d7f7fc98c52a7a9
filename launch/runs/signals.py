"""SIGTERM and SIGINT as a question that a loop asks between steps."""

import os
import signal
from types import FrameType
from typing import Self

from launch.runs import errors


class Interrupts:
    """Notes the first signal while its `with` block lasts; a second ends the process at once."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        """Catches nothing until the block is entered."""
        self._received: str | None = None

    def __enter__(self) -> Self:
        self._former = {number: signal.getsignal(number) for number in self.SIGNALS}
        for number in self.SIGNALS:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @property
    def received(self) -> str | None:
        """The name of the signal that came, None if none did."""
        return self._received

    def check(self) -> None:
        """Ends the program if a signal came; for phases in which there is nothing to save.

        Raises:
          RunError: with the exit code of an interrupted, resumable run.
        """
        if self._received:
            message = f'stopped by {self._received}; the same command goes on from here'
            raise errors.RunError(errors.INTERRUPTED, message)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._received:
            os._exit(errors.INTERRUPTED)
        self._received = signal.Signals(number).name
