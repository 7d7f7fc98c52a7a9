"""Checkpoints: equal bytes come back, or damage is named and the newest whole one is used."""

import contextlib
import errno
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from launch.runs import arrays, checkpoint, errors, integrity, signals
from tasks import storage


class Carry(NamedTuple):
    hidden: chex.Array  # [B, H]
    memory: chex.Array  # [B, N, F]


def _state(step):
    """Returns a training state of every kind of leaf that a run holds."""
    rng = np.random.default_rng(step)
    params = {'lm/~/rmc': {'w': rng.normal(size=(5, 7)).astype(np.float32)}, 'b': np.ones(3)}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.constant_schedule(1)))
    return {
        'params': params,
        'optimizer': optimizer.init(jnp.float32(step)),
        'carry': Carry(rng.normal(size=(2, 3)), jnp.full((2, 3, 4), 1.5 * step, jnp.bfloat16)),
        'key': np.array([step, 2**32 - 1], np.uint32),
        'position': 2**40 + step,
        'mask': np.array([True, False, True]),
    }


def _assert_equal(got, wanted):
    chex.assert_trees_all_equal_structs(got, wanted)
    got = {name: np.asarray(leaf) for name, leaf in arrays.named(got).items()}
    wanted = {name: np.asarray(leaf) for name, leaf in arrays.named(wanted).items()}
    for name in wanted:
        assert got[name].dtype == wanted[name].dtype, name
        assert got[name].shape == wanted[name].shape, name
        assert got[name].tobytes() == wanted[name].tobytes(), name


def _checkpointer(run_dir, keep=3):
    lines = []
    return checkpoint.Checkpointer(run_dir, keep=keep, warn=lines.append), lines


@pytest.fixture(scope='module')
def two_steps(tmp_path_factory):
    """Returns a run's directory with checkpoints of the steps 10 and 20."""
    run_dir = tmp_path_factory.mktemp('two')
    saver, _ = _checkpointer(run_dir)
    for step in (10, 20):
        assert saver.save(step, _state(step), {'config': {'step': step}})
    return run_dir


@pytest.fixture
def run_dir(two_steps, tmp_path):
    """Returns a copy of `two_steps` to damage."""
    return pathlib.Path(shutil.copytree(two_steps, tmp_path / 'run'))


def _assert_falls_back(run_dir, *words):
    """Checks that step 20 is found damaged, named with these words and kept, and 10 is used."""
    loader, lines = _checkpointer(run_dir)
    restored = loader.restore(_state(0))
    assert restored.step == 10
    _assert_equal(restored.state, _state(10))
    assert len(lines) == 1
    for word in (*words, '20', 'using step 10'):
        assert word in lines[0]
    assert (run_dir / 'checkpoints' / '20.damaged').is_dir()
    assert not (run_dir / 'checkpoints' / '20').exists()


def _files(run_dir, step):
    folder = run_dir / 'checkpoints' / str(step)
    return sorted(path for path in folder.rglob('*') if path.is_file())


def test_nothing_saved_restores_none(tmp_path):
    loader, lines = _checkpointer(tmp_path / 'absent')
    assert (loader.restore(_state(0)), loader.newest_metadata(), lines) == (None, None, [])
    assert not (tmp_path / 'absent').exists()


def test_the_newest_checkpoint_comes_back_with_equal_bytes_and_structure(run_dir):
    loader, lines = _checkpointer(run_dir)
    restored = loader.restore(_state(0))
    assert (restored.step, restored.metadata, lines) == (20, {'config': {'step': 20}}, [])
    _assert_equal(restored.state, _state(20))
    assert isinstance(restored.state['optimizer'][1][0], optax.ScaleByAdamState)
    assert isinstance(restored.state['carry'], Carry)
    assert loader.newest_metadata() == (20, {'config': {'step': 20}})


def test_a_state_of_another_seed_is_not_equal(run_dir):
    restored = _checkpointer(run_dir)[0].restore(_state(0))
    with pytest.raises(AssertionError):
        _assert_equal(restored.state, _state(21))


def test_only_the_newest_are_kept(tmp_path):
    saver, _ = _checkpointer(tmp_path, keep=2)
    for step in (9, 10, 100):
        assert saver.save(step, {'a': np.arange(step)}, {})
    assert sorted(os.listdir(tmp_path / 'checkpoints')) == ['10', '100']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'mask': np.zeros(4, bool)}, ['mask', 'wanted bool[4], got bool[3]']),
        ({'mask': np.zeros(3, np.int8)}, ['mask', 'wanted int8[3], got bool[3]']),
        ({'mask': {'x': np.zeros(3, bool)}}, ["['mask']['x']", 'got nothing', '(and 1 more)']),
        ({'new': np.zeros(3)}, ['new', 'wanted float64[3], got nothing']),
        ({'carry': (np.zeros((2, 3)), jnp.zeros((2, 3, 4)))}, ['carry', 'got']),
    ],
)
def test_a_state_that_does_not_fit_the_template_is_refused(two_steps, change, words):
    with pytest.raises(errors.RunError) as caught:
        _checkpointer(two_steps)[0].restore({**_state(0), **change})
    assert caught.value.code == errors.MISMATCH
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_state_with_one_leaf_more_than_the_template_is_refused(two_steps):
    template = _state(0)
    del template['mask']
    with pytest.raises(errors.RunError, match=r"mask'\]: wanted nothing, got bool\[3\]") as caught:
        _checkpointer(two_steps)[0].restore(template)
    assert caught.value.code == errors.MISMATCH


def test_a_part_comes_back_without_a_template_of_the_rest(run_dir):
    loader, lines = _checkpointer(run_dir)
    for path in ("['params']", "['carry']", "['carry'].hidden", "['key']", "['optimizer'][1]"):
        part = {
            "['params']": lambda state: state['params'],
            "['carry']": lambda state: state['carry'],
            "['carry'].hidden": lambda state: state['carry'].hidden,
            "['key']": lambda state: state['key'],
            "['optimizer'][1]": lambda state: state['optimizer'][1],
        }[path]
        restored = loader.restore(part(_state(0)), path)
        assert (restored.step, restored.metadata, lines) == (20, {'config': {'step': 20}}, [])
        _assert_equal(restored.state, part(_state(20)))


def test_a_template_may_be_of_shapes_alone(run_dir):
    template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), _state(0)['params'])
    restored = _checkpointer(run_dir)[0].restore(template, "['params']")
    _assert_equal(restored.state, _state(20)['params'])


def test_a_part_of_a_damaged_checkpoint_is_not_used(run_dir):
    _flip(max(_files(run_dir, 20), key=lambda path: path.stat().st_size))
    loader, lines = _checkpointer(run_dir)
    restored = loader.restore(_state(0)['key'], "['key']")
    assert (restored.step, len(lines)) == (10, 1)
    _assert_equal(restored.state, _state(10)['key'])
    assert _checkpointer(run_dir / 'absent')[0].restore({}, '.params') is None


@pytest.mark.parametrize(
    ('path', 'template', 'words'),
    [
        ("['key']", np.zeros(2, np.int32), "state['key']: wanted int32[2], got uint32[2]"),
        (
            "['carry']",
            {'hidden': np.zeros(3)},
            "state['carry']['hidden']: wanted float64[3], got n",
        ),
        (
            "['carry']",
            Carry(np.zeros((2, 3)), ()),
            '.memory: wanted nothing, got bfloat16[2, 3, 4]',
        ),
        ("['par", np.zeros(3), "state['par: wanted float64[3], got nothing"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(two_steps, path, template, words):
    with pytest.raises(errors.RunError) as caught:
        _checkpointer(two_steps)[0].restore(template, path)
    assert caught.value.code == errors.MISMATCH
    assert words in str(caught.value)


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    'harm',
    [
        _flip,
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, 0),
        lambda path: path.unlink(),
    ],
    ids=['flipped', 'cut', 'emptied', 'deleted'],
)
def test_damage_of_any_file_is_named_and_the_checkpoint_before_is_used(run_dir, tmp_path, harm):
    whole, count = shutil.copytree(run_dir / 'checkpoints' / '20', tmp_path / 'whole'), 0
    for path in _files(run_dir, 20):
        harm(path)
        loader, lines = _checkpointer(run_dir)
        assert loader.newest_metadata() == (10, {'config': {'step': 10}})
        assert len(lines) == 1
        assert path.name in lines[0]
        shutil.rmtree(run_dir / 'checkpoints' / '20.damaged')
        shutil.copytree(whole, run_dir / 'checkpoints' / '20')
        count += 1
    assert count >= 5


def test_arrays_of_another_step_are_found(run_dir):
    folder = run_dir / 'checkpoints'
    shutil.rmtree(folder / '20' / 'state')
    shutil.copytree(folder / '10' / 'state', folder / '20' / 'state')
    _assert_falls_back(run_dir, 'state/')


def test_a_folder_of_another_step_is_found(run_dir):
    folder = run_dir / 'checkpoints'
    shutil.rmtree(folder / '20')
    shutil.copytree(folder / '10', folder / '20')
    _assert_falls_back(run_dir, 'manifest.json is of step 10')


def test_an_empty_newer_folder_is_no_checkpoint(run_dir):
    (run_dir / 'checkpoints' / '30').mkdir()
    loader, lines = _checkpointer(run_dir)
    assert loader.restore(_state(0)).step == 20
    assert len(lines) == 1
    assert 'manifest.json is missing; kept as 30.damaged, using step 20' in lines[0]


def test_folders_whose_names_are_no_steps_are_left_alone(run_dir):
    folder = run_dir / 'checkpoints'
    names = ['030', '-40', '5_0', f'1{18 * "0"}', 'notes']
    for name in names:
        shutil.copytree(folder / '20', folder / name)
    loader, lines = _checkpointer(run_dir)
    assert (loader.newest_metadata()[0], lines) == (20, [])
    assert sorted(os.listdir(folder)) == sorted(['10', '20', *names])


def test_a_second_damaged_folder_of_a_step_is_kept_too(run_dir):
    folder = run_dir / 'checkpoints'
    shutil.copytree(folder / '20', folder / '20.damaged')
    (folder / '20' / 'metadata.json').unlink()
    loader, _ = _checkpointer(run_dir)
    assert loader.newest_metadata()[0] == 10
    assert sorted(os.listdir(folder)) == ['10', '20.damaged', '20.damaged.1']


def test_no_whole_checkpoint_left_is_an_error_every_time(run_dir):
    folder = run_dir / 'checkpoints'
    for step in (10, 20):
        (folder / str(step) / 'manifest.json').unlink()
    for _ in range(2):
        with pytest.raises(errors.RunError, match='no whole checkpoint') as caught:
            _checkpointer(run_dir)[0].restore(_state(0))
        assert caught.value.code == errors.BAD_DATA
        assert '\n' not in str(caught.value)
    shutil.rmtree(folder / '10')
    (folder / '20').rename(folder / '20.damaged')
    with pytest.raises(errors.RunError, match='no whole checkpoint'):
        _checkpointer(run_dir)[0].newest_metadata()


def test_an_interrupted_first_save_is_a_clean_start(tmp_path):
    (tmp_path / 'checkpoints' / '5.partial' / 'state').mkdir(parents=True)
    loader, lines = _checkpointer(tmp_path)
    assert loader.restore(_state(0)) is None
    assert len(lines) == 1
    assert 'interrupted: starting from step 0' in lines[0]
    assert os.listdir(tmp_path / 'checkpoints') == []


@pytest.mark.parametrize('kind', ['file', 'link', 'dangling link'])
def test_whatever_has_the_name_of_an_interrupted_save_is_removed(run_dir, tmp_path, kind):
    folder, target = run_dir / 'checkpoints', tmp_path / 'target'
    target.mkdir()
    (target / 'file').write_text('precious')
    for step in (5, 30):
        path = folder / f'{step}.partial'
        if kind == 'file':
            path.write_text('')
        else:
            path.symlink_to(target if kind == 'link' else tmp_path / 'nowhere')
    saver, lines = _checkpointer(run_dir)
    assert saver.save(30, _state(30), {})
    assert saver.restore(_state(0)).step == 30
    assert (sorted(os.listdir(folder)), lines) == (['10', '20', '30'], [])
    assert (target / 'file').read_text() == 'precious'


def test_damage_in_a_folder_where_nothing_can_be_renamed_is_named(run_dir, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, 'Permission denied')

    _files(run_dir, 20)[0].write_bytes(b'other')
    (run_dir / 'checkpoints' / '30.partial').mkdir()
    monkeypatch.setattr(os, 'replace', refuse)
    monkeypatch.setattr(shutil, 'rmtree', refuse)
    loader, lines = _checkpointer(run_dir)
    assert loader.restore(_state(0)).step == 10
    assert '30.partial cannot be removed: Permission denied' in lines[0]
    words = 'is altered; cannot be renamed (Permission denied), using step 10'
    assert (words in lines[1], len(lines)) == (True, 2)
    assert not loader.save(15, _state(15), {})
    assert 'checkpoint of step 15 not saved' in lines[-1]


def test_a_checkpoint_that_is_a_link_is_used_and_pruned(run_dir, tmp_path):
    folder = run_dir / 'checkpoints'
    (folder / '10').rename(tmp_path / '10')
    (folder / '10').symlink_to(tmp_path / '10')
    saver, lines = _checkpointer(run_dir, keep=1)
    assert saver.save(30, _state(30), {})
    assert (os.listdir(folder), lines) == (['30'], [])
    assert (tmp_path / '10' / 'metadata.json').is_file()


def test_arrays_that_differ_from_a_forged_description_are_refused(run_dir):
    path = run_dir / 'checkpoints' / '20' / 'metadata.json'
    path.write_text(path.read_text().replace('bool[3]', 'bool[4]'))
    integrity.seal(path.parent, 20)
    template = {**_state(0), 'mask': np.zeros(4, bool)}
    with pytest.raises(errors.RunError, match=r'wanted bool\[4\], got bool\[3\]') as caught:
        _checkpointer(run_dir)[0].restore(template)
    assert caught.value.code == errors.MISMATCH


_FORGED = [b'[1]', b'{', b'null', b'[' * 200_000, b'\xff', b'', b'{"metadata": {}}']
_FORGED += [b'{"metadata": [], "leaves": {}}', b'{"metadata": {}, "leaves": 3}']


def _reads(run_dir):
    """Returns the messages with which reading a run ends, checked to be one bounded line each."""
    messages = []
    reader = checkpoint.Reader(run_dir, messages.append)
    for read in (reader.newest_metadata, lambda: reader.restore(_state(0))):
        try:
            read()
        except errors.RunError as error:
            messages.append(str(error))
    assert all('\n' not in message and len(message) < 1000 for message in messages)
    return messages


def _forge(run_dir, data):
    path = run_dir / 'checkpoints' / '20' / 'metadata.json'
    path.write_bytes(data)
    integrity.seal(path.parent, 20)


@pytest.mark.parametrize('data', _FORGED, ids=lambda data: data[:30])
def test_forged_metadata_end_in_one_line(run_dir, data):
    _forge(run_dir, data)
    messages = _reads(run_dir)
    assert len(messages) == 2
    assert all('metadata.json is sealed, but cannot be read' in line for line in messages)


def _mutated(value, rng):
    """Returns a JSON value in which one thing is deleted or replaced."""
    others = [[1], {}, None, '', 'x' * 5000, -1, 1e300, [[[]]], {'a': {}}]
    if not isinstance(value, dict) or not value or rng.random() < 0.1:
        return rng.choice(others)
    name = rng.choice(sorted(value))
    if rng.random() < 0.2:
        return {key: value[key] for key in value if key != name}
    if rng.random() < 0.1:
        return {**value, 'y' * 5000: value[name]}
    return {**value, name: _mutated(value[name], rng)}


@pytest.mark.parametrize('count', [40, pytest.param(900, marks=pytest.mark.slow)])
def test_mutated_metadata_are_read_or_end_in_one_line(run_dir, count):
    path, rng = run_dir / 'checkpoints' / '20' / 'metadata.json', random.Random(count)
    record = json.loads(path.read_text())
    refused = 0
    for _ in range(count):
        _forge(run_dir, json.dumps(_mutated(record, rng)).encode())
        refused += len(_reads(run_dir)) > 0
    assert count > refused > count // 4


def test_a_forged_checkpoint_ends_in_a_run_error(run_dir):
    for path in (run_dir / 'checkpoints' / '20' / 'state').rglob('*'):
        if path.is_file():
            path.write_bytes(b'\x80\x04.')
    integrity.seal(run_dir / 'checkpoints' / '20', 20)
    with pytest.raises(errors.RunError, match='cannot be read') as caught:
        _checkpointer(run_dir)[0].restore(_state(0))
    assert caught.value.code == errors.BAD_DATA


def _everything(folder):
    return {path: path.is_dir() or path.read_bytes() for path in folder.rglob('*')}


def test_a_reader_uses_the_newest_whole_checkpoint_and_changes_nothing(run_dir):
    _files(run_dir, 20)[0].write_bytes(b'other')
    (run_dir / 'checkpoints' / '30.partial').mkdir()
    before, lines = _everything(run_dir), []
    restored = checkpoint.Reader(run_dir, lines.append).restore(_state(0))
    assert restored.step == 10
    _assert_equal(restored.state, _state(10))
    assert checkpoint.Reader(run_dir, lines.append).newest_metadata()[0] == 10
    assert ['altered; using step 10' in line for line in lines] == [True, True]
    assert _everything(run_dir) == before


def test_a_first_save_under_way_is_no_checkpoint_for_a_reader(tmp_path):
    (tmp_path / 'checkpoints' / '5.partial').mkdir(parents=True)
    assert checkpoint.Reader(tmp_path).newest_metadata() is None


@pytest.mark.parametrize('moment', ['checked', 'half checked'])
@pytest.mark.parametrize('read', ['restore', 'newest_metadata'])
def test_a_checkpoint_that_the_training_run_removes_is_not_missed(
    run_dir, monkeypatch, moment, read
):
    saver, damage = _checkpointer(run_dir, keep=1)[0], integrity.damage

    def remove(folder, step):
        found = None if moment == 'half checked' else damage(folder, step)
        if step == 20:
            saver.save(30, _state(30), {})
        return damage(folder, step) if moment == 'half checked' else found

    monkeypatch.setattr(integrity, 'damage', remove)
    lines = []
    reader = checkpoint.Reader(run_dir, lines.append)
    found = reader.restore(_state(0)) if read == 'restore' else reader.newest_metadata()
    assert (found[0], lines) == (30, [])
    assert os.listdir(run_dir / 'checkpoints') == ['30']


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', [np.float32, np.float64, jnp.bfloat16, np.complex64])
def test_a_state_that_is_not_finite_is_never_saved(run_dir, value, dtype):
    saver, _ = _checkpointer(run_dir)
    bad = {**_state(30), 'zz': {'w': np.array([[0, 1], [value, 2]], dtype)}}
    with pytest.raises(errors.RunError, match=r"state\['zz'\]\['w'\] holds NaN or Inf") as caught:
        saver.save(30, bad, {})
    assert caught.value.code == errors.INTERNAL
    assert sorted(os.listdir(run_dir / 'checkpoints')) == ['10', '20']


@pytest.mark.parametrize('leaf', ['text', object(), np.zeros((0, 3))])
def test_leaves_that_are_no_numbers_are_refused(tmp_path, leaf):
    with pytest.raises(ValueError, match='wanted an array of numbers'):
        _checkpointer(tmp_path)[0].save(1, {'a': leaf}, {})


def _assert_survives(run_dir, lines):
    """Checks that a failed save of step 30 gave one warning and left 10 and 20 whole."""
    assert len(lines) == 1
    assert 'warning: checkpoint of step 30 not saved' in lines[0]
    assert '\n' not in lines[0]
    assert sorted(os.listdir(run_dir / 'checkpoints')) == ['10', '20']
    _assert_equal(_checkpointer(run_dir)[0].restore(_state(0)).state, _state(20))


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize('call', ['replace', 'fsync'])
def test_a_failing_system_call_leaves_older_checkpoints_whole(run_dir, monkeypatch, code, call):
    fired = []

    def fail(*args):
        fired.append(call)
        raise OSError(code, os.strerror(code))

    saver, lines = _checkpointer(run_dir)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, call, fail)
        assert not saver.save(30, _state(30), {})
    assert fired
    assert os.strerror(code) in lines[0]
    _assert_survives(run_dir, lines)
    assert saver.save(30, _state(30), {})


def test_a_full_disk_is_seen_before_writing(run_dir, monkeypatch):
    usage = shutil.disk_usage(run_dir)._replace(free=100)
    monkeypatch.setattr(arrays.shutil, 'disk_usage', lambda path: usage)
    saver, lines = _checkpointer(run_dir)
    assert not saver.save(30, _state(30), {})
    assert '100 are free' in lines[0]
    _assert_survives(run_dir, lines)


def test_three_failed_saves_in_a_row_end_the_run(run_dir, monkeypatch):
    usage = shutil.disk_usage(run_dir)
    saver, lines = _checkpointer(run_dir)
    for free in (0, 0, usage.free, 0, 0):
        full = usage._replace(free=free)
        monkeypatch.setattr(arrays.shutil, 'disk_usage', lambda path, full=full: full)
        assert saver.save(30, _state(30), {}) == (free > 0)
    with pytest.raises(errors.RunError, match='3 saves in a row failed') as caught:
        saver.save(40, _state(40), {})
    assert caught.value.code == errors.CANNOT_SAVE
    assert len(lines) == 4


def test_a_signal_waits_for_the_end_of_a_save(run_dir, monkeypatch):
    save = arrays.save

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        save(*args)

    monkeypatch.setattr(arrays, 'save', interrupted)
    saver, lines = _checkpointer(run_dir)
    with pytest.raises(signals.Interrupted), signals.handled():
        saver.save(30, _state(30), {})
    restored = saver.restore(_state(0))
    assert (restored.step, lines) == (30, [])
    _assert_equal(restored.state, _state(30))


def test_a_step_that_is_there_is_not_saved_again(run_dir):
    saver, lines = _checkpointer(run_dir)
    assert not saver.save(20, _state(21), {'again': True})
    assert 'checkpoint of step 20 not saved' in lines[0]
    _assert_equal(saver.restore(_state(0)).state, _state(20))


_MEETS_A_LIMIT = """
    import resource, sys
    import numpy as np
    from launch.runs import checkpoint
    state = {'a': np.random.default_rng(0).normal(size=(300, 100))}
    saver = checkpoint.Checkpointer(sys.argv[1])
    assert saver.save(1, state, {}) and saver.restore(state).step == 1
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    assert not saver.save(2, state, {})
    assert saver.restore(state).step == 1
"""


def test_an_error_met_while_writing_prints_one_line_and_saving_prints_none(tmp_path):
    command = [sys.executable, '-c', textwrap.dedent(_MEETS_A_LIMIT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    folder = tmp_path / 'checkpoints'
    line = f'warning: checkpoint of step 2 not saved in {folder}: File too large'
    assert (done.returncode, done.stdout, done.stderr) == (0, '', f'{line}; training continues\n')


_FAILS_EARLY = """
    import logging, resource, sys
    import numpy as np
    from launch.runs import checkpoint
    size = 20_000
    state = {f'a{i}': np.random.default_rng(i).normal(size=size * (1 + i % 6)) for i in range(60)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * size, -1))
    saver = checkpoint.Checkpointer(sys.argv[1])
    saver.save(1, state, {})
    saver.save(2, state, {})
    for reason in "os_error_code='27'", 'of another task':
        logging.getLogger('asyncio').error('shown', exc_info=ValueError(reason))
"""


def test_writes_that_end_after_one_has_failed_print_nothing(tmp_path):
    command = [sys.executable, '-c', textwrap.dedent(_FAILS_EARLY), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 0
    assert all('File too large; training continues' in line for line in lines[:2])
    assert lines[-1] == 'ValueError: of another task'
    assert [
        line for line in lines[2:] if 'os_error_code' in line or 'never retrieved' in line
    ] == []


class _Killed(BaseException):
    """Stands for kill -9: nothing in the program handles it."""


_CALLS = [(arrays, 'save'), (storage, 'write_text'), (integrity, 'seal'), (os, 'replace')]
_CALLS += [(storage, 'sync'), (os, 'fsync'), (shutil, 'rmtree')]


@pytest.mark.parametrize('after', [False, True])
@pytest.mark.parametrize(('module', 'name'), _CALLS, ids=lambda x: getattr(x, '__name__', x))
def test_wherever_a_save_dies_a_whole_checkpoint_is_left(run_dir, monkeypatch, module, name, after):
    call, deaths, newest = getattr(module, name), 0, 20

    def die(*args, **options):
        nonlocal countdown
        countdown -= 1
        if after:
            call(*args, **options)
        if not countdown:
            raise _Killed
        return None if after else call(*args, **options)

    for number in range(1, 20):
        countdown = number
        with monkeypatch.context() as patch, contextlib.suppress(_Killed):
            patch.setattr(module, name, die)
            step = 30 + number
            _checkpointer(run_dir, keep=2)[0].save(step, _state(step), {'config': {'step': step}})
        if countdown > 0:
            break
        deaths += 1
        loader, lines = _checkpointer(run_dir, keep=2)
        restored = loader.restore(_state(0))
        assert restored.step in (newest, step)
        newest = restored.step
        assert (restored.metadata, lines) == ({'config': {'step': restored.step}}, [])
        _assert_equal(restored.state, _state(restored.step))
        assert not list((run_dir / 'checkpoints').glob('*.partial'))
    assert deaths >= 1


_SAVES = """
    import sys
    import numpy as np
    from launch.runs import checkpoint
    saver = checkpoint.Checkpointer(sys.argv[1], keep=2)
    step = int(sys.argv[2])
    while True:
        step += 1
        saver.save(step, {'a': np.full((500, 211), step), 'step': step}, {'step': step})
        print(step, flush=True)
"""


@pytest.mark.parametrize('rounds', [2, pytest.param(12, marks=pytest.mark.slow)])
def test_a_kill_in_the_middle_of_saves_leaves_a_whole_checkpoint(tmp_path, rounds):
    rng = random.Random(2)
    template = {'a': np.zeros((500, 211), np.int64), 'step': 0}
    start = interrupted = 0
    for _ in range(rounds):
        command = [sys.executable, '-c', textwrap.dedent(_SAVES), str(tmp_path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            first = int(child.stdout.readline())
            time.sleep(rng.uniform(0, 0.1))
            os.kill(child.pid, signal.SIGKILL)
            said = [first, *map(int, child.stdout.read().split())]
        interrupted += any((tmp_path / 'checkpoints').glob('*.partial'))
        loader, lines = _checkpointer(tmp_path)
        restored = loader.restore(template)
        assert (lines, child.returncode) == ([], -signal.SIGKILL)
        assert restored.step in (said[-1], said[-1] + 1)
        assert np.unique(restored.state['a']).tolist() == [restored.step]
        assert restored.metadata == {'step': restored.step}
        start = restored.step
    assert interrupted >= rounds // 6
