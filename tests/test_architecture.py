"""Tests of who imports whom, and of what is packaged."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ('relational_rnn', 'tasks', 'launch')
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob('*.py'))
files_of = {name: [f for f in FILES if f.relative_to(ROOT).parts[0] == name] for name in PACKAGES}


def imported(source):
    """The dotted names of all that a source imports, wherever in it: modules, or things in them."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'a relative import'
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def roots(path):
    return {name.split('.')[0] for name in imported(path.read_text())}


def test_the_walk_sees_every_form_of_import():
    source = 'import a.b\nfrom c import d as e, f\ndef g():\n  from h.i import j\n  import k as l\n'
    assert imported(source) == {'a.b', 'c.d', 'c.f', 'h.i.j', 'k'}


def test_there_are_files_in_every_package():
    assert all(len(files_of[name]) > 3 for name in PACKAGES)


@pytest.mark.parametrize('path', files_of['relational_rnn'], ids=lambda path: path.name)
def test_the_library_imports_neither_tasks_nor_launch(path):
    assert not roots(path) & {'tasks', 'launch', 'tests'}


@pytest.mark.parametrize('path', files_of['tasks'], ids=lambda path: path.name)
def test_tasks_import_neither_the_library_nor_launch(path):
    assert not roots(path) & {'relational_rnn', 'launch', 'tests'}


FLOORS = (
    {'runs'},
    {'__init__'},
    {'training'},
    {'language', 'agents', 'farthest', 'executing'},
    {'reports'},
    {'lm', 'nth_farthest', 'learning_to_execute', 'mini_pacman', 'boxworld'},
    {'trained'},
    {'viewer'},
    {'inspection', 'sweeps', 'benchmarks'},
    {'attention', 'export', 'report', 'sweep', 'play', 'benchmark'},
    {'__main__'},
)
floor_of = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path):
    parts = path.relative_to(ROOT / 'launch').with_suffix('').parts
    return parts[0]


def test_every_room_and_program_of_launch_has_a_floor():
    rooms = {room_of(path) for path in files_of['launch']}
    assert rooms == floor_of.keys()


@pytest.mark.parametrize('path', files_of['launch'], ids=lambda path: str(path.relative_to(ROOT)))
def test_launch_imports_only_floors_below_and_its_own_room(path):
    names = imported(path.read_text())
    assert not {name for name in names if name.split('.')[0] == 'tests'}
    rooms = {name.split('.')[1] for name in names if name.startswith('launch.')}
    room = room_of(path)
    wrong = {other for other in rooms - {room} if floor_of[other] >= floor_of[room]}
    assert not wrong


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_named_like_a_module_of_the_standard_library(path):
    name = path.parent.name if path.stem == '__init__' else path.stem
    assert name not in sys.stdlib_module_names


@pytest.mark.parametrize('modules', ['tasks.text.streams, tasks.nth_farthest', 'relational_rnn'])
def test_importing_loads_neither_tensorflow_nor_optional_libraries(modules):
    optional = ('equinox', 'relational_rnn.flax')  # Haiku imports flax itself where it is
    heavy = ('tensorflow', 'tensorflow_datasets', 'matplotlib', 'orbax', 'tqdm', *optional)
    code = f'import sys, {modules}; print([name for name in {heavy} if name in sys.modules])'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == '[]\n'
