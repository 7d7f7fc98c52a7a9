"""`python -m launch` lists the programs."""

import pathlib
import subprocess
import sys

import pytest

import launch
from launch import __main__ as main
from launch.runs import errors, versions

FOLDER = pathlib.Path(launch.__file__).parent


def test_every_program_has_a_line():
    done = subprocess.run(
        [sys.executable, '-m', 'launch'], cwd=FOLDER.parent, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, '')
    programs = [path.stem for path in sorted(FOLDER.glob('[!_]*.py'))]
    lines = [line for line in done.stdout.split('\n') if 'python -m launch.' in line]
    assert [line.split()[2] for line in lines] == [f'launch.{name}' for name in programs]
    assert all(line.endswith('.') and len(line.split()) > 6 for line in lines)


@pytest.mark.parametrize('words', [[], ['-h'], ['--help']])
def test_help_is_the_list(words, capsys):
    assert main.main(words) == 0
    assert 'python -m launch.lm ' in capsys.readouterr().out


def test_version_is_that_of_every_program(capsys):
    assert main.main(['--version']) == 0
    assert capsys.readouterr().out == f'{versions.describe()}\n'


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        (['lm', '--help'], 'wanted a dot: `python -m launch.lm`, got `python -m launch lm --help`'),
        (['ml'], 'wanted --help or none, got `python -m launch ml`'),
    ],
)
def test_anything_else_is_a_mistake_in_one_line(words, wanted, capsys):
    assert main.main(words) == errors.USAGE
    assert capsys.readouterr().err == f'launch: {wanted}\n'
