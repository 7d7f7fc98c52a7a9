"""Programs in a folder whose own `tasks` hides this project's: a line names what is in the way."""

import os
import pathlib
import subprocess
import sys

import pytest

import launch

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(folder, *words):
    """Starts Python in a folder, with this project further down the path; returns what it did."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize('name', ['tasks', 'relational_rnn'])
@pytest.mark.parametrize('kind', ['{}.py', '{}/__init__.py', '{}/list.txt'])
def test_what_hides_a_package_is_named_in_one_line(tmp_path, name, kind):
    path = tmp_path / kind.format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text('')
    is_namespace = path.suffix == '.txt'
    done = start(tmp_path, '-m', 'launch.report', '--help')
    if is_namespace:  # a folder without modules gives way to what is installed on the same path
        assert (done.returncode, done.stderr) == (0, '')
    else:
        assert done.returncode == 2
        assert done.stderr.startswith(f'launch: {path} is in the way: wanted the package {name} ')
        assert done.stderr.count('\n') == 1
        assert done.stdout == ''


def test_the_cure_that_is_named_is_one(tmp_path):
    (tmp_path / 'tasks.py').write_text('')
    done = start(tmp_path, '-P', '-m', 'launch.report', '--help')
    assert (done.returncode, done.stderr) == (0, '')


def test_who_imports_the_programs_gets_an_import_error(tmp_path):
    (tmp_path / 'tasks.py').write_text('')
    done = start(tmp_path, '-c', 'import launch.report')
    assert done.returncode == 1
    assert f'ImportError: {tmp_path / "tasks.py"} is in the way' in done.stderr


def test_nothing_is_in_the_way_here():
    assert launch.in_the_way('tasks') == launch.in_the_way('relational_rnn') == ''
    assert launch.in_the_way('json').endswith('json/__init__.py')
    assert launch.in_the_way('no_such_package') == ''


def test_a_folder_that_an_editable_install_gives_way_to_is_named(tmp_path, monkeypatch):
    """Such an install is found after all of the path: even a folder without modules hides it."""
    (tmp_path / 'tasks').mkdir()
    monkeypatch.delitem(sys.modules, 'tasks')
    rest = [path for path in sys.path if not pathlib.Path(path, 'tasks').exists()]
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *rest])
    monkeypatch.setattr(sys, 'path_importer_cache', {})
    assert launch.in_the_way('tasks') == str(tmp_path / 'tasks')
