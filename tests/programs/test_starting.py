"""A program around its work: signals while it imports, output that nobody takes, its end."""

import os
import pathlib
import platform
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from launch.runs import errors

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for path in ROOT.glob('launch/[a-z]*.py'))
SIGNALS = ('SIGTERM', 'SIGINT', 'SIGHUP')


def _run(*command, **options):
    """Runs Python and returns how it ended."""
    options = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'cwd': ROOT, **options}
    return subprocess.run([sys.executable, *command], text=True, check=False, **options)


def _script(text):
    return '-c', textwrap.dedent(text)


@pytest.fixture
def interrupting(tmp_path):
    """Returns an environment in which a signal comes while a program imports its libraries."""
    (tmp_path / 'numpy.py').write_text(
        'import os, signal\n'
        'os.kill(os.getpid(), getattr(signal, os.environ["COMES"]))\n'
        'os.write(2, b"too far")\n'
    )
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)])}


@pytest.mark.parametrize(
    ('program', 'name'),
    [*((program, 'SIGTERM') for program in PROGRAMS), ('lm', 'SIGINT'), ('lm', 'SIGHUP')],
)
def test_a_signal_while_a_program_is_imported_ends_it_in_order(program, name, interrupting):
    done = _run('-m', f'launch.{program}', env={**interrupting, 'COMES': name})
    assert done.returncode == errors.INTERRUPTED
    assert done.stderr == f'{program}: stopped by {name}; run the same command again to resume\n'


def test_a_process_that_only_imports_programs_keeps_its_signals_and_its_output():
    done = _run(
        *_script("""
        import signal, sys
        before = [*map(signal.getsignal, (1, 2, 15)), sys.stdout]
        import launch, launch.runs.starting
        assert [*map(signal.getsignal, (1, 2, 15)), sys.stdout] == before
        """)
    )
    assert (done.returncode, done.stderr) == (0, '')


PRINTS = """
    from launch.runs import starting
    starting.prepare('toy')
    import sys
    print('é', flush=True)
    print('a line')
    print('é', file=sys.stderr)
    print('the end')
"""


def test_what_is_printed_arrives():
    done = _run(*_script(PRINTS))
    assert (done.returncode, done.stdout, done.stderr) == (0, 'é\na line\nthe end\n', 'é\n')


@pytest.mark.parametrize('buffered', ['', '1'])
def test_output_that_cannot_be_written_is_lost_and_nothing_else(buffered):
    environment = {**os.environ, 'PYTHONUNBUFFERED': buffered}
    with open('/dev/full', 'w') as full:
        done = _run(*_script(PRINTS), stdout=full, stderr=full, env=environment)
        assert done.returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, 'w') as broken:
        done = _run(*_script(PRINTS), stdout=broken, env=environment)
    assert (done.returncode, done.stderr) == (0, 'é\n')


def test_a_terminal_that_is_closed_stops_a_run_which_saves(tmp_path):
    side, inner = os.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            *_script("""
            import os, pathlib, sys, time
            from launch.runs import errors, signals, starting
            starting.prepare('toy')
            os.open(os.ttyname(0), os.O_RDWR)  # it is the terminal of this session now
            try:
                with signals.handled(), signals.deferred():
                    print('trains', flush=True)
                    while not signals.received():
                        time.sleep(0.01)
                    time.sleep(0.1)
                    print('saves', flush=True)
                    pathlib.Path(sys.argv[1]).write_text(signals.received())
            except signals.Interrupted as stop:
                print(stop, file=sys.stderr)
                errors.leave(stop.code)
            """),
            tmp_path / 'saved',
        ],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(inner)
    shown = b''
    while b'trains\r\n' not in shown:
        shown += os.read(side, 100)
    os.close(side)
    assert process.wait(timeout=100) == errors.INTERRUPTED
    assert (tmp_path / 'saved').read_text() == 'SIGHUP'


@pytest.mark.parametrize('code', [0, errors.INTERRUPTED])
def test_after_an_error_a_program_is_not_torn_down(code):
    done = _run(
        *_script(f"""
        import atexit
        from launch.runs import errors
        print('printed')
        atexit.register(print, 'torn down')
        errors.leave({code})
        """)
    )
    assert (done.returncode, done.stderr) == (code, '')
    assert done.stdout == ('printed\n' if code else 'printed\ntorn down\n')


@pytest.mark.slow
@pytest.mark.parametrize('name', SIGNALS)
def test_a_signal_at_any_time_ends_a_run_in_order(name, tmp_path):
    """From Python's start over imports, data and compilation into the training."""
    words = '-m', 'launch.lm', f'--run_dir={tmp_path / "run"}', '--num_steps=100000'
    for delay in (0.2, 0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 9, 12):
        command = [sys.executable, *words]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        time.sleep(delay)
        process.send_signal(getattr(signal, name))
        message = process.communicate(timeout=100)[1]
        assert process.returncode == errors.INTERRUPTED, (delay, message)
        assert message.startswith(f'lm: stopped by {name}'), delay
        assert message.count('\n') == 1, message


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
@pytest.mark.parametrize(('megabytes', 'start'), [(200, 'run'), (40, 'start')])
def test_memory_that_is_freed_is_kept(megabytes, start):
    """Memory from the kernel costs page faults when it is first written; `start`: in a thread."""
    done = _run(
        *_script(f"""
        import ctypes, resource, threading
        from launch.runs import starting
        starting.prepare('toy')
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        def allocate():
            for _ in range(3):
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                blocks = [libc.malloc({megabytes} * 2**20) for _ in range(2)]
                for block in blocks:
                    ctypes.memset(block, 1, {megabytes} * 2**20)
                    libc.free(block)
                print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        threading.Thread(target=allocate).{start}()
        """)
    )
    first, *others = map(int, done.stdout.split())
    assert sum(others) < first / 10
