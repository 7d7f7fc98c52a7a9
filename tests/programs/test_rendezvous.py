"""Processes, here threads, that meet: all, too few, twice the same, and strangers."""

import concurrent.futures
import contextlib
import socket
import threading
import time

import pytest

from launch.runs import errors, rendezvous


@pytest.fixture
def address():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(('localhost', 0))
        return f'localhost:{probe.getsockname()[1]}'


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(rendezvous, 'QUIET_SECONDS', 0.1)
    monkeypatch.setattr(rendezvous, '_LATE_SECONDS', 0.5)
    monkeypatch.setattr(rendezvous, '_PAUSE', 0.02)


def _meet(address, *processes, seconds=10):
    """Lets processes meet, given as (num_processes, process_id), and returns how each ended."""

    def end(process):
        try:
            rendezvous.meet(address, *process, seconds)
        except errors.RunError as error:
            return error.code, str(error)

    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(end, processes))


def _connected(address, seconds=10):
    """Returns a connection with process 0, which may not listen yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(('localhost', int(address.split(':')[1])))
        except ConnectionRefusedError:
            assert time.monotonic() < end, f'nothing listens at {address}'
            time.sleep(0.01)


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_processes_meet_in_any_order_and_again_at_once(order, address, capsys):
    for _ in range(2):
        assert _meet(address, *((3, process_id) for process_id in order)) == [None] * 3
    assert capsys.readouterr().err == ''


def test_a_port_in_use_is_named(address):
    with socket.create_server(('localhost', int(address.split(':')[1]))):
        (code, message), *_ = _meet(address, (2, 0))
    assert code == errors.IN_USE
    assert message.startswith(f'--coordinator_address={address}: the port is in use')


@pytest.mark.parametrize(
    ('processes', 'message'),
    [
        ([(3, 0), (3, 1), (3, 1)], '--process_id: wanted another on every process, got 1 twice'),
        (
            [(2, 0), (3, 1), (3, 2)],
            '--num_processes: wanted the same on all processes, got 2 on process 0, 3 on ',
        ),
        (
            [(3, 0), (2, 1)],
            '--num_processes: wanted the same on all processes, got 3 on process 0, 2 on 1',
        ),
    ],
)
def test_flags_that_contradict_each_other_end_all_alike(processes, message, address):
    ends = _meet(address, *processes)
    assert ends == [ends[0]] * len(processes)
    assert ends[0][0] == errors.USAGE
    assert ends[0][1].startswith(message)


def test_missing_processes_are_named_soon_and_at_last(address, capsys):
    ends = _meet(address, (4, 0), (4, 2), seconds=0.5)
    assert ends[0][0] == errors.INTERRUPTED
    assert ends[0][1].startswith(
        'wanted 4 processes, process 1, 3 did not come within 0.5 s; --num'
    )
    assert ends[1] == ends[0] or 'cannot connect' in ends[1][1]
    assert 'waits for process 1, 3, up to 0.5 s\n' in capsys.readouterr().err


def test_a_missing_process_0_is_named_soon_and_at_last(address, capsys):
    ends = _meet(address, (2, 1), seconds=0.5)
    reason = f'process 0 at {address}'
    assert ends[0][0] == errors.INTERRUPTED
    assert ends[0][1].startswith(f'cannot connect with {reason} within 0.5 s: Connection refused')
    assert capsys.readouterr().err == f'waits for {reason}: Connection refused, up to 0.5 s\n'


def test_a_process_that_is_started_again_comes_once(address):
    first = threading.Thread(target=_meet, args=(address, (3, 0)))
    first.start()
    with _connected(address) as connection:
        connection.sendall(b'{"process_id": 1, "num_processes": 3}\n')
        time.sleep(0.1)
    assert _meet(address, (3, 1), (3, 2)) == [None, None]
    first.join()


def test_strangers_at_the_port_do_no_harm(address):
    ends = []
    first = threading.Thread(target=lambda: ends.extend(_meet(address, (2, 0))))
    first.start()
    for sent in (b'GET / HTTP/1.1\r\n\r\n', b'', b'[1]\n', b'{}\n', b'[' * 9000 + b'\n', b'\xff\n'):
        with _connected(address) as stranger:
            stranger.sendall(sent)
    assert _meet(address, (2, 1)) == [None]
    first.join()
    assert ends == [None]


def test_another_program_at_the_address_is_no_process_0(address):
    with socket.create_server(('localhost', int(address.split(':')[1]))) as server:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b'HTTP/1.1 400 Bad Request\r\n')

        thread = threading.Thread(target=answer)
        thread.start()
        (code, message), *_ = _meet(address, (2, 1), seconds=0.3)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert code == errors.INTERRUPTED
    assert 'it left, or another program answers there' in message
