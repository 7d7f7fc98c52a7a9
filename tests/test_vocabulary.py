from collections import Counter

import numpy as np
import pytest

from tasks import base, vocabulary

COUNTS = Counter({'the': 5, 'b': 2, 'a': 2, 'é': 2, 'rare': 1, 'once': 1, '<eos>': 3})


def test_ids_are_ranks_by_count_and_then_by_code_point():
    words = vocabulary.from_counts(COUNTS)
    assert words.words == ('the', '<eos>', 'a', 'b', 'é', 'once', 'rare', '<unk>')
    np.testing.assert_array_equal(words.counts, [5, 3, 2, 2, 2, 1, 1, 0])
    assert (words.eos, words.unk, len(words)) == (1, 7, 8)


def test_order_of_counting_does_not_matter():
    turned = Counter(dict(reversed(COUNTS.items())))
    assert vocabulary.from_counts(turned).words == vocabulary.from_counts(COUNTS).words


def test_a_limit_keeps_the_most_frequent_and_counts_the_others_as_unknown():
    words = vocabulary.from_counts(COUNTS, 5)
    assert words.words == ('the', '<unk>', '<eos>', 'a', 'b')
    np.testing.assert_array_equal(words.counts, [5, 4, 3, 2, 2])


def test_an_unknown_word_spelled_out_is_the_same_as_one_left_out():
    words = vocabulary.from_counts(COUNTS + Counter({'<unk>': 7}), 4)
    assert words.words == ('<unk>', 'the', '<eos>', 'a')
    assert words.counts[0] == 7 + 6
    np.testing.assert_array_equal(words.encode(['<unk>', 'b', 'the']), [0, 0, 1])


@pytest.mark.parametrize('size', [None, 0, 8, 100])
def test_without_a_limit_or_with_a_wide_one_all_words_are_kept(size):
    assert len(vocabulary.from_counts(COUNTS, size)) == 8


@pytest.mark.parametrize('size', [3, 4, 6])
def test_the_limit_counts_the_two_special_words(size):
    words = vocabulary.from_counts(COUNTS, size)
    assert len(words) == size
    assert words.counts.sum() == COUNTS.total()


@pytest.mark.parametrize('size', [-1, 1, 2])
def test_a_limit_without_room_for_words_is_refused(size):
    with pytest.raises(ValueError, match=f'>= 3: {size}$'):
        vocabulary.from_counts(COUNTS, size)


def test_blocks_are_counted_as_one_text():
    blocks = [['a', 'b'], [], ['a', '<eos>', 'a']]
    assert vocabulary.count(iter(blocks)) == {'a': 3, 'b': 1, '<eos>': 1}


def test_encoding_and_decoding():
    words = vocabulary.from_counts(COUNTS)
    ids = words.encode(['é', 'never', 'the', '<eos>'])
    np.testing.assert_array_equal(ids, [4, 7, 0, 1])
    assert ids.dtype == np.int32
    assert words.decode(ids) == ['é', '<unk>', 'the', '<eos>']
    assert words.encode([]).shape == (0,)


def test_a_saved_vocabulary_is_read_back(tmp_path):
    odd = Counter({'\u2028': 4, '\x85': 3, '\x1c': 2, 'no\xa0break': 2, '"': 1, '\\t': 1})
    words = vocabulary.from_counts(odd)
    words.save(tmp_path / 'words.txt')
    read = vocabulary.load(tmp_path / 'words.txt')
    assert read.words == words.words
    np.testing.assert_array_equal(read.counts, words.counts)
    assert read.counts.dtype == np.int64


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'<unk>\t0\nthe\t3\n',
        b'<unk>\t0\n<eos>\t1\nthe\n',
        b'<unk>\t0\n<eos>\tone\n',
        b'<unk>\t0\n<eos>\t1\nthe\t1\nthe\t2\n',
        b'<unk>\t0\n<eos>\t1\n\xff\t1\n',
        None,
    ],
)
def test_what_is_no_vocabulary_is_named(tmp_path, content):
    path = tmp_path / 'words.txt'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(base.DataError, match=r'words\.txt is not a vocabulary') as caught:
        vocabulary.load(path)
    assert '\n' not in str(caught.value)


def test_words_and_counts_must_fit():
    with pytest.raises(ValueError, match='3 words, 3 of them different, 2 counts'):
        vocabulary.Vocabulary(('a', '<unk>', '<eos>'), np.array([2, 1]))
    with pytest.raises(ValueError, match=r"without \['<eos>'\]"):
        vocabulary.Vocabulary(('a', '<unk>'), np.array([2, 1]))
