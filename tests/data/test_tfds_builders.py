"""What our builders make of an archive is compared with what the stock builders' own code makes."""

import glob
import io
import os
import pathlib
import tarfile
import types
import zipfile

import pytest
from tensorflow_datasets.datasets.lm1b import lm1b_dataset_builder
from tensorflow_datasets.datasets.pg19 import pg19_dataset_builder
from tensorflow_datasets.summarization import gigaword

from tasks import base
from tasks.text.tfds import builders
from tests.support import prepared_corpora

STOCK = {
    'gigaword': gigaword.Gigaword,
    'lm1b': lm1b_dataset_builder.Builder,
    'pg19': pg19_dataset_builder.Builder,
}
GFILE = types.SimpleNamespace(
    GFile=lambda path, mode='r': io.StringIO(pathlib.Path(path).read_bytes().decode(), '\n'),
    glob=lambda pattern: sorted(glob.glob(pattern)),
    listdir=lambda folder: sorted(os.listdir(folder)),
)


class Downloads:
    """Stands for the download manager: one file and its unpacked folder."""

    def __init__(self, archive=None, unpacked=None):
        self.download = lambda url: archive
        self.download_and_extract = lambda url: str(unpacked)


def ours(name, folder, downloads):
    builder = builders.BUILDERS[name](data_dir=str(folder))
    builder.manual_dir = folder / 'manual'
    splits = builder._split_generators(downloads)
    return {split: list(examples) for split, examples in splits.items()}


def stock(name, folder, downloads, monkeypatch):
    module = {'gigaword': gigaword, 'lm1b': lm1b_dataset_builder, 'pg19': pg19_dataset_builder}
    fake = types.SimpleNamespace(io=types.SimpleNamespace(gfile=GFILE))
    monkeypatch.setattr(module[name], 'tf', fake)
    builder = STOCK[name](data_dir=str(folder))
    return {
        str(generator.name): list(builder._generate_examples(**generator.gen_kwargs))
        for generator in builder._split_generators(downloads)
    }


@pytest.mark.parametrize('name', STOCK)
def test_name_version_and_features_are_those_of_the_stock_builder(name, tmp_path):
    builder = builders.BUILDERS[name](data_dir=str(tmp_path))
    original = STOCK[name](data_dir=str(tmp_path))
    assert builder.name == original.name == name
    assert builder.version == original.version
    assert builder.info.features.to_json() == original.info.features.to_json()
    assert builder.info.disable_shuffling == original.info.disable_shuffling
    assert builder.data_path == original.data_path
    assert list(builder.url_infos.values()) == list((original.url_infos or {}).values())
    names = [info.filename for info in builder.url_infos.values()]
    assert names == list(builder.manual_files)[: len(names)]


def test_gigaword_gives_the_examples_of_the_stock_builder(tmp_path, monkeypatch):
    examples = prepared_corpora.pairs()
    for rows in examples.values():
        rows[2] = {'document': 'the <unk> a<unk> UNK \u2028 \x85x', 'summary': '\t<unk>'}
    archive = tmp_path / 'ggw_data.zip'
    prepared_corpora.gigaword_archive(archive, examples)
    zipfile.ZipFile(archive).extractall(tmp_path / 'unpacked')
    downloads = Downloads(archive, tmp_path / 'unpacked')
    found = ours('gigaword', tmp_path, downloads)
    assert found == stock('gigaword', tmp_path, downloads, monkeypatch)
    assert [len(rows) for rows in found.values()] == [200, 30, 40]
    assert found['train'][2][1]['document'] == 'the UNK aUNK UNK \u2028 \x85x'
    assert found['test'][2][1] == {
        'document': 'the <unk> a<unk> UNK \u2028 \x85x',
        'summary': '<unk>',
    }


def test_lm1b_gives_the_examples_of_the_stock_builder(tmp_path, monkeypatch):
    files = {
        'train': {'news.en-00001-of-00100': ['a b', ' c', ''], 'news.en-00002-of-00100': ['d\r e']},
        'test': {'news.en.heldout-00000-of-00050': ['f', 'gé']},
    }
    archive = tmp_path / 'archive.tar.gz'
    prepared_corpora.lm1b_archive(archive, files)
    with tarfile.open(archive) as content:
        content.extractall(tmp_path / 'unpacked', filter='data')
    downloads = Downloads(archive, tmp_path / 'unpacked')
    found = ours('lm1b', tmp_path, downloads)
    assert found == stock('lm1b', tmp_path, downloads, monkeypatch)
    assert ('news.en-00001-of-00100_1', {'text': 'c'}) in found['train']
    assert [len(rows) for rows in found.values()] == [5, 2]


def test_pg19_gives_the_examples_of_the_stock_builder(tmp_path, monkeypatch):
    books = {'train': [11, 12], 'validation': [21], 'test': [31]}
    folder = tmp_path / 'manual' / 'deepmind-gutenberg'
    rows = {split: list(map(prepared_corpora.book, ids)) for split, ids in books.items()}
    rows['train'][0]['book_text'] = 'A title\r\n\r\nand a line\rof\u2028words'
    prepared_corpora.pg19_copy(folder, rows)
    monkeypatch.setattr(pg19_dataset_builder, '_DATA_DIR', str(folder))
    found = ours('pg19', tmp_path, Downloads())
    assert found == stock('pg19', tmp_path, Downloads(), monkeypatch)
    assert found['train'][0] == (11, rows['train'][0])


class TestWikiText103:
    def read(self, folder, monkeypatch, train, num_words=None, num_types=None):
        texts = {'train': train, 'valid': b'a b\n', 'test': b'\n'}
        (folder / 'manual').mkdir(exist_ok=True)
        for part, text in texts.items():
            (folder / 'manual' / f'wiki.{part}.tokens').write_bytes(text)
        counts = {'train': num_words, 'valid': 3, 'test': 1}
        monkeypatch.setattr(builders.WikiText103, 'num_words', counts)
        monkeypatch.setattr(builders.WikiText103, 'num_types', num_types)
        return ours('wikitext103', folder, Downloads())

    def test_an_example_is_a_line_and_blank_lines_count(self, tmp_path, monkeypatch):
        # Seven words with one <eos> a line: <eos> = A = <eos> <eos> no<no-break space>break <eos>
        text = ' \n = A = \n\nno\xa0break'.encode()
        found = self.read(tmp_path, monkeypatch, text, 8, 4)
        texts = [example['text'] for _, example in found['train']]
        assert texts == [' ', ' = A = ', '', 'no\xa0break']
        assert [key for key, _ in found['train']] == sorted({key for key, _ in found['train']})

    @pytest.mark.parametrize(('num_words', 'num_types'), [(5, 3), (4, 4)])
    def test_other_counts_are_refused(self, tmp_path, monkeypatch, num_words, num_types):
        message = (
            'wiki.train.tokens is not WikiText-103: it has 4 words, 3 different, '
            f'published are {num_words} and {num_types}; take the file of wikitext-103-v1.zip'
        )
        with pytest.raises(base.DataError, match=message):
            self.read(tmp_path, monkeypatch, b'x y x', num_words, num_types)

    def test_the_published_counts_are_here(self):
        builder = builders.WikiText103
        assert builder.num_words == {'train': 103_227_021, 'valid': 217_646, 'test': 245_569}
        assert builder.num_types == 267_735

    def test_the_keys_of_a_whole_corpus_keep_their_order(self):
        last = 1_801_350  # lines of the train split
        assert (last << 104) < 1 << 128


class TestErrors:
    def check(self, message, *arguments):
        with pytest.raises(base.DataError, match=message) as caught:
            ours(*arguments)
        assert '\n' not in str(caught.value)

    def test_texts_that_are_not_utf8_are_named(self, tmp_path):
        archive = tmp_path / 'ggw_data.zip'
        with zipfile.ZipFile(archive, 'w') as file:
            file.writestr('org_data/train.src.txt', b'good\nb\xffd\n')
            file.writestr('org_data/train.tgt.txt', b'good\nbad\n')
        message = f'{archive}: org_data/train.src.txt is not UTF-8'
        self.check(message, 'gigaword', tmp_path, Downloads(archive))

    @pytest.mark.parametrize('name', ['lm1b', 'gigaword', 'pg19'])
    def test_a_source_without_texts_is_refused(self, tmp_path, name):
        archive = tmp_path / 'archive'
        if name == 'lm1b':
            prepared_corpora.lm1b_archive(archive, {'train': {}, 'test': {}})
        elif name == 'gigaword':
            empty = {'train': [], 'validation': [], 'test': []}
            prepared_corpora.gigaword_archive(archive, empty)
        else:
            folder = tmp_path / 'manual' / 'deepmind-gutenberg'
            prepared_corpora.pg19_copy(folder, {'train': []})
            (folder / 'metadata.csv').write_text('')
        self.check('holds no texts', name, tmp_path, Downloads(archive))

    def test_a_book_that_is_not_utf8_is_named(self, tmp_path):
        folder = pathlib.Path(tmp_path, 'manual', 'deepmind-gutenberg')
        prepared_corpora.pg19_copy(folder, {'train': [prepared_corpora.book(11)]})
        (folder / 'train' / '11.txt').write_bytes(b'\xff')
        self.check('11.txt is not UTF-8', 'pg19', tmp_path, Downloads())
