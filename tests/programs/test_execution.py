"""Runs as processes: how many at a time, what is repeated, what a signal or a failure does."""

import contextlib
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from launch.runs import directory, errors, signals
from launch.sweeps import execution, results
from launch.sweeps import grid as grid_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Lets runs be of the toy program, and polls them more often."""
    monkeypatch.setattr(grid_lib, 'PACKAGE', 'tests.support')
    monkeypatch.setattr(execution, '_PAUSE', 0.01)
    monkeypatch.chdir(ROOT)
    for name in execution._MEMORY_LIMITS:
        monkeypatch.delenv(name, raising=False)


def _grid(line):
    return grid_lib.parse(['toy_program', *line.split()])


def _run(folder, grid, num_processes=1):
    with signals.handled():
        failures = execution.execute(grid.program, grid.runs(folder), num_processes)
    return [(run.name, code, reason) for run, code, reason in failures]


def _starts(folder, name):
    """Returns what a run noted at each of its starts."""
    path = folder / name / 'starts.txt'
    return path.read_text().splitlines() if path.exists() else []


def test_every_configuration_is_run_with_its_flags_and_reported(tmp_path, capsys):
    assert _run(tmp_path, _grid('size=4,2 num_steps=2 text=a=b')) == []
    for size in (2, 4):
        run_dir = tmp_path / f'size={size}'
        assert len((run_dir / 'metrics.jsonl').read_text().splitlines()) == 2
        assert _starts(tmp_path, run_dir.name) == ['None a=b own']
        assert (run_dir / 'output.log').read_text() == 'resumes from update 0\n'
        assert (run_dir / 'done.json').exists()
    assert capsys.readouterr().out.splitlines() == [
        f'2 configurations: 2 waiting; each prints into {tmp_path}/CONFIGURATION/output.log',
        'started   size=2',
        'finished  size=2: accuracy 0.8 (best 0.8), 0.2 min  [2 configurations: 1 done, 1 waiting]',
        'started   size=4',
        'finished  size=4: accuracy 0.8889 (best 0.8889), 0.2 min  [2 configurations: 2 done]',
    ]


def test_what_is_done_is_not_repeated_and_more_steps_resume_it(tmp_path, capsys):
    grid = _grid('size=1,2 num_steps=2')
    _run(tmp_path, grid._replace(configurations=[{'size': '2'}]))
    _run(tmp_path, grid)
    assert [len(_starts(tmp_path, f'size={size}')) for size in (1, 2)] == [1, 1]
    assert '2 configurations: 1 done, 1 waiting; ' in capsys.readouterr().out
    _run(tmp_path, grid._replace(fixed={'num_steps': '5'}))
    log = (tmp_path / 'size=2' / 'output.log').read_text()
    assert log == 'resumes from update 0\nresumes from update 2\n'
    assert results.read(grid.runs(tmp_path)[1]).num_updates == 5


def test_several_run_at_a_time_and_share_the_memory_of_a_gpu(tmp_path, monkeypatch):
    counts = []
    collect = execution._State.collect
    monkeypatch.setattr(
        execution._State,
        'collect',
        lambda runs: (counts.append(len(runs.children)), collect(runs)),
    )
    assert _run(tmp_path, _grid('size=1,2,3,4,5'), num_processes=2) == []
    assert max(counts) == 2
    assert _starts(tmp_path, 'size=5') == ['0.450 None own']


@pytest.mark.parametrize('name', sorted(execution._MEMORY_LIMITS))
def test_a_memory_limit_of_the_user_stays(name, monkeypatch):
    monkeypatch.setenv(name, '0.3')
    assert execution.run_environment(2)[name] == '0.3'
    limits = execution.run_environment(2).keys() & execution._MEMORY_LIMITS
    assert limits == {name}


def test_a_failure_is_reported_with_the_runs_last_line_and_the_others_go_on(tmp_path, capsys):
    failures = _run(tmp_path, _grid('act=fail,die,say_nothing,train'))
    assert failures == [
        ('act=fail', errors.BAD_DATA, 'toy_program: the toy broke (exit 65)'),
        ('act=die', errors.INTERNAL, 'killed by SIGKILL'),
        ('act=say_nothing', errors.INTERNAL, 'it printed nothing (exit 70)'),
    ]
    out = capsys.readouterr().out
    line = 'failed    act=fail: toy_program: the toy broke (exit 65)'
    assert f'{line}  [4 configurations: 1 failed, 3 waiting]' in out
    assert '[4 configurations: 1 done, 3 failed]' in out
    assert not (tmp_path / 'act=fail' / 'done.json').exists()
    log = (tmp_path / 'act=fail' / 'output.log').read_text()
    assert log == 'a line on stdout\ntoy_program: the toy broke\n'


def test_an_old_line_of_the_log_is_no_reason(tmp_path):
    log = tmp_path / 'output.log'
    log.write_bytes(b'old\n\xffnew \n\n')
    assert execution.why_ended(log, 4, 65) == '\N{REPLACEMENT CHARACTER}new (exit 65)'
    assert execution.why_ended(log, 10, 65) == 'it printed nothing (exit 65)'


def test_a_signal_is_passed_on_once_and_waited_for_and_all_is_resumable(tmp_path, capsys):
    grid = _grid('act=interrupt,wait,train')
    with pytest.raises(errors.RunError) as caught:
        _run(tmp_path, grid, num_processes=2)
    assert caught.value.code == errors.INTERRUPTED
    message = (
        'stopped by SIGTERM, 3 configurations: 3 waiting; run the same command again to resume'
    )
    assert str(caught.value) == message
    for act in ('interrupt', 'wait'):
        assert (tmp_path / f'act={act}' / 'signals.txt').read_text() == '1'
    assert _starts(tmp_path, 'act=train') == []
    assert 'stopped   act=wait  [' in capsys.readouterr().out
    assert _run(tmp_path, grid) == []
    assert [len(_starts(tmp_path, f'act={act}')) for act in grid.values('act')] == [2, 2, 1]


SWEEP = """
    import pathlib, sys
    from launch.runs import signals
    from launch.sweeps import execution, grid
    grid.PACKAGE = 'tests.support'
    runs = grid.parse(['toy_program', 'act=wait,train']).runs(pathlib.Path(sys.argv[1]))
    with signals.handled():
        execution.execute('toy_program', runs, 1)
"""


@pytest.mark.parametrize(
    ('names', 'code'),
    [(['SIGKILL'], -signal.SIGKILL), (['SIGTERM', 'SIGTERM'], errors.INTERRUPTED)],
)
def test_the_runs_of_a_sweep_that_is_killed_save_and_end(names, code, tmp_path):
    command = [sys.executable, '-c', textwrap.dedent(SWEEP), str(tmp_path)]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for(tmp_path / 'act=wait' / 'waits')
    for name in names:
        sweep.send_signal(signal.Signals[name])
        time.sleep(0.02)
    assert sweep.wait(10) == code
    _wait_for(tmp_path / 'act=wait' / 'signals.txt')
    assert _run(tmp_path, _grid('act=wait,train')) == []


def _wait_for(path):
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f'no {path}'
        time.sleep(0.01)


def test_a_run_that_another_process_owns_is_waited_for(tmp_path, capsys, monkeypatch):
    grid = _grid('size=1,2')
    with contextlib.ExitStack() as stack:
        stack.enter_context(directory.owned(tmp_path / 'size=1'))
        note = execution._State._note

        def note_and_free(*arguments):
            stack.close()
            return note(*arguments)

        monkeypatch.setattr(execution._State, '_note', note_and_free)
        assert _run(tmp_path, grid) == []
    lines = [line.split('  [')[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[1].startswith(f'waits     size=1: --run_dir={tmp_path}/size=1: in use by process ')
    assert [line[:16] for line in lines[2:]] == [
        'started   size=2',
        'finished  size=2',
        'started   size=1',
        'finished  size=1',
    ]


def test_a_run_that_someone_else_stopped_has_failed(tmp_path, monkeypatch):
    seen = []

    def pause(seconds):
        runs = list(tmp_path.glob('*/waits'))
        if runs and not seen:
            seen.extend(runs)
            child = starts[0].process
            child.send_signal(signal.SIGTERM)
        sleep(seconds)

    sleep, starts = time.sleep, []
    launch = execution._Child
    monkeypatch.setattr(execution, '_Child', lambda *a: starts.append(launch(*a)) or starts[-1])
    monkeypatch.setattr(execution.time, 'sleep', pause)
    failures = _run(tmp_path, _grid('act=wait,train'))
    reason = 'toy_program: stopped by SIGTERM (exit 75)'
    assert failures == [('act=wait', errors.INTERRUPTED, reason)]
    assert (tmp_path / 'act=train' / 'done.json').exists()


def test_a_directory_that_cannot_be_written_ends_the_sweep_and_what_runs(tmp_path):
    (tmp_path / 'act=train' / 'output.log').mkdir(parents=True)
    with pytest.raises(errors.RunError, match='act=train: cannot be used: Is a dir') as caught:
        _run(tmp_path, _grid('act=wait,train'), num_processes=2)
    assert caught.value.code == errors.CANNOT_SAVE
