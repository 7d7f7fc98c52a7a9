"""The sweep from end to end: with a toy program, and with one that trains."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from launch import sweep
from launch.reports import settings
from launch.runs import directory, errors
from launch.runs import flags as flags_lib
from launch.sweeps import execution, grid

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def toys(monkeypatch):
    """Lets runs be of the toy program, and polls them more often."""
    monkeypatch.setattr(grid, 'PACKAGE', 'tests.support')
    monkeypatch.setattr(execution, '_PAUSE', 0.01)
    monkeypatch.chdir(ROOT)


def _main(folder, line):
    words = sweep.arguments_of([*line.split(), f'--sweep_dir={folder}'])
    return flags_lib.main(sweep.Config, sweep.run, 'sweep', args=words)


def _fails(capsys, code, folder, line):
    """Returns the one line that a sweep that cannot be run costs."""
    assert _main(folder, line) == code
    err = capsys.readouterr().err
    assert err.startswith('sweep: ')
    assert err.count('\n') == 1
    return err


def test_a_grid_is_run_shown_as_a_table_and_drawn(toys, tmp_path, capsys):
    folder = tmp_path / 'sweep'
    assert _main(folder, 'toy_program size=4,2 heads=2,1 num_steps=3 --target=0.8') == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    wanted = ['done', '0.8571', '0.8571', '2', '0.2', '0.3', '3']
    assert [line[1:] for line in lines if line[:1] == ['size=2,heads=1']] == [wanted]
    assert f'picture      {folder}/sweep.png' in out
    page = (folder / 'sweep.md').read_text()
    assert page.startswith('# toy_program num_steps=3\n')
    names = [f'size={size},heads={heads}' for size in (2, 4) for heads in (1, 2)]
    assert re.findall(r'^\| (size=[^ ]*)', page, re.MULTILINE) == names
    files = {'sweep.json', 'sweep.md', 'sweep.csv', 'sweep.png', '.lock', '.owner', *names}
    assert {path.name for path in folder.iterdir()} == files


def test_the_same_command_runs_nothing_again_and_other_values_are_added(toys, tmp_path, capsys):
    assert _main(tmp_path, 'toy_program size=2,3 num_steps=2') == 0
    before = (tmp_path / 'sweep.json').read_bytes()
    capsys.readouterr()
    assert _main(tmp_path, 'toy_program size=2,3 num_steps=2') == 0
    assert 'started' not in capsys.readouterr().out
    assert (tmp_path / 'sweep.json').read_bytes() == before
    assert _main(tmp_path, 'toy_program size=1 num_steps=2') == 0
    out = capsys.readouterr().out
    assert out.count('started') == 1
    assert [out.count(f'\nsize={size} ') for size in (1, 2, 3)] == [1, 1, 1]
    assert _main(tmp_path, 'toy_program') == 0
    assert '3 configurations: 3 done;' in capsys.readouterr().out


def test_drawing_runs_nothing_and_may_happen_during_a_sweep(toys, tmp_path, capsys):
    assert _main(tmp_path, 'toy_program size=2,3') == 0
    before = (tmp_path / 'sweep.json').read_bytes()
    (tmp_path / 'sweep.png').unlink()
    (tmp_path / 'size=3' / 'done.json').unlink()
    capsys.readouterr()
    with directory.owned(tmp_path):
        assert _main(tmp_path, 'toy_program --mode=draw --x=steps') == 0
        assert 'in use by' in _fails(capsys, errors.IN_USE, tmp_path, 'toy_program')
    assert (tmp_path / 'sweep.png').exists()
    assert (tmp_path / 'sweep.json').read_bytes() == before
    assert re.search(r'^\| size=3 \| begun', (tmp_path / 'sweep.md').read_text(), re.MULTILINE)


def test_pictures_have_the_formats_asked_for(toys, tmp_path, capsys):
    assert _main(tmp_path, 'toy_program size=2,3 --x=units --formats=pdf,svg') == 0
    assert {path.name for path in tmp_path.glob('sweep.*')} == {
        *('sweep.json', 'sweep.md', 'sweep.csv', 'sweep.pdf', 'sweep.svg')
    }
    line = _fails(capsys, errors.USAGE, tmp_path, 'toy_program size=2,3 --formats=jpg')
    assert "--formats: wanted some of png,pdf,svg, got 'jpg'" in line


def test_what_cannot_be_compared_has_a_picture_each(toys, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(settings.TASKS, 'toy_program', ('size',))
    assert _main(tmp_path, 'toy_program size=2,4 heads=1,2') == 0
    out = capsys.readouterr().out
    assert '2 tasks that cannot be compared, each in a picture of its own\n' in out
    names = {'sweep-toy-program-1.png', 'sweep-toy-program-2.png'}
    assert {path.name for path in tmp_path.glob('*.png')} == names


def test_before_the_first_measurement_there_is_a_table_alone(toys, tmp_path, capsys):
    grid.write(tmp_path, grid.parse(['toy_program', 'size=1,2']))
    assert _main(tmp_path, 'toy_program --mode=draw') == 0
    assert 'picture' not in capsys.readouterr().out
    assert not (tmp_path / 'sweep.png').exists()


def test_a_failure_is_reported_at_the_end_and_its_code_is_the_sweeps(toys, tmp_path, capsys):
    line = _fails(capsys, errors.BAD_DATA, tmp_path, 'toy_program act=fail,train,die')
    assert (
        '2 of 3 configurations failed, the first act=fail: toy_program: the toy broke (exit 65)'
        in line
    )
    assert f'see {tmp_path}/act=fail/output.log' in line
    assert re.search(r'^\| act=train \| done', (tmp_path / 'sweep.md').read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ('line', 'code', 'reason'),
    [
        ('toy_program size=4,9 heads=2', errors.USAGE, 'toy_program size=9: --size: wanted a mul'),
        ('toy_program size=4', errors.USAGE, 'wanted a flag with several values'),
        ('gremlin size=4,5', errors.USAGE, "no program 'gremlin'; wanted one that"),
        ('toy_program size=1,2 --processes=0', errors.USAGE, '--processes: wanted at least 1'),
        (
            'toy_program size=1,2 --x=miles',
            errors.USAGE,
            '--x: wanted one of steps, units, minut',
        ),
        ('toy_program --mode=paint', errors.USAGE, '--mode: wanted one of run, draw'),
        ('toy_program --mode=draw', errors.BAD_DATA, 'wanted the directory of a sweep, got none'),
        (
            'toy_program size=1,2 --processes',
            errors.USAGE,
            '--processes: expected one argument',
        ),
    ],
)
def test_what_cannot_be_run_gets_one_line_and_touches_nothing(
    toys, line, code, reason, tmp_path, capsys
):
    assert reason in _fails(capsys, code, tmp_path / 'new', line)
    assert list(tmp_path.iterdir()) == []


def test_another_sweep_in_the_same_directory_is_refused(toys, tmp_path, capsys):
    assert _main(tmp_path, 'toy_program size=1,2 rate=1') == 0
    before = (tmp_path / 'sweep.json').read_bytes()
    capsys.readouterr()
    line = _fails(capsys, errors.MISMATCH, tmp_path, 'toy_program size=3 rate=2')
    assert 'the directory holds another sweep (rate: 1 -> 2)' in line
    assert (tmp_path / 'sweep.json').read_bytes() == before


def test_flags_of_the_program_may_keep_their_dashes_unless_the_sweep_has_them():
    words = '--core=a,b x=1,2 --data-dir=c --mode=draw --sweep-dir=d mode=train --x steps --help'
    wanted = 'core=a,b x=1,2 data-dir=c --mode=draw --sweep-dir=d mode=train --x steps --help'
    assert sweep.arguments_of(words.split()) == wanted.split()


def test_the_target_is_known_by_its_former_name_too():
    words = ['--level=3', '--level', '4', 'level=5', '--levels=6']
    assert sweep.arguments_of(words) == ['--target=3', '--target', '4', 'level=5', 'levels=6']


@pytest.mark.slow  # two programs that import and compile
def test_a_program_is_swept_by_the_command_itself(tmp_path):
    arguments = (
        'nth_farthest core=lstm lstm_size=3 --seed=0,1 num_objects=3 batch_size=4 num_steps=2'
    )
    arguments += ' log_every=1 evaluate_every=1 evaluation_size=8 final_evaluation_size=8'
    done = subprocess.run(
        [sys.executable, '-m', 'launch.sweep', *arguments.split(), f'--sweep_dir={tmp_path}'],
        env={**os.environ, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    rows = [line.split() for line in done.stdout.splitlines() if re.match('seed=. ', line)]
    assert [row[:2] for row in rows] == [['seed=0', 'done'], ['seed=1', 'done']]
    about = json.loads((tmp_path / 'seed=1' / 'run.json').read_text())
    assert (about['config']['seed'], about['config']['lstm_size']) == (1, 3)
    assert (tmp_path / 'sweep.png').stat().st_size > 5000
