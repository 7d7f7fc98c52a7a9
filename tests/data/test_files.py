"""Files of text through `corpora.load`, which is how they are read."""

import gzip
import json
import sys
import tracemalloc

import pyarrow
from pyarrow import parquet
import pytest

from tasks import base
from tasks.text import corpora, files
from tests.support.text_folders import read, words_of, write

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class TestLayouts:
    @pytest.mark.parametrize('layout', ['wiki.{}.tokens', '{}.txt', '{}/book.txt'])
    def test_each_layout_is_found(self, tmp_path, layout):
        contents = {'train': 'one two\n', 'valid': 'three\n', 'test': 'four\n'}
        write(tmp_path, {layout.format(split): text for split, text in contents.items()})
        corpus = corpora.load('text', str(tmp_path))
        for split, text in contents.items():
            assert words_of(corpus, split) == [*text.split(), '<eos>']

    def test_the_first_complete_layout_wins(self, tmp_path):
        write(tmp_path, {f'{split}.txt': 'second' for split in corpora.SPLITS})
        write(tmp_path, {'wiki.train.tokens': 'first', 'wiki.valid.tokens': 'first'})
        assert words_of(corpora.load('text', tmp_path), 'train') == ['second', '<eos>']
        write(tmp_path, {'wiki.test.tokens': 'first'})
        assert words_of(corpora.load('text', tmp_path), 'train') == ['first', '<eos>']

    def test_documents_of_a_folder_are_read_by_name_and_other_files_are_not(self, tmp_path):
        write(tmp_path, {'train/b.txt': 'b', 'train/a.txt': 'a', 'train/c.md': 'c'})
        assert read(tmp_path, 'aa', '{}/aa.txt') == ['a', '<eos>', 'aa', '<eos>', 'b', '<eos>']

    def test_a_corpus_is_read_as_often_as_one_likes(self, tmp_path):
        write(tmp_path, {f'{split}.txt': 'a b' for split in corpora.SPLITS})
        corpus = corpora.load('text', tmp_path)
        assert words_of(corpus, 'train') == words_of(corpus, 'train') == ['a', 'b', '<eos>']


class TestReading:
    @pytest.mark.parametrize('end', ['', '\n'])
    def test_in_files_every_line_ends_in_one_eos(self, tmp_path, end):
        text = f' \n = A title = \n\n a b{end}'
        eos = '<eos>'
        assert read(tmp_path, text) == [eos, '=', 'A', 'title', '=', eos, eos, 'a', 'b', eos]

    @pytest.mark.parametrize('end', ['', '\n', ' \n\n', '\n\n\n\t\n'])
    def test_in_folders_every_paragraph_ends_in_one_eos(self, tmp_path, end):
        text = f'\n \nA\ntitle\n\n\n \nfirst line\nsecond line{end}'
        wanted = ['A', 'title', '<eos>', 'first', 'line', 'second', 'line', '<eos>']
        assert read(tmp_path, text, '{}/a.txt') == wanted

    @pytest.mark.parametrize('block', [5, 1 << 20])
    def test_packed_files_read_like_others(self, tmp_path, monkeypatch, block):
        monkeypatch.setattr(files, '_BLOCK', block)
        text = '\ufeffTitle\n\nsome wörds of\na book\n'
        plain = read(tmp_path / 'plain', text, '{}/a.txt')
        packed = write(tmp_path / 'packed', {'train/a.txt.gz': gzip.compress(text.encode())})
        write(packed, {'valid/a.txt': 'v', 'test/a.txt': 't'})
        corpus = corpora.load('text', packed)
        assert words_of(corpus, 'train') == plain
        assert corpus.num_bytes.keys() == {'valid', 'test'}  # of text, which is not known of train

    def test_zstandard_reads_like_others(self, tmp_path):
        text = 'Title\n\nsome wörds of\na book\n'
        plain = read(tmp_path / 'plain', text)
        packed = {'train.txt.zst': zstd.compress(text.encode()), 'valid.txt': 'v', 'test.txt': 't'}
        corpus = corpora.load('text', write(tmp_path / 'packed', packed))
        assert words_of(corpus, 'train') == plain
        assert corpus.num_bytes.keys() == {'valid', 'test'}

    def test_a_record_is_a_line_of_a_split_and_a_document_of_a_folder(self, tmp_path):
        texts = ['', ' = T = \n', 'one\ntwo', 'three\n\n\nfour\n\n']
        lines = ''.join(json.dumps({'id': 1, 'text': text}) + '\n' for text in texts)
        eos = '<eos>'
        wanted = [eos, '=', 'T', '=', eos, 'one', eos, 'two', eos, 'three', eos, eos, eos]
        assert read(tmp_path / 'a', lines, '{}.jsonl') == [*wanted, 'four', eos, eos]
        wanted = ['=', 'T', '=', eos, 'one', 'two', eos, 'three', eos, 'four', eos]
        assert read(tmp_path / 'b', lines, '{}/a.jsonl') == wanted

    def test_parquet_reads_like_the_same_records_in_json(self, tmp_path):
        texts = ['', ' = T = \n', 'one\ntwo', 'a \u2028b']
        table = pyarrow.table({'title': texts, 'text': texts})
        for split in corpora.SPLITS:
            parquet.write_table(table, tmp_path / f'{split}-00000-of-00001.parquet')
        lines = ''.join(json.dumps({'text': text}) + '\n' for text in texts)
        corpus = corpora.load('text', tmp_path)
        assert words_of(corpus, 'test') == read(tmp_path / 'json', lines, '{}.jsonl')
        assert corpus.num_bytes == {}

    def test_an_empty_part_of_a_split_has_no_line(self, tmp_path):
        texts = 'one\ntwo\n', '', 'three'
        parts = {f'train-0000{i}-of-00003.txt': text for i, text in enumerate(texts)}
        write(tmp_path, {**parts, 'valid.txt': 'v', 'test.txt': 't'})
        wanted = ['one', '<eos>', 'two', '<eos>', 'three', '<eos>']
        assert words_of(corpora.load('text', tmp_path), 'train') == wanted

    def test_a_blank_document_has_no_words(self, tmp_path):
        write(tmp_path, {'train/0.txt': '', 'train/1.txt': '\n \n\n'})
        assert read(tmp_path, 'a', '{}/2.txt') == ['a', '<eos>']

    @pytest.mark.parametrize('layout', ['{}.txt', '{}/a.txt'])
    def test_windows_files_read_like_others(self, tmp_path, layout):
        text = 'a title\n\n\nä b\nc d\n'
        plain = read(tmp_path / 'plain', text, layout)
        windows = b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode()
        assert read(tmp_path / 'windows', windows, layout) == plain

    @pytest.mark.parametrize('layout', ['{}.txt', '{}/a.txt'])
    def test_the_size_of_a_block_does_not_matter(self, tmp_path, monkeypatch, layout):
        text = '\ufeff\n\n one  two\n\n \nthrée ∀∃ \t four\r\n\r\n\r\nfive-and-six ' + 3 * '\n'
        whole = read(tmp_path, text, layout)
        assert len(whole) > 8
        for size in range(1, 30):
            monkeypatch.setattr(files, '_BLOCK', size)
            assert read(tmp_path, text, layout) == whole

    @pytest.mark.parametrize('layout', ['{}.txt', '{}/a.txt'])
    def test_memory_is_bounded_by_the_block(self, tmp_path, monkeypatch, layout):
        monkeypatch.setattr(files, '_BLOCK', 1 << 12)
        read(tmp_path, 100_000 * 'word after word ', layout)
        corpus = corpora.load('text', tmp_path)
        tracemalloc.start()
        count = sum(map(len, corpus.blocks('train')))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 300_001
        assert peak < 500_000


class TestErrors:
    def check(self, message, call, *arguments):
        with pytest.raises(base.DataError, match=message) as caught:
            call(*arguments)
        assert '\n' not in str(caught.value)

    def test_missing_folder(self, tmp_path):
        self.check('none is neither a folder nor a file', corpora.load, 'text', tmp_path / 'none')

    def test_a_missing_split_names_the_files_that_were_expected(self, tmp_path):
        write(tmp_path, {'wiki.valid.tokens': 'v', 'wiki.test.tokens': 't', 'train.txt': 'x'})
        wanted = 'no train split: looked for wiki.train.tokens, .*, train.txt, .*train/'
        self.check(wanted, corpora.load, 'text', tmp_path)

    def test_a_split_in_a_folder_without_texts_is_missing(self, tmp_path):
        write(tmp_path, {'train/a.txt': 'x', 'valid/a.txt': 'x', 'test/a.md': 'x'})
        self.check('no test split', corpora.load, 'text', tmp_path)

    @pytest.mark.parametrize('layout', ['{}.txt', '{}/a.txt'])
    def test_empty_split(self, tmp_path, layout):
        self.check('the train split .* is empty', read, tmp_path, '', layout)

    @pytest.mark.parametrize('offset', [0, 5, 77])
    def test_text_that_is_not_utf8_is_located(self, tmp_path, monkeypatch, offset):
        monkeypatch.setattr(files, '_BLOCK', 16)
        content = (20 * b'word ')[:offset] + b'\xff' + 20 * b' word'
        wanted = f'train.txt is not UTF-8: byte 0xff at offset {offset};'
        self.check(wanted, read, tmp_path, content)

    @pytest.mark.parametrize('harm', ['cut', 'flip', 'not packed'])
    @pytest.mark.parametrize('module', [gzip, zstd])
    def test_a_packed_file_that_cannot_be_unpacked(self, tmp_path, harm, module):
        whole = module.compress(b''.join(b'%d words ' % i**3 for i in range(1000)))
        content = {
            'cut': whole[:-9],
            'flip': whole[:30] + bytes([whole[30] ^ 8]) + whole[31:],
            'not packed': b'some words',
        }[harm]
        name = 'train.txt.gz' if module is gzip else 'train.txt.zst'
        wanted = f'{name} cannot be unpacked: .*; get it again'
        write(tmp_path, {name: content, 'valid.txt': 'v', 'test.txt': 't'})
        corpus = corpora.load('text', tmp_path)
        self.check(wanted, words_of, corpus, 'train')

    @pytest.mark.parametrize(
        'line', ['a b', '"text"', '{"text": 1}', '{"txt": "a"}', '\xff', '[' * 200_000]
    )
    def test_a_line_without_a_text_is_named(self, tmp_path, line):
        wanted = 'train.jsonl, record 2: wanted a record with a string "text", got'
        self.check(wanted, read, tmp_path, '{"text": "a"}\n\n' + line, '{}.jsonl')

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            ({'a': ['x']}, 'wanted a parquet file with strings in a column'),
            ({'text': [1]}, 'got 1'),
        ],
    )
    def test_a_parquet_file_without_texts_is_named(self, tmp_path, content, message):
        read(tmp_path, '{"text": "a"}', '{}.jsonl')
        for split in corpora.SPLITS:
            (tmp_path / f'{split}.jsonl').unlink()
            parquet.write_table(pyarrow.table(content), tmp_path / f'{split}.parquet')
        corpus = corpora.load('text', tmp_path)
        self.check(f'train.parquet.*{message}', words_of, corpus, 'train')

    def test_a_text_that_is_no_unicode_is_named(self, tmp_path):
        wanted = r"train.jsonl, record 2: wanted text that can be UTF-8, got '\\ud83d'"
        lines = '{"text": "a"}\n{"text": "good \\ud83d day"}\n'
        self.check(wanted, read, tmp_path, lines, '{}.jsonl')

    @pytest.mark.parametrize(
        ('name', 'package'),
        [
            ('train.txt.zst', 'backports.zstd'),
            ('train.parquet', 'pyarrow'),
            ('train.parquet.gz', 'pyarrow'),
        ],
    )
    def test_a_missing_package_is_named(self, tmp_path, monkeypatch, name, package):
        write(tmp_path, {name: b'x'})
        for module in ('compression.zstd', 'backports.zstd', 'pyarrow'):
            monkeypatch.setitem(sys.modules, module, None)
        wanted = f'{name} wants a package: pip install {package} '
        self.check(wanted, list, files.read(tmp_path / name))

    def test_a_file_that_vanished_while_reading(self, tmp_path):
        read(tmp_path, 'text')
        corpus = corpora.load('text', tmp_path)
        (tmp_path / 'train.txt').unlink()
        wanted = 'train.txt cannot be read: No such file'
        self.check(wanted, words_of, corpus, 'train')

    def test_a_file_that_cannot_be_opened(self, tmp_path, monkeypatch):
        def refuse(path, *arguments):
            raise PermissionError(13, 'Permission denied', str(path))

        read(tmp_path, 'text')
        monkeypatch.setattr(files.pathlib.Path, 'open', refuse)
        wanted = 'train.txt cannot be read: Permission denied'
        self.check(wanted, corpora.load, 'text', tmp_path)


def test_a_size_counts_words_between_any_white_space_and_bytes_of_utf_8():
    assert files.measure(['Où est\n', '', ' l\u2003un\xa0 deux-trois, ']) == (5, 30)
    assert files.measure([]) == (0, 0)
