"""Subwords: learned alike every time, from train alone, without loss, kept with the corpus."""

import subprocess
import sys

import numpy as np
import pytest

from tasks import base
from tasks.text import corpora, files, streams, subwords, tokenizing
from tests.support import text_folders

TEXT = 'the lower the newest, widest été\n' * 50 + 'Naïve\t“Ωmega” 🙂 \r\n\n  <unk> <eos>\n'


@pytest.fixture(scope='module')
def tokenizer():
    return subwords.parse(subwords.learn([TEXT], 320))


@pytest.mark.parametrize(
    'text',
    [
        TEXT,
        '',
        '\n',
        ' two  spaces, \ttab, \r\n\n\n  end without a line break ',
        'Ünïcödé, Ελληνικά, русский, עברית, العربية, e\u0301',
        'हिन्दी, ไทย, 漢字かな, 한국어, 🙂👩‍👩‍👧',
        'control \x00\x0b\x0c\x1c\x85\u2028\u00a0\ufeff<unk><eos>',
    ],
)
def test_every_text_is_put_together_again(tokenizer, text):
    tokens = tokenizer.cut(text)
    assert tokenizer.join(tokens) == text
    assert tokens.count('<eos>') == text.count('\n')
    assert {*tokens} <= {*tokenizer.always, '<eos>'}


def test_subwords_are_what_is_frequent_with_the_space_before_it(tokenizer):
    assert tokenizer.cut('the lower\n the') == ['the', 'Ġlower', '<eos>', 'Ġthe']
    assert tokenizer.cut('low') != ['low']  # never alone in the text


def test_what_is_no_utf_8_is_shown(tokenizer):
    assert tokenizer.join(['Ã', '<unk>', 'a', '<eos>']) == '\ufffda\n'
    assert tokenizer.join(tokenizer.cut('a\udcff b')) == 'a\ufffd b'


def test_learning_is_the_same_in_every_process_and_of_all_blocks():
    learned = subwords.learn([TEXT], 280)
    assert learned == subwords.learn(TEXT.splitlines(keepends=True), 280)
    script = f'from tasks.text import subwords; print(subwords.learn([{TEXT!r}], 280), end="")'
    command = [sys.executable, '-c', script]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == learned


def test_a_vocabulary_has_all_bytes_and_the_size_that_was_asked_for():
    always = {*tokenizing.make('bytes').always}
    assert always < {*subwords.parse(subwords.learn([TEXT], 280)).always}
    assert len(subwords.parse(subwords.learn([TEXT], 280)).always) == 278
    assert len(subwords.parse(subwords.learn([TEXT], 1000)).always) == 300  # there are no more
    assert {*subwords.parse(subwords.learn([TEXT], 257)).always} == always
    with pytest.raises(ValueError, match='at least 257, got 256'):
        subwords.learn([TEXT], 256)


def _corpus(folder, valid='zyzzyva ' * 99):
    text_folders.write(folder, {'train.txt': TEXT, 'valid.txt': valid, 'test.txt': 'the lower\n'})
    return corpora.load('text', folder, 'subwords')


def test_they_are_learned_from_train_alone_and_kept_with_the_corpus(tmp_path):
    made = streams.prepare(_corpus(tmp_path), tmp_path / 'cache', 280)
    assert made.learned == subwords.learn([TEXT], 280)
    assert len(made.vocabulary) == 280
    assert made.vocabulary.counts.sum() == len(made.train)
    tokenizer = corpora.tokenizer_of('text', 'subwords', made.learned)
    assert tokenizer.join(made.vocabulary.decode(made.train)) == TEXT
    assert tokenizer.join(made.vocabulary.decode(made.valid)) == 'zyzzyva ' * 99 + '\n'


def test_a_damaged_tokenizer_is_learned_again(tmp_path):
    made = streams.prepare(_corpus(tmp_path), tmp_path / 'cache', 280)
    (path,) = (tmp_path / 'cache').rglob('tokenizer.json')
    path.write_text('{}')
    assert streams.cached('text', made.key, tmp_path / 'cache') is None
    assert streams.prepare(_corpus(tmp_path), tmp_path / 'cache', 280).learned == made.learned


def test_another_size_text_or_version_has_another_key(tmp_path, monkeypatch):
    def key(size=280, **arguments):
        return streams.prepare(_corpus(tmp_path, **arguments), tmp_path / 'cache', size).key

    first = key()
    assert key() == first
    keys = [first, key(290), key(), key(valid='other words')]
    monkeypatch.setattr('tokenizers.__version__', '0.0.1')
    keys += [key(), key()]
    assert [keys.index(x) for x in keys] == [0, 1, 0, 3, 4, 4]
    assert key(0) == key(subwords.DEFAULT_SIZE)


def test_a_border_between_blocks_parts_no_word_from_its_space(tmp_path, monkeypatch):
    wanted = streams.prepare(_corpus(tmp_path), tmp_path / 'cache', 280)
    monkeypatch.setattr(files, '_BLOCK', 50)  # lines are shorter
    found = streams.prepare(_corpus(tmp_path), tmp_path / 'other', 280)
    assert found.learned == wanted.learned
    np.testing.assert_array_equal(found.train, wanted.train)
    assert list(files.whole_lines(['a ', 'b\nc ', 'd', 'e\n\nf'])) == ['a b\n', 'c de\n\n', 'f']
    assert list(files.whole_lines(['a' * 49, 'b', 'c\n'])) == ['a' * 49 + 'b', 'c\n']


def test_in_pydoc_a_prompt_is_put_into_small_letters(tokenizer):
    made = corpora.tokenizer_of('pydoc', 'subwords', tokenizer.learned)
    assert made.cut('The LOWER') == ['the', 'Ġlower']


def test_without_a_corpus_texts_are_joined_but_not_cut():
    unlearned = corpora.tokenizer_of('text', 'subwords')
    assert unlearned.join(['Ġthe', '<eos>']) == ' the\n'
    with pytest.raises(ValueError, match=r"are learned from a corpus .*, got 'the'"):
        unlearned.cut('the')


def test_a_missing_package_and_another_format_are_named(monkeypatch, tmp_path):
    with pytest.raises(base.DataError, match='cannot be read by tokenizers'):
        subwords.parse('{}')
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    with pytest.raises(base.DataError, match='subwords wants a package: pip install tokenizers'):
        _corpus(tmp_path)
