"""Files as three splits: nothing lost, nothing twice, whole lines, places by the seed."""

import functools
import gzip
import itertools
import json
import re
import types

import pytest

from tasks import base
from tasks.text import corpora, files, shares
from tests.support import text_folders

LINES = [f'line {i} of ünïcode\n' for i in range(400)]
HOW = shares.Split((0.7, 0.2, 0.1), 3)


def _splits(path, how=HOW, end='\n'):
    paths = path if isinstance(path, list) else [path]
    read = functools.partial(shares.read, paths, end, how=how)
    return {split: ''.join(itertools.chain.from_iterable(read(split))) for split in corpora.SPLITS}


@pytest.mark.parametrize('seed', range(6))
def test_every_line_is_in_one_split_in_its_order_and_shares_hold(tmp_path, seed):
    text_folders.write(tmp_path, {'book.txt': ''.join(LINES)})
    found = _splits(tmp_path / 'book.txt', HOW._replace(seed=seed))
    lines = {split: text.splitlines(keepends=True) for split, text in found.items()}
    assert sorted(itertools.chain(*lines.values()), key=LINES.index) == LINES
    for split, share in zip(corpora.SPLITS, HOW.shares, strict=True):
        assert lines[split] == sorted(lines[split], key=LINES.index)
        assert len(lines[split]) / len(LINES) == pytest.approx(share, abs=0.01)


def test_valid_and_test_are_one_stretch_each(tmp_path):
    text_folders.write(tmp_path, {'book.txt': ''.join(LINES)})
    found = _splits(tmp_path / 'book.txt')
    assert found['valid'] in ''.join(LINES)
    assert found['test'] in ''.join(LINES)


def test_the_seed_chooses_the_places(tmp_path):
    text_folders.write(tmp_path, {'book.txt': ''.join(LINES)})
    tests = {_splits(tmp_path / 'book.txt', HOW._replace(seed=i))['test'] for i in range(5)}
    assert len(tests) == 5
    assert len({shares.stretches(HOW._replace(seed=i))[1][1] for i in range(9)}) == 2


def test_blocks_of_any_size_give_the_same_splits(tmp_path, monkeypatch):
    text_folders.write(tmp_path, {'book.txt': ''.join(LINES), 'p.txt': '\n\n \n'.join(LINES)})
    wanted = _splits(tmp_path / 'book.txt'), _splits(tmp_path / 'p.txt', end='\n\n')
    monkeypatch.setattr(files, '_BLOCK', 7)
    assert wanted == (_splits(tmp_path / 'book.txt'), _splits(tmp_path / 'p.txt', end='\n\n'))


def test_paragraphs_of_books_and_records_are_never_cut(tmp_path):
    paragraphs = [f'one {i}\ntwo {i}\nthree {i}' for i in range(100)]
    records = ''.join(json.dumps({'text': text}) + '\n' for text in paragraphs)
    text_folders.write(
        tmp_path,
        {
            'b.txt': ''.join(f'{x}\n\n' for x in paragraphs),
            'r.jsonl.gz': gzip.compress(records.encode()),
        },
    )
    for name in ('b.txt', 'r.jsonl.gz'):
        found = ''.join(_splits(tmp_path / name, end='\n\n').values())
        assert sorted(found.strip('\n').split('\n\n')) == sorted(paragraphs)
        for text in _splits(tmp_path / name, end='\n\n').values():
            assert text.startswith('one')


@pytest.mark.parametrize('name', corpora.OWN_FILES)
def test_a_single_file_is_a_corpus(tmp_path, name):
    text_folders.write(tmp_path, {'my.txt': 'some words\n\n' * 100})
    corpus = corpora.load(name, tmp_path / 'my.txt')
    words = {split: text_folders.words_of(corpus, split) for split in corpora.SPLITS}
    assert {split: x.count('words') for split, x in words.items()} == {
        'train': 90,
        'valid': 5,
        'test': 5,
    }
    assert words['test'].count('<eos>') == (10 if name == 'text' else 5)


def test_another_split_or_seed_has_another_fingerprint(tmp_path):
    text_folders.write(tmp_path, {'my.txt': ''.join(LINES)})
    ways = [shares.DEFAULT, HOW, HOW._replace(seed=4)]
    found = [corpora.load('text', tmp_path / 'my.txt', split=how) for how in ways]
    assert len({corpus.fingerprint for corpus in found}) == 3


def test_a_folder_without_splits_is_one_text_file_after_file(tmp_path):
    books = {f'{i:02d}/b.txt': f'one {i}\n\ntwo {i}' + '\n' * (i % 3) for i in range(50)}
    text_folders.write(tmp_path / 'my', {**books, 'notes.pdf': 'x'})
    lines = []
    progress = types.SimpleNamespace(say=lines.append)
    corpus = corpora.load('text', tmp_path / 'my', split=HOW, progress=progress)
    words = {split: text_folders.words_of(corpus, split) for split in corpora.SPLITS}
    numbers = {split: [x for x in words[split] if x.isdigit()] for split in words}
    for split, share in zip(corpora.SPLITS, HOW.shares, strict=True):
        assert len(numbers[split]) == pytest.approx(100 * share, abs=1)
    assert sorted(itertools.chain(*numbers.values()), key=int) == [str(i // 2) for i in range(100)]
    for x in words.values():
        assert x.count('<eos>') == x.count('one') + x.count('two')
    assert lines == [
        f'{tmp_path / "my"}: 1 left out (not .txt, .jsonl, .parquet, also packed as .gz or .zst): '
        "'notes.pdf'",
        f'{tmp_path / "my"}: no names of splits, its 50 texts are split by shares',
    ]
    assert corpus.places['test'] == tmp_path / 'my'
    pieces = corpora.load('text', tmp_path / 'my', 'characters', split=HOW)
    text = ''.join(text_folders.words_of(pieces, 'valid')).replace('<eos>', '\n')
    assert re.findall(r'(?m)^(?:one|two) (.*)$', text) == numbers['valid']
    others = [HOW._replace(seed=4), HOW]
    text_folders.write(tmp_path / 'my', {'notes.pdf': 'y'})
    prints = [corpora.load('text', tmp_path / 'my', split=x).fingerprint for x in others]
    assert [x == corpus.fingerprint for x in prints] == [False, True]
    text_folders.write(tmp_path / 'my', {'00/b.txt': 'another'})
    assert corpora.load('text', tmp_path / 'my', split=HOW).fingerprint != prints[1]


def test_splits_of_another_layout_are_never_one_text(tmp_path):
    text_folders.write(tmp_path, dict.fromkeys(['train.txt', 'valid.txt', 'test.txt'], 'x'))
    with pytest.raises(base.DataError, match='has no train split: looked for train/'):
        corpora.load('gutenberg', tmp_path)


@pytest.mark.parametrize(
    'text', ['', '0.9,0.1', '0.9,0.1,0', '0.5,0.5,0.5', 'a,b,c', 'nan,0.5,0.5']
)
def test_other_shares_are_refused(text):
    with pytest.raises(ValueError, match='split_shares: wanted shares of train, valid and test'):
        shares.parse(text, 0)


def test_shares_are_read():
    assert shares.parse('0.8, 0.15,0.05', 7) == shares.Split((0.8, 0.15, 0.05), 7)


def test_a_text_too_short_for_a_split_and_another_kind_of_file_are_refused(tmp_path):
    text_folders.write(tmp_path, {'a.txt': 'one line\n', 'a.doc': 'x'})
    with pytest.raises(base.DataError, match=r'a\.txt: the (valid|test) split.*has no line'):
        _splits(tmp_path / 'a.txt')
    with pytest.raises(base.DataError, match=r'a\.doc: wanted a file that ends in \.txt'):
        corpora.load('text', tmp_path / 'a.doc')
