import os
import pathlib
import shutil
import sys
import unicodedata

import pytest

from tasks import base
from tasks.text import corpora, tokenizing
from tasks.text.tfds import builders
from tests.support import prepared_corpora, recorded_progress, text_folders
from tests.support.text_folders import read, words_of

ROOT = pathlib.Path(__file__).resolve().parents[2]


class TestTokenizers:
    def test_whitespace_splits_at_ascii_white_space_only(self, tmp_path):
        text = 'a\tb\x0bc\x0cd  no\xa0break em\u2003space next\x85line group\x1dmark'
        wanted = ['a', 'b', 'c', 'd', 'no\xa0break', 'em\u2003space', 'next\x85line']
        assert read(tmp_path, text) == [*wanted, 'group\x1dmark', '<eos>']

    def test_whitespace_is_the_same_rule_with_and_without_rare_characters(self):
        tokenize = tokenizing.make('whitespace').cut
        for code in range(1 << 16):
            mark = chr(code)
            one = mark not in ' \t\n\r\f\v'
            assert tokenize(f'a{mark}b') == ([f'a{mark}b'] if one else ['a', 'b']), hex(code)
        assert tokenize(' \n') == tokenize('') == []

    def test_words_sets_punctuation_apart(self, tmp_path):
        text = 'Don\'t say "naïve_name(<unk>)..." <eos>'
        wanted = ['Don', "'", 't', 'say', '"', 'naïve_name', '(', '<unk>', ')', '.', '.', '.', '"']
        assert read(tmp_path, text, tokenizer='words') == [*wanted, '<eos>', '<eos>']

    @pytest.mark.parametrize(
        'word',
        [
            *('हिन्दी', 'தமிழ்', 'ภาษาไทย', 'မြန်မာ', 'العَرَبِيَّة', 'שָׁלוֹם', 'e\u0301te\u0301', '𑄌𑄋𑄴𑄟'),
            *('می\u200cخواهم', 'ක්\u200dෂ', '日本語', 'ελληνικά', 'русский', 'x_1'),  # noqa: RUF001
        ],
    )
    def test_words_of_every_script_stay_whole(self, word):
        assert tokenizing.make('words').cut(f'({word}, {word}!') == ['(', word, ',', word, '!']

    def test_words_are_the_same_next_to_words_with_marks(self):
        tokenize, text = tokenizing.make('words').cut, 'Don\'t say "naïve_name(<unk>)..." <eos>'
        assert tokenize(f'{text} e\u0301') == [*tokenize(text), 'e\u0301']

    def test_joiners_without_a_letter_and_lone_marks_stand_alone(self):
        assert tokenizing.make('words').cut('\u0301 \u200d a') == ['\u0301', '\u200d', 'a']

    def test_every_mark_belongs_to_the_letter_before_it(self):
        for code in range(sys.maxunicode + 1):
            if unicodedata.category(chr(code)).startswith('M'):
                assert tokenizing.make('words').cut(f'a{chr(code)}b') == [f'a{chr(code)}b'], code


class TestPieces:
    def joined(self, corpus, split):
        return tokenizing.make(corpus.tokenizer).join(words_of(corpus, split))

    @pytest.mark.parametrize('tokenizer', ['characters', 'bytes'])
    @pytest.mark.parametrize('layout', ['{}.txt', '{}/a.txt'])
    def test_they_are_the_text_as_it_is_with_a_line_break_at_the_end(
        self, tmp_path, tokenizer, layout
    ):
        text = '\ufeff\n\n  Déjà\tvu \r\n\n\nlast <unk> line'
        files = {'train': text, 'valid': 'v\n', 'test': 'ü\n\n'}
        files = {layout.format(split): content for split, content in files.items()}
        text_folders.write(tmp_path, files)
        text_folders.write(tmp_path, {'train/b.txt': 'more'})
        corpus = corpora.load('text', tmp_path, tokenizer)
        more = 'more\n' if '/' in layout else ''
        assert self.joined(corpus, 'train') == f'{text[1:]}\n{more}'
        assert self.joined(corpus, 'test') == 'ü\n\n'
        assert corpus.num_bytes == {}

    def test_of_records_each_ends_in_a_line_break(self, tmp_path):
        lines = {'train': '{"text": "a  b"}\n{"text": "c\\n"}', 'valid': '{"text": "d"}'}
        lines['test'] = lines['valid']
        text_folders.write(tmp_path, {f'{split}.jsonl': x for split, x in lines.items()})
        assert self.joined(corpora.load('text', tmp_path, 'bytes'), 'train') == 'a  b\nc\n'

    def test_the_splits_of_a_single_file_are_all_of_it(self, tmp_path):
        paragraphs = [f'Wrapped {i}\n  over lines.\n\n\n' for i in range(40)]
        text_folders.write(tmp_path, {'book.txt': ''.join(paragraphs)})
        corpus = corpora.load('gutenberg', tmp_path / 'book.txt', 'characters')
        texts = {split: self.joined(corpus, split) for split in corpora.SPLITS}
        assert sum(map(len, texts.values())) == len(''.join(paragraphs))
        assert all(texts['train'].count(paragraph) <= 1 for paragraph in paragraphs)
        assert texts['valid'] in ''.join(paragraphs)

    def test_documentation_is_folded(self):
        text = self.joined(corpora.load('pydoc', tokenizer='characters'), 'valid')
        paragraphs = text.splitlines()
        words = list(corpora.load('pydoc').blocks('valid'))
        assert len(paragraphs) == sum(block.count('<eos>') for block in words)
        assert text == text.lower()
        first = words[0][: words[0].index('<eos>')]
        assert tokenizing.make('words').cut(paragraphs[0]) == first

    def test_every_tokenizer_has_its_own_fingerprint(self, tmp_path):
        read(tmp_path, 'some text')
        loaded = {corpora.load('text', tmp_path, x).fingerprint for x in tokenizing.NAMES}
        assert len(loaded) == len(tokenizing.NAMES)

    def test_a_prompt_is_cut_as_the_corpus_is(self):
        assert corpora.tokenizer_of('pydoc').cut('The End.') == ['the', 'end', '.']
        assert corpora.tokenizer_of('pydoc', 'characters').cut('A b') == ['a', ' ', 'b']
        assert corpora.tokenizer_of('text').cut('The End.') == ['The', 'End.']


class TestPydoc:
    def test_paragraphs_are_folded_and_end_in_eos(self):
        corpus = corpora.load('pydoc')
        blocks = list(corpus.blocks('valid'))
        assert len(blocks) > 20
        for words in blocks:
            assert words[-1] == '<eos>' != words[0]
            assert not any(word != word.lower() for word in words)

    def test_the_tokenizer_is_part_of_the_fingerprint(self):
        spaced = corpora.load('pydoc', tokenizer='whitespace')
        assert spaced.fingerprint != corpora.load('pydoc').fingerprint
        assert any('.' in word and len(word) > 1 for word in words_of(spaced, 'valid'))


class TestLeftOut:
    def test_what_is_not_read_is_reported_line_by_line(self, tmp_path):
        progress = recorded_progress.Recorder()
        files = dict.fromkeys(['train/1.txt', 'valid/1.txt', 'test/1.txt'], 'some text')
        text_folders.write(tmp_path, files)
        corpora.load('gutenberg', tmp_path, progress=progress)
        assert progress.lines == []
        text_folders.write(tmp_path, {'train/1.epub': 'x', 'train/._1.txt': b'\xff'})
        corpora.load('gutenberg', tmp_path, progress=progress)
        assert [line.partition(' left out (')[0] for line in progress.lines] == [
            f'{tmp_path}: 1',
            f'{tmp_path}: 1',
        ]


class TestFingerprint:
    def load(self, folder, tokenizer=None, layout='{}.txt'):
        read(folder, 'some text', layout)
        return corpora.load('text', folder, tokenizer)

    def test_a_copy_has_the_same(self, tmp_path):
        first, second = self.load(tmp_path / 'a'), self.load(tmp_path / 'b')
        assert first.fingerprint == second.fingerprint

    def test_it_knows_where_its_splits_are(self, tmp_path):
        texts = {'train/a.txt': 'a', 'train/b.txt': 'b', 'valid/c.txt': 'c', 'test/d.txt': 'd'}
        text_folders.write(tmp_path, texts)
        places = {'train': 'train', 'valid': 'valid/c.txt', 'test': 'test/d.txt'}
        wanted = {split: tmp_path / place for split, place in places.items()}
        assert corpora.load('gutenberg', tmp_path).places == wanted
        assert corpora.load('pydoc').places == {}

    def test_it_notices_changed_bytes_of_the_same_size_and_time(self, tmp_path):
        old = self.load(tmp_path)
        path = tmp_path / 'train.txt'
        stat = path.stat()
        path.write_text('same text')
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert corpora.load('text', tmp_path).fingerprint != old.fingerprint

    def test_it_notices_tokenizer_layout_and_names(self, tmp_path):
        corpus = [
            self.load(tmp_path / 'a'),
            self.load(tmp_path / 'a', 'words'),
            self.load(tmp_path / 'b', layout='wiki.{}.tokens'),
            self.load(tmp_path / 'c', layout='{}/a.txt'),
            self.load(tmp_path / 'd', layout='{}/b.txt'),
            self.load(tmp_path / 'e', layout='{0}/{0}.txt'),
        ]
        assert len({one.fingerprint for one in corpus}) == len(corpus)


@pytest.fixture(scope='module', params=builders.BUILDERS)
def prepared(request, tmp_path_factory):
    """The name and data_dir of a small data set."""
    name = request.param
    return name, prepared_corpora.PREPARE[name](tmp_path_factory.mktemp(name))


class TestTfds:
    """The small data sets are described in `prepared_corpora`."""

    def test_each_is_read_in_three_splits_as_often_as_one_likes(self, prepared):
        corpus = corpora.load(*prepared)
        counts = {
            'gigaword': [200 * 9, 30 * 9, 40 * 9],
            'lm1b': [225 * 8, 25 * 8, 40 * 8],
            'pg19': [5 * 290, 290, 2 * 290],
            'wikitext103': [250 * 8 + 1, 30 * 8 + 1, 40 * 8 + 1],
        }
        found = [words_of(corpus, split) for split in corpora.SPLITS]
        assert list(map(len, found)) == counts[corpus.name]
        assert all(words[-1] == '<eos>' for words in found)
        assert words_of(corpus, 'test') == found[2]

    def test_the_number_of_bytes_is_about_that_of_the_texts(self, prepared):
        corpus = corpora.load(*prepared)
        assert list(corpus.num_bytes) == list(corpora.SPLITS)
        for split, size in corpus.num_bytes.items():
            text = len(' '.join(words_of(corpus, split)))
            assert 0.5 * text < size < 3 * text

    def test_tfrecord_reads_like_array_record(self, prepared, tmp_path):
        name, data_dir = prepared
        copy = shutil.copytree(data_dir, tmp_path / 'copy')
        before = corpora.load(name, copy)
        wanted = {split: words_of(before, split) for split in corpora.SPLITS}
        (folder,) = (path.parent for path in copy.glob('*/*/features.json'))
        prepared_corpora.as_tfrecord(folder)
        assert len(list(folder.glob('*-train.tfrecord-*-of-00002'))) == 2
        after = corpora.load(name, copy)
        assert {split: words_of(after, split) for split in corpora.SPLITS} == wanted
        assert after.num_bytes == before.num_bytes

    def test_the_fingerprint_depends_on_the_tokenizer_and_not_on_the_folder(
        self, prepared, tmp_path
    ):
        name, data_dir = prepared
        shutil.copytree(data_dir, tmp_path / 'copy')
        prints = {
            corpora.load(name, data_dir, tokenizer).fingerprint
            for tokenizer in (None, 'words', 'whitespace')
        }
        assert len(prints) == 2
        assert corpora.load(name, tmp_path / 'copy').fingerprint in prints

    def test_the_fingerprint_depends_on_the_records(self, tmp_path):
        examples = prepared_corpora.pairs()
        first = prepared_corpora.prepare('gigaword', tmp_path / 'a', examples)
        examples['test'].pop()
        second = prepared_corpora.prepare('gigaword', tmp_path / 'b', examples)
        loaded = [corpora.load('gigaword', folder).fingerprint for folder in (first, second)]
        assert loaded[0] != loaded[1]

    def test_pieces_are_the_texts_each_with_a_line_break(self, prepared):
        corpus = corpora.load(*prepared, 'bytes')
        words = words_of(corpora.load(*prepared, 'whitespace'), 'test')
        text = tokenizing.make('bytes').join(words_of(corpus, 'test'))
        assert text.split() == [word for word in words if word != '<eos>']
        assert text.endswith('\n')

    def test_an_unknown_split_is_refused(self, prepared):
        with pytest.raises(ValueError, match=r"'validation': there are train, valid, test"):
            corpora.load(*prepared).blocks('validation')

    def test_gigaword_gives_documents_or_headlines_or_both(self, tmp_path):
        pair = {'document': 'an UNK a<unk> UNKNOWN <unk> .', 'summary': 'UNK head'}
        splits = ('train', 'validation', 'test')
        prepared_corpora.prepare('gigaword', tmp_path, {split: [pair] for split in splits})
        document = ['an', '<unk>', 'a<unk>', 'UNKNOWN', '<unk>', '.', '<eos>']
        wanted = {'document': document, 'summary': ['<unk>', 'head', '<eos>']}
        wanted['both'] = wanted['document'] + wanted['summary']
        prints = set()
        for text, words in wanted.items():
            corpus = corpora.load('gigaword', tmp_path, gigaword_text=text)
            prints.add(corpus.fingerprint)
            for split in corpora.SPLITS:
                assert words_of(corpus, split) == words
        assert len(prints) == 3

    def test_the_end_of_the_sentences_validates_and_is_not_trained_on(self, tmp_path, monkeypatch):
        texts = [{'text': f'sentence {i}'} for i in range(100)]
        prepared_corpora.prepare('lm1b', tmp_path, {'train': texts, 'test': texts[:3]})
        for wanted in (10, 4):  # a tenth, and what is held out of the whole
            corpus = corpora.load('lm1b', tmp_path)
            train, valid = (words_of(corpus, split)[1::3] for split in ('train', 'valid'))
            assert (len(train), len(valid)) == (100 - wanted, wanted)
            assert sorted(train + valid, key=int) == [str(i) for i in range(100)]
            monkeypatch.setattr(builders.Lm1b, 'num_valid', 4)

    def test_books_are_read_as_in_folders(self, tmp_path):
        book = prepared_corpora.book(11)
        book['book_text'] = '\n\nTitle\n\n\na line\nof words,\n \nthe end\n'
        splits = ('train', 'validation', 'test')
        prepared_corpora.prepare('pg19', tmp_path, {split: [book, book] for split in splits})
        text = 'Title <eos> a line of words , <eos> the end <eos>'
        once = text.split()
        assert words_of(corpora.load('pg19', tmp_path), 'train') == once + once

    def test_a_damaged_file_is_named_when_it_is_read(self, tmp_path):
        prepared_corpora.gigaword(tmp_path)
        (path,) = tmp_path.glob('gigaword/1.2.0/*-train.*')
        corpus = corpora.load('gigaword', tmp_path)
        path.write_bytes(path.read_bytes()[:9000])
        with pytest.raises(base.DataError, match=f'{path} is damaged'):
            words_of(corpus, 'train')


def test_what_has_a_default_vocabulary_is_a_corpus():
    assert set(corpora.DEFAULT_VOCAB_SIZES) <= set(corpora.NAMES)
    assert corpora.DEFAULT_VOCAB_SIZES['pydoc'] == 10_000
    assert set(builders.BUILDERS) < set(corpora.NAMES)


class TestLabel:
    @pytest.mark.parametrize(
        ('name', 'folder', 'label'),
        [
            ('pydoc', None, 'pydoc'),
            ('lm1b', 'data', 'lm1b'),
            ('text', None, 'text'),
            ('text', 'my/books', 'text-my-books'),
            ('text', './my/../my/books/', 'text-my-books'),
            ('gutenberg', 'a b\n/ç.d', 'gutenberg-a-b-ç.d'),
            ('text', '/srv/books', 'text-srv-books'),
            ('text', '/' + 'x' * 200, 'text-' + 'x' * 50),
        ],
    )
    def test_it_names_the_folder_of_your_own_files(
        self, tmp_path, monkeypatch, name, folder, label
    ):
        monkeypatch.chdir(tmp_path)
        assert corpora.label(name, folder) == label

    def test_the_current_folder_has_a_name_too(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert corpora.label('text', '.').endswith(tmp_path.name)


class TestErrors:
    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (('gigaward',), "unknown dataset 'gigaward': there are pydoc, text"),
            (('text', '.', 'bpe'), "unknown tokenizer 'bpe': there are whitespace, words"),
            (('text',), 'with data_dir'),
            (('gutenberg',), 'with data_dir'),
            (('pydoc', '.'), 'leave out data_dir'),
            (
                ('gigaword', None, None, None, 'headline'),
                "unknown gigaword_text 'headline': there are document, summary, both",
            ),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            corpora.load(*arguments)


def test_the_default_cache_is_where_the_system_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert corpora.default_cache_dir() == tmp_path / 'relational_rnn'
    monkeypatch.setenv('XDG_CACHE_HOME', '')
    monkeypatch.setenv('HOME', '/home/somebody')
    assert str(corpora.default_cache_dir()) == '/home/somebody/.cache/relational_rnn'
