"""Files that a run keeps, and whether they are those of its checkpoint."""

import pytest

from launch.runs import errors, kept_files
from tasks import base, storage


@pytest.fixture
def sums(tmp_path):
    """Returns the digests of two files that a run keeps."""
    texts = {'a.txt': 'one', 'b.txt': 'two'}
    writers = {
        name: lambda path, text=text: storage.write_text(path, text) for name, text in texts.items()
    }
    return kept_files.save(tmp_path, writers)


def test_what_was_saved_is_found(tmp_path, sums):
    for name, text in {'a.txt': 'one', 'b.txt': 'two'}.items():
        path = kept_files.find(tmp_path, {'files': sums}, name)
        assert path == tmp_path / name
        assert path.read_text() == text


@pytest.mark.parametrize('text', ['onf', '', 'two', 'one\n'])
def test_another_text_is_refused(tmp_path, sums, text):
    (tmp_path / 'a.txt').write_text(text)
    with pytest.raises(base.DataError, match=r'a\.txt is not the one .*: restore it, or run the'):
        kept_files.find(tmp_path, {'files': sums}, 'a.txt')


@pytest.mark.parametrize('metadata', [{}, {'files': None}, {'files': {}}, {'files': ['a.txt']}])
def test_a_file_that_no_checkpoint_names_is_refused(tmp_path, sums, metadata):
    with pytest.raises(base.DataError, match=r'a\.txt is not the one'):
        kept_files.find(tmp_path, metadata, 'a.txt')


def test_a_missing_file_is_named(tmp_path, sums):
    (tmp_path / 'a.txt').unlink()
    with pytest.raises(base.DataError, match=r'a\.txt cannot be read \(No such file'):
        kept_files.find(tmp_path, {'files': sums}, 'a.txt')


def test_a_disk_that_takes_no_file_ends_the_run(tmp_path):
    def write(path):
        raise OSError(28, 'No space left on device')

    with pytest.raises(errors.RunError, match='c cannot be written: No space left') as caught:
        kept_files.save(tmp_path, {'c': write})
    assert caught.value.code == errors.CANNOT_SAVE
