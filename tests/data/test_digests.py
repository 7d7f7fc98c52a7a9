"""Digests of files, by themselves and as `corpora.load` takes them."""

import contextlib
import os

import pytest

from tasks import base, storage
from tasks.text import corpora, digests
from tests.support.text_folders import read


@pytest.fixture
def hashed(monkeypatch):
    """Returns the paths of the files that are read to be hashed; from 6 bytes on they are large."""
    monkeypatch.setattr(digests, '_LARGE', 6)
    paths, sha256 = [], storage.sha256
    monkeypatch.setattr(storage, 'sha256', lambda path: paths.append(path) or sha256(path))
    return paths


def test_those_of_large_files_are_remembered_until_the_file_changes(tmp_path, hashed):
    read(tmp_path, 'some text')  # train is large, valid and test are not
    hashed.clear()
    path, cache = tmp_path / 'train.txt', tmp_path / 'cache'
    first, again = (corpora.load('text', tmp_path, cache_dir=cache) for _ in range(2))
    assert hashed.count(path) == 1
    assert hashed.count(tmp_path / 'valid.txt') == 2
    assert first.fingerprint == again.fingerprint
    stat = path.stat()
    path.write_text('same text')
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a restored backup has it
    changed = corpora.load('text', tmp_path, cache_dir=cache)
    assert hashed.count(path) == 2
    assert changed.fingerprint != first.fingerprint


def test_one_that_another_process_computed_meanwhile_is_used(tmp_path, hashed, monkeypatch):
    @contextlib.contextmanager
    def lock(path):  # the other process had it until now
        path.with_suffix('').write_text('its digest')
        yield

    (tmp_path / 'large').write_text('some text')
    monkeypatch.setattr(storage, 'lock', lock)
    assert digests.digest(tmp_path / 'large', tmp_path / 'cache') == 'its digest'
    assert not hashed


def test_where_nothing_can_be_remembered_a_file_is_hashed_every_time(tmp_path, hashed):
    path, cache = tmp_path / 'large', tmp_path / 'cache'
    path.write_text('some text')
    cache.write_text('a file in the way')
    first, again = (digests.digest(path, cache) for _ in range(2))
    assert first == again == storage.sha256(path)
    assert len(hashed) == 3


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(base.DataError, match='none cannot be read: No such file'):
        digests.digest(tmp_path / 'none', tmp_path)
