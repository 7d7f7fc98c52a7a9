import random

import pytest
from tensorflow_datasets.core import shuffle

from tasks.text.tfds import shuffling


def shuffled(folder, keys, monkeypatch, memory):
    monkeypatch.setattr(shuffling, '_MEMORY', memory)
    with shuffling.without_tensorflow():
        shuffler = shuffle.Shuffler(folder, 'salt')
        for key in keys:
            shuffler.add(key, f'example {key}'.encode())
        return list(shuffler)


@pytest.mark.parametrize('buffer', [1, 100, 1 << 16])
def test_files_shuffle_as_memory_does(tmp_path, monkeypatch, buffer):
    monkeypatch.setattr(shuffling, '_BUFFER', buffer)
    keys = list(range(3000))
    with monkeypatch.context():
        in_memory = shuffled(tmp_path, keys, monkeypatch, 1 << 20)
    in_files = shuffled(tmp_path, keys, monkeypatch, 500)
    assert in_files == in_memory
    assert sorted(data for _, data in in_files) == sorted(f'example {i}'.encode() for i in keys)
    assert [data for _, data in in_files] != [f'example {i}'.encode() for i in keys]
    assert list(tmp_path.iterdir()) == []


def test_equal_keys_are_refused_in_files_too(tmp_path, monkeypatch):
    with pytest.raises(shuffle.DuplicatedKeysError):
        shuffled(tmp_path, [1, 2, 3, 2], monkeypatch, 5)


def test_a_bucket_returns_what_was_added(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffling, '_BUFFER', 64)
    rng = random.Random(5)
    pairs = [(rng.getrandbits(128), rng.randbytes(rng.randrange(60))) for _ in range(50)]
    bucket = shuffling.Bucket(tmp_path / 'bucket')
    for key, data in pairs:
        bucket.add(key, data)
    assert len(bucket) == 50
    assert list(bucket.read_values()) == pairs
    bucket.del_file()
    assert not (tmp_path / 'bucket').exists()


def test_tfds_is_left_as_it_was(tmp_path):
    before = shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE
    with shuffling.without_tensorflow():
        assert shuffle._Bucket is shuffling.Bucket
    assert (shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE) == before
