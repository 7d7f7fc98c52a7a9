"""One owner a directory, and configurations that may or may not go on in it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from launch.runs import directory, errors
from tasks import base

_OWNS = """
    import sys, time
    from launch.runs import directory
    with directory.owned(sys.argv[1]):
        print('owned', flush=True)
        time.sleep(60)
"""


def test_a_directory_in_use_is_refused_until_its_owner_is_killed(tmp_path):
    command = [sys.executable, '-c', textwrap.dedent(_OWNS), str(tmp_path / 'run')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == 'owned\n'
        where = f'in use by process {child.pid} on {socket.gethostname()}; wait for it'
        for _ in range(2):  # being refused changes nothing
            with (
                pytest.raises(errors.RunError, match=where) as caught,
                directory.owned(tmp_path / 'run'),
            ):
                pass
            assert caught.value.code == errors.IN_USE
        os.kill(child.pid, signal.SIGKILL)
    with directory.owned(tmp_path / 'run') as path:
        assert path == tmp_path / 'run'


def test_a_directory_is_free_after_its_block(tmp_path):
    for _ in range(2):
        with (
            directory.owned(tmp_path),
            pytest.raises(errors.RunError, match=f'--run_dir=.*process {os.getpid()} on'),
            directory.owned(tmp_path),
        ):
            pass
    with pytest.raises(KeyError), directory.owned(tmp_path):
        raise KeyError
    with directory.owned(tmp_path):
        pass


def test_a_directory_whose_lock_was_deleted_is_refused(tmp_path):
    with directory.owned(tmp_path):
        (tmp_path / '.lock').unlink()
        with pytest.raises(errors.RunError, match='in use') as caught, directory.owned(tmp_path):
            pass
        assert caught.value.code == errors.IN_USE
    with directory.owned(tmp_path):
        pass


@pytest.mark.parametrize('name', ['.lock', '.owner'])
def test_what_a_link_points_to_is_never_written(tmp_path, name):
    target, run_dir = tmp_path / 'target', tmp_path / 'run'
    target.write_text('precious')
    run_dir.mkdir()
    (run_dir / name).symlink_to(target)
    (run_dir / '.owner.tmp').symlink_to(target)
    (run_dir / f'.owner.{os.getpid()}.tmp').symlink_to(target)
    refused = pytest.raises(errors.RunError, match='cannot be used: Too many levels of symbolic')
    with refused if name == '.lock' else contextlib.nullcontext(), directory.owned(run_dir):
        assert 'process' in (run_dir / '.owner').read_text()
    assert target.read_text() == 'precious'


def test_a_start_that_fails_before_it_writes_anything_leaves_no_folder(tmp_path):
    with pytest.raises(KeyError), directory.owned(tmp_path / 'runs' / 'a'):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IsADirectoryError), directory.owned(tmp_path / 'runs' / 'a') as folder:
        (folder / 'log').write_text('x') and folder.read_text()
    assert (tmp_path / 'runs' / 'a' / 'log').exists()
    (tmp_path / 'empty').mkdir()  # by the user
    with pytest.raises(KeyError), directory.owned(tmp_path / 'empty'):
        raise KeyError
    assert (tmp_path / 'empty').exists()


def test_a_run_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    with (
        pytest.raises(errors.RunError, match=r'--sweep_dir=.*file: cannot be used') as caught,
        directory.owned(tmp_path / 'file', 'sweep_dir'),
    ):
        pass
    assert caught.value.code == errors.CANNOT_SAVE


_ON_RESUME = {'core': 'fixed', 'cuts': 'fixed', 'rate': 'warn', 'run_dir': 'free'}
_CONFIG = {'core': 'rmc', 'cuts': (1, 2), 'rate': 0.5, 'run_dir': 'a'}


def test_an_unchanged_config_passes_through_json():
    assert directory.check_config({**_CONFIG, 'cuts': [1, 2]}, _CONFIG, _ON_RESUME) == []


def test_changes_to_warn_of_are_listed_and_free_ones_are_not():
    now = {**_CONFIG, 'rate': 0.25, 'run_dir': 'b'}
    assert directory.check_config(_CONFIG, now, _ON_RESUME) == ['rate: 0.5 -> 0.25']


@pytest.mark.parametrize(
    ('saved', 'words'),
    [
        ({**_CONFIG, 'core': 'lstm', 'cuts': [3]}, ['core: lstm -> rmc', 'cuts: [3] -> [1, 2]']),
        ({**_CONFIG, 'gone': 3}, ['gone: 3 -> absent']),
        ({'core': 'rmc', 'rate': 0.5, 'run_dir': 'a'}, ['cuts: absent -> [1, 2]']),
    ],
)
def test_changes_of_what_is_fixed_are_refused_with_both_values(saved, words):
    with pytest.raises(errors.RunError) as caught:
        directory.check_config(saved, _CONFIG, _ON_RESUME)
    assert caught.value.code == errors.MISMATCH
    assert [word for word in words if word not in str(caught.value)] == []


def _describe(path, **changes):
    facts = {
        'program': 'lm',
        'config': {'core': 'rmc', 'run_dir': None},
        'parameters': 77,
        'unit': 'words',
        'units_per_update': 2048,
        'measure': 'valid_perplexity',
        'higher_is_better': False,
        'data': 'c0ffee',
    }
    directory.describe(path, **{**facts, **changes})
    return facts


def test_a_description_is_read_as_it_was_written_and_replaced_at_once(tmp_path):
    _describe(tmp_path, parameters=5)
    facts = _describe(tmp_path)
    path = tmp_path / 'run.json'
    assert directory.read_description(tmp_path) == {**facts, 'starts': []}
    before = path.read_bytes()
    _describe(tmp_path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ['run.json']


def test_each_start_adds_its_record(tmp_path):
    for step in (0, 7):
        _describe(tmp_path, start={'step': step})
    assert directory.read_description(tmp_path)['starts'] == [{'step': 0}, {'step': 7}]
    for damaged in ('{"a": 1', '{"starts": 3}'):
        (tmp_path / 'run.json').write_text(damaged)
        _describe(tmp_path, start={'step': 9})
        assert directory.read_description(tmp_path)['starts'] == [{'step': 9}]


def test_a_file_that_cannot_be_written_stays_and_is_named(tmp_path):
    facts = _describe(tmp_path)
    (tmp_path / f'run.json.{os.getpid()}.tmp').mkdir()
    with pytest.raises(errors.RunError, match=r'run\.json cannot be written') as caught:
        _describe(tmp_path, parameters=5)
    assert caught.value.code == errors.CANNOT_SAVE
    assert directory.read_json(tmp_path / 'run.json') == {**facts, 'starts': []}


def test_numbers_that_json_does_not_have_are_never_written(tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        directory.write_json(tmp_path / 'a.json', {'a': float('nan')})


@pytest.mark.parametrize(
    ('content', 'words'),
    [(b'{"a": 1', 'cannot be read'), (b'\xff', 'cannot be read'), (b'[1]', 'an object of JSON')],
)
def test_a_damaged_file_is_named(tmp_path, content, words):
    path = tmp_path / 'run.json'
    path.write_bytes(content)
    with pytest.raises(base.DataError, match=words) as caught:
        directory.read_json(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_holds_nothing(tmp_path):
    assert directory.read_json(tmp_path / 'run.json') == {}
    assert directory.read_description(tmp_path) == {}


def test_a_description_that_lacks_something_is_refused(tmp_path):
    directory.write_json(tmp_path / 'run.json', {'program': 'lm', 'unit': 'words'})
    with pytest.raises(
        base.DataError, match=r'run\.json has no config, measure, parameters, units'
    ):
        directory.read_description(tmp_path)
