"""Manifests: whatever changes in a sealed folder is found and named."""

import hashlib
import os
import shutil

import pytest

from launch.runs import errors, integrity

_FILES = {'metadata.json': b'{"a": 1}', 'state/d/0': b'\x00\x01\x02\xff', 'state/empty': b''}


@pytest.fixture
def folder(tmp_path):
    """Returns a sealed folder of step 7."""
    folder = tmp_path / '7'
    for name, data in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    integrity.seal(folder, 7)
    assert integrity.damage(folder, 7) is None
    return folder


def _flipped(path):
    """Flips one bit of each byte of a file in turn, a different one each time."""
    data = path.read_bytes()
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1 << index % 8
        path.write_bytes(changed)
        yield index
    path.write_bytes(data)


@pytest.mark.parametrize('name', ['metadata.json', 'state/d/0', integrity.FILE])
def test_every_flipped_byte_is_found(folder, name):
    count = 0
    for _ in _flipped(folder / name):
        assert name in integrity.damage(folder, 7)
        count += 1
    assert count == (folder / name).stat().st_size > 3
    assert integrity.damage(folder, 7) is None


@pytest.mark.parametrize('name', ['metadata.json', 'state/d/0', integrity.FILE])
def test_every_length_that_a_file_is_cut_to_is_found(folder, name):
    for length in reversed(range((folder / name).stat().st_size)):
        os.truncate(folder / name, length)
        assert integrity.damage(folder, 7) == f'{name} is altered'


@pytest.mark.parametrize('name', [*_FILES, integrity.FILE])
def test_every_deleted_file_is_found(folder, name):
    (folder / name).unlink()
    assert integrity.damage(folder, 7) == f'{name} is missing'


def test_files_added_or_longer_are_found(folder):
    (folder / 'state/empty').write_bytes(b'x')
    assert integrity.damage(folder, 7) == 'state/empty is altered'
    (folder / 'extra').write_text('')
    assert integrity.damage(folder, 7) == 'extra does not belong here'


def test_files_and_folders_of_another_step_are_found(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / '8')
    (other / 'state/d/0').write_bytes(b'\x00\x01\x02\xfe')
    integrity.seal(other, 8)
    shutil.copy(other / 'state/d/0', folder / 'state/d/0')
    assert integrity.damage(folder, 7) == 'state/d/0 is altered'
    assert integrity.damage(other, 7) == 'manifest.json is of step 8'


def test_an_empty_folder_and_an_absent_one_are_damaged(tmp_path):
    (tmp_path / '7').mkdir()
    for name in ('7', 'absent'):
        assert integrity.damage(tmp_path / name, 7) == 'manifest.json is missing'


def test_a_manifest_of_other_json_is_damage_and_no_defect(folder):
    for body in ('[]', '{}', '{"step": 7}', '{"step": 7, "files": [3]}'):
        digest = hashlib.sha256(body.encode()).hexdigest()
        (folder / integrity.FILE).write_text(f'{body}\n{digest}\n')
        reason = integrity.damage(folder, 7)
        assert reason
        assert '\n' not in reason


def test_a_signal_is_no_damage(folder, monkeypatch):
    def stop(folder):
        raise errors.RunError(errors.INTERRUPTED, 'stopped')

    monkeypatch.setattr(integrity, '_sums', stop)
    with pytest.raises(errors.RunError, match='stopped'):
        integrity.damage(folder, 7)
