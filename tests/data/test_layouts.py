"""Where the splits of texts lie, and what is left out of them."""

import itertools
import os

import pytest

from tasks import base
from tasks.text import layouts
from tests.support.text_folders import write

OTHERS = {'valid/1.txt': 'v', 'test/1.txt': 't'}


def names(found, split):
    """The files of a split, by their paths in the folder of all splits."""
    (root,) = {os.path.commonpath([p for x in found.paths.values() for p in map(str, x.values())])}
    return [path.relative_to(root).as_posix() for path in found.paths[split].values()]


@pytest.mark.parametrize('layout', layouts.LAYOUTS)
@pytest.mark.parametrize('ending', ['', '.gz', '.zst', '.utf-8', '.utf8.gz'])
def test_every_layout_is_found_packed_or_not(tmp_path, layout, ending):
    stems = {split: layout.format(split).replace('*', 'a') + ending for split in layouts.SPLITS}
    found = layouts.find(write(tmp_path, dict.fromkeys(stems.values(), 'x')))
    assert found.layout == layout
    assert found.left_out == []
    for split, stem in stems.items():
        assert names(found, split) == [stem]


@pytest.mark.parametrize('name', ['validation', 'val', 'dev', 'Valid', 'VALID'])
@pytest.mark.parametrize('layout', ['{}.txt', '{}/a.txt', 'wiki.{}.tokens'])
def test_the_second_split_has_several_names(tmp_path, layout, name):
    stems = [layout.format(split) for split in ('train', name, 'test')]
    found = layouts.find(write(tmp_path, dict.fromkeys(stems, 'x')))
    assert [names(found, split) for split in layouts.SPLITS] == [[stem] for stem in stems]


def test_of_two_names_of_a_split_one_is_read(tmp_path):
    write(tmp_path, {'train.txt': 'x', 'test.txt': 'x', 'validation.txt': 'x', 'val.txt': 'x'})
    found = layouts.find(tmp_path)
    assert names(found, 'valid') == ['validation.txt']
    assert found.left_out == [f"{tmp_path}: 1 left out (validation.txt is read): 'val.txt'"]


def test_a_folder_of_books_as_people_have_them(tmp_path):
    read = ['1.txt', '4.TXT', '5.txt.utf-8', '7.txt.gz', '8.txt.utf8.GZ', 'austen/early/2.txt']
    read += ['b.jsonl.zst', 'c.parquet']
    left = ['._1.txt', '.git/3.txt', '7.epub', 'README', 'austen/cover.jpg', 'austen/x.pdf']
    files = {f'train/{name}': name for name in read + left}
    found = layouts.find(write(tmp_path, files | OTHERS))
    assert list(found.paths['train']) == read
    assert sorted(found.left_out) == [
        f"{tmp_path}: 2 left out (hidden): 'train/._1.txt', 'train/.git'",
        f'{tmp_path}: 4 left out (not .txt, .jsonl, .parquet, also packed as .gz or .zst): '
        "'train/7.epub', 'train/README', 'train/austen/cover.jpg', …",
    ]


def test_a_packed_copy_of_a_text_is_not_read_twice(tmp_path):
    write(tmp_path, {'train/1.txt': 'a', 'train/1.txt.gz': 'a', 'train/2.txt.gz': 'b'} | OTHERS)
    found = layouts.find(tmp_path)
    assert list(found.paths['train']) == ['1.txt', '2.txt.gz']
    assert found.left_out == [f"{tmp_path}: 1 left out (is there unpacked): 'train/1.txt.gz'"]


def test_a_split_in_several_files_is_read_in_their_order(tmp_path):
    files = ['test-00000-of-00001.parquet', 'validation-00000-of-00001.parquet']
    files += [f'train-0000{i}-of-00003.parquet' for i in (2, 0, 1)]
    found = layouts.find(write(tmp_path, dict.fromkeys(files, 'x')))
    assert found.layout == '{}.parquet'
    assert found.left_out == []
    assert names(found, 'train') == sorted(files[2:])
    assert names(found, 'valid') == files[1:2]


def test_a_split_of_which_a_file_is_missing_is_refused(tmp_path):
    files = [f'{split}-00000-of-00001.jsonl' for split in ('valid', 'test')]
    write(tmp_path, dict.fromkeys([*files, 'train-00001-of-00002.jsonl'], 'x'))
    with pytest.raises(base.DataError, match=r'wanted 2 files like train-00001-of-.*, got 1'):
        layouts.find(tmp_path)


def test_splits_of_another_layout_are_left_out_and_named(tmp_path):
    write(tmp_path, {f'{split}.txt': 'x' for split in layouts.SPLITS})
    write(tmp_path, {'train/1.txt': 'x', 'wiki.train.tokens': 'x'})
    found = layouts.find(tmp_path)
    assert found.layout == '{}.txt'
    wanted = "2 left out (SPLIT.txt is read): 'wiki.train.tokens', 'train/1.txt'"
    assert found.left_out == [f'{tmp_path}: {wanted}']


def test_links_are_followed_and_each_folder_is_read_once(tmp_path):
    write(tmp_path, {'train/a/1.txt': 'a', 'elsewhere/2.txt': 'b'} | OTHERS)
    for place, target in {'b': '../elsewhere', 'c': '.', 'd': 'a'}.items():
        (tmp_path / 'train' / place).symlink_to(target)
    (tmp_path / 'train' / '9.txt').symlink_to('nowhere')
    found = layouts.find(tmp_path)
    assert list(found.paths['train']) == ['a/1.txt', 'b/2.txt']
    assert found.left_out == [f"{tmp_path}: 1 left out (no file): 'train/9.txt'"]


def test_names_are_printed_without_what_a_terminal_obeys(tmp_path):
    name = 'train/\x1b[2J\udcff.doc'
    found = layouts.find(write(tmp_path, {name: 'x', 'train/1.txt': 'x'} | OTHERS))
    assert found.left_out[0].endswith(r"'train/\x1b[2J\udcff.doc'")
    assert found.left_out[0].isprintable()


def test_the_order_is_that_of_the_names_in_the_split(tmp_path):
    read = ['b.txt', 'a/z.txt', 'B.txt', 'a.txt', 'c/a.txt']
    for number, some in enumerate(itertools.permutations(read, 5)):
        if number % 29 == 0:
            files = {f'train/{name}': 'x' for name in some}
            found = layouts.find(write(tmp_path / str(number), files | OTHERS))
            assert list(found.paths['train']) == sorted(read)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    write(tmp_path, {'train/1.txt': 'x', 'train/locked/2.txt': 'x'} | OTHERS)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(base.DataError, match='locked cannot be listed: Permission denied'):
        layouts.find(tmp_path)
