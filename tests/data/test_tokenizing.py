"""Texts as words, characters and bytes, and put together again."""

import pytest

from tasks.text import tokenizing

TEXT = 'Naïve\t“Ωmega” 🙂 \r\n\n  e\u0301\x00\x7f\xa0\xad<unk> <eos>\n'


@pytest.mark.parametrize('name', ['characters', 'bytes'])
@pytest.mark.parametrize('text', [TEXT, '', '\n', 'no end', '\n\na'])
def test_pieces_are_the_whole_text(name, text):
    tokenizer = tokenizing.make(name)
    tokens = tokenizer.cut(text)
    assert tokenizer.join(tokens) == text
    assert tokens.count('<eos>') == text.count('\n')
    assert not any('\n' in token for token in tokens)


def test_characters_are_code_points():
    tokens = tokenizing.make('characters').cut('a é\n🙂')
    assert tokens == ['a', ' ', 'é', '<eos>', '🙂']


def test_bytes_are_one_visible_character_each():
    assert tokenizing.make('bytes').cut('a é\n') == ['a', 'Ġ', 'Ã', '©', '<eos>']
    assert len(set(tokenizing.BYTES)) == 256
    assert all(token.isprintable() and not token.isspace() for token in tokenizing.BYTES)
    assert [tokenizing.BYTES[i] for i in (0, 32, 127, 173)] == ['Ā', 'Ġ', 'ġ', 'Ń']


def test_all_bytes_but_the_line_break_are_always_in_the_vocabulary():
    always = tokenizing.make('bytes').always
    every = ''.join(map(chr, range(256))).encode('latin-1').decode('utf-8', 'surrogateescape')
    assert set(always) == set(tokenizing.make('bytes').cut(every)) - {'<eos>'}
    assert len(always) == len(set(always)) == 255


def test_bytes_that_are_not_utf_8_become_replacement_characters():
    tokenizer = tokenizing.make('bytes')
    assert tokenizer.join(['a', 'Ã', 'b', '©', '<eos>', 'Ã', '©']) == 'a\ufffdb\ufffd\né'
    assert tokenizer.join(['Ã', '<unk>', '©']) == 'é'


def test_bytes_of_a_command_line_that_is_not_utf_8_stay_what_they_are():
    assert tokenizing.make('bytes').cut('caf\udce9') == ['c', 'a', 'f', 'é']


def test_words_are_joined_with_spaces_that_lines_do_not_begin_or_end_with():
    words = ['the', 'end', '.', '<eos>', '<eos>', 'a', '<unk>', '<eos>']
    for name in tokenizing.WORDS:
        assert tokenizing.make(name).join(words) == 'the end .\n\na <unk>\n'
