"""Processes meet before JAX connects them: all have come, each of them once.

Process 0 listens at the coordinator's address until every other one has come there and told its
number. JAX, which gets the address afterwards, checks none of this: a port in use or a number that
two processes have ends them by SIGSEGV or SIGABRT, and for a missing process it waits in silence.
"""

from collections.abc import Sequence
import contextlib
import errno
import json
import socket
import sys
import time
from typing import Any, NamedTuple

from launch.runs import errors

QUIET_SECONDS = 5  # after which a process reports for whom it waits
_LATE_SECONDS = 5  # that process 0 still listens after a problem
_PAUSE = 0.2  # seconds between two attempts
_MOST_BYTES = 10_000  # of a message
_NO_MESSAGE = (ValueError, KeyError, TypeError, RecursionError)  # of what a stranger sends


class Guest(NamedTuple):
    """A process that has come to process 0."""

    process_id: int
    num_processes: int
    connection: socket.socket


def meet(address: str, num_processes: int, process_id: int, seconds: float) -> None:
    """Returns when all processes of a run have called it.

    Args:
      address: HOST:PORT of process 0.
      num_processes: of the run.
      process_id: of this process.
      seconds: to wait for the others.

    Raises:
      RunError: the port is in use, a process does not come, or their flags contradict each other.
        Every process that came gets the same error.
    """
    host, _, port = address.rpartition(':')
    place = host.strip('[]'), int(port)
    if process_id == 0:
        _receive(place, num_processes, seconds)
    else:
        _come(place, {'process_id': process_id, 'num_processes': num_processes}, seconds)


def _receive(place: tuple[str, int], num_processes: int, seconds: float) -> None:
    """Is process 0."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(place))
        server.settimeout(_PAUSE)
        guests: list[Guest] = []
        clock, problem, expected = _Clock(seconds), '', num_processes
        while len(guests) < expected - 1 and not clock.is_over():
            if guest := _welcome(server):
                stack.enter_context(guest.connection)
                there = [guest for guest in guests if _is_there(guest)]  # one may begin again
                guests = [*there, guest]
                expected = max(expected, guest.num_processes)
            if problem:
                continue
            if problem := _problem(guests, num_processes):
                clock = _Clock(_LATE_SECONDS)  # for the others, which get to know it too
            else:
                clock.report(f'waits for {_missing(guests, num_processes)}')
        error = _end(guests, num_processes, problem, seconds)
        answer = {'code': error.code, 'problem': str(error)} if error else {'problem': ''}
        for guest in guests:
            with contextlib.suppress(OSError):
                guest.connection.sendall(_line(answer))
    if error:
        raise error


def _end(
    guests: Sequence[Guest], num_processes: int, problem: str, seconds: float
) -> errors.RunError | None:
    """Returns how the processes that have come shall end; None if they shall go on."""
    if problem:
        return errors.RunError(errors.USAGE, problem)
    if len(guests) == num_processes - 1:
        return None
    missing = f'{_missing(guests, num_processes)} did not come within {seconds:g} s'
    message = f'wanted {num_processes} processes, {missing}; --num_processes=1 runs alone'
    return errors.RunError(errors.INTERRUPTED, message)


def _listen(place: tuple[str, int]) -> socket.socket:
    """Returns a socket that listens at a port of all addresses of this machine, as JAX will."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ('', place[1]), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000
            )
        return socket.create_server(('', place[1]), backlog=1000)
    except OSError as error:
        flag = f'--coordinator_address={":".join(map(str, place))}'
        if error.errno == errno.EADDRINUSE:
            message = f'{flag}: the port is in use, maybe by another process 0; take another'
            raise errors.RunError(errors.IN_USE, message) from error
        raise errors.RunError(errors.USAGE, f'{flag}: {error.strerror}') from error


def _welcome(server: socket.socket) -> Guest | None:
    """Returns the next process that comes, None if none does or something else."""
    try:
        connection, _ = server.accept()
    except OSError:
        return None
    try:
        connection.settimeout(QUIET_SECONDS)
        told = _read(connection)
        return Guest(int(told['process_id']), int(told['num_processes']), connection)
    except (OSError, *_NO_MESSAGE):
        connection.close()
        return None


def _is_there(guest: Guest) -> bool:
    """Returns whether a process that has come still waits."""
    guest.connection.settimeout(0)
    try:
        return bool(guest.connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        guest.connection.settimeout(QUIET_SECONDS)


def _problem(guests: Sequence[Guest], num_processes: int) -> str:
    """Returns what is wrong with the processes that have come; nothing may be."""
    known = {0}
    for guest in guests:
        if guest.num_processes != num_processes:
            given = f'{num_processes} on process 0, {guest.num_processes} on {guest.process_id}'
            return f'--num_processes: wanted the same on all processes, got {given}'
        if guest.process_id in known:
            return f'--process_id: wanted another on every process, got {guest.process_id} twice'
        known.add(guest.process_id)
    return ''


def _missing(guests: Sequence[Guest], num_processes: int) -> str:
    missing = sorted(set(range(1, num_processes)) - {guest.process_id for guest in guests})
    more = ', …' if len(missing) > 10 else ''
    return f'process {", ".join(map(str, missing[:10]))}{more}'


def _come(place: tuple[str, int], told: dict[str, int], seconds: float) -> None:
    """Is another process."""
    where = f'process 0 at {place[0]}:{place[1]}'
    clock = _Clock(seconds)
    reason = ''
    while not clock.is_over():
        try:
            with socket.create_connection(place, timeout=clock.left()) as connection:
                connection.sendall(_line(told))
                answer = _read(connection)
                if not answer['problem']:
                    return
                code = int(answer['code'])
        except OSError as error:
            reason = error.strerror or str(error)
        except _NO_MESSAGE:
            reason = 'it left, or another program answers there'
        else:
            raise errors.RunError(code, answer['problem'])
        clock.report(f'waits for {where}: {reason}')
        time.sleep(_PAUSE)
    message = f'cannot connect with {where} within {seconds:g} s: {reason}'
    raise errors.RunError(errors.INTERRUPTED, f'{message}; --num_processes=1 runs alone')


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b'\n'


def _read(connection: socket.socket) -> dict[str, Any]:
    """Returns what the other end sends as a line of JSON."""
    with connection.makefile('rb') as file:
        return json.loads(file.readline(_MOST_BYTES))


class _Clock:
    """How long to wait, and whether that has been reported."""

    def __init__(self, seconds: float):
        self._start, self._seconds = time.monotonic(), seconds
        self._reported = False

    def left(self) -> float:
        return max(_PAUSE, self._start + self._seconds - time.monotonic())

    def is_over(self) -> bool:
        return time.monotonic() >= self._start + self._seconds

    def report(self, line: str) -> None:
        """Prints once for whom it waits, when that takes long."""
        if not self._reported and time.monotonic() - self._start > QUIET_SECONDS:
            print(f'{line}, up to {self._seconds:g} s', file=sys.stderr, flush=True)
            self._reported = True
