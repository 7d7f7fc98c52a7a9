from collections import Counter
import tracemalloc

import numpy as np
import pytest

from tasks import base
from tasks.text import vocabulary

COUNTS = Counter({'the': 5, 'b': 2, 'a': 2, 'é': 2, 'rare': 1, 'once': 1, '<eos>': 3})


def test_ids_are_ranks_by_count_and_then_by_code_point():
    words = vocabulary.from_counts(COUNTS)
    assert words.words == ('the', '<eos>', 'a', 'b', 'é', 'once', 'rare', '<unk>')
    np.testing.assert_array_equal(words.counts, [5, 3, 2, 2, 2, 1, 1, 0])
    assert (words.eos, words.unk, len(words)) == (1, 7, 8)


def test_order_of_counting_does_not_matter():
    turned = Counter(dict(reversed(COUNTS.items())))
    assert vocabulary.from_counts(turned).words == vocabulary.from_counts(COUNTS).words


def test_a_limit_keeps_the_most_frequent_words_and_counts_the_others_as_unk():
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
    with pytest.raises(ValueError, match=f'at least 3, got {size}$'):
        vocabulary.from_counts(COUNTS, size)


def test_blocks_are_counted_as_one_text():
    blocks = [['a', 'b'], [], ['a', '<eos>', 'a']]
    assert vocabulary.count(iter(blocks)) == {'a': 3, 'b': 1, '<eos>': 1}


class TestSpilling:
    """Counting with less memory than the types of a text take."""

    @pytest.fixture(autouse=True)
    def little_memory(self, monkeypatch):
        monkeypatch.setattr(vocabulary, 'MAX_TYPES', 50)

    def blocks(self, seed, num_words, block=40):
        """Words with many types, in three alphabets, and the two special ones."""
        draws = np.random.default_rng(seed).pareto(0.5, num_words).astype(np.int64) % 5000
        alphabets = ['a{}', 'é{}', '\U00010348{}']
        words = [alphabets[draw % 3].format(draw) for draw in draws]
        words[3::17] = ['<eos>'] * len(words[3::17])
        words[5::91] = ['<unk>'] * len(words[5::91])
        return [words[i : i + block] for i in range(0, num_words, block)]

    def test_by_hand(self, tmp_path, monkeypatch):
        monkeypatch.setattr(vocabulary, 'MAX_TYPES', 2)
        blocks = [['b'], ['a', 'b'], [], ['a'], ['c', 'a'], ['é']]
        counts = vocabulary.count(blocks, tmp_path)
        assert list(counts.items()) == [('a', 3), ('b', 2), ('c', 1), ('é', 1)]
        files = [path.read_text('utf-8') for path in sorted(tmp_path.iterdir())]
        assert files == ['a\t1\nb\t2\n', 'a\t2\nc\t1\n', 'é\t1\n']

    @pytest.mark.parametrize('size', [0, 3, 23, 700, 10_000])
    @pytest.mark.parametrize('max_runs', [3, 64])
    def test_the_vocabulary_is_that_of_counting_in_memory(
        self, tmp_path, monkeypatch, size, max_runs
    ):
        monkeypatch.setattr(vocabulary, '_MAX_RUNS', max_runs)
        blocks = self.blocks(0, 3000)
        counts = vocabulary.count(blocks, tmp_path)
        assert 0 < len(list(tmp_path.iterdir())) <= max_runs
        spilled = vocabulary.from_counts(counts, size)
        plain = Counter(word for words in blocks for word in words)
        assert dict(counts.items()) == plain
        assert spilled.words == vocabulary.from_counts(plain, size).words
        ranked = sorted(plain.keys() - {'<unk>', '<eos>'}, key=lambda word: (-plain[word], word))
        kept = ranked[: size - 2] if size else ranked
        wanted = {word: plain[word] for word in [*kept, '<eos>']}
        wanted['<unk>'] = 3000 - sum(wanted.values())
        assert dict(zip(spilled.words, spilled.counts, strict=True)) == wanted

    def test_words_that_sort_oddly_stay_one(self, tmp_path, monkeypatch):
        monkeypatch.setattr(vocabulary, 'MAX_TYPES', 3)
        odd = ['a', 'a\x01', 'a!', '\x85', '\u2028', 'a\xa0b', '\U0001f600', '\uffff', '"']
        blocks = [[word] for word in [*odd, *reversed(odd), *odd]]
        counts = vocabulary.count(blocks, tmp_path)
        assert list(counts.items()) == [(word, 3) for word in sorted(odd)]

    def test_few_types_or_no_folder_leave_a_counter(self, tmp_path):
        few = vocabulary.count([['a', 'b'], ['a']], tmp_path)
        assert few == {'a': 2, 'b': 1}
        assert len(vocabulary.count(self.blocks(1, 400))) > 50
        assert not list(tmp_path.iterdir())

    def test_memory_does_not_grow_with_the_types(self, tmp_path):
        def peak(num_types):
            folder = tmp_path / str(num_types)
            folder.mkdir()
            blocks = ([f'word{i}', f'word{i + 1}', 'the'] for i in range(num_types))
            tracemalloc.start()
            words = vocabulary.from_counts(vocabulary.count(blocks, folder), 10)
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert words.counts.sum() == 3 * num_types
            return size

        few = peak(4000)
        assert peak(16_000) < 1.2 * few
        assert few < 3_000_000


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


def test_some_words_are_kept_even_if_they_do_not_occur():
    counts = vocabulary.count([['a', 'b', 'b', 'c', 'c']])
    made = vocabulary.from_counts(counts, 5, ('x', 'b'))
    assert set(made.words) == {'b', 'c', 'x', '<eos>', '<unk>'}
    assert dict(zip(made.words, made.counts.tolist(), strict=True))['<unk>'] == 1
    with pytest.raises(ValueError, match='at least 4, got 3'):
        vocabulary.from_counts(counts, 3, ('x', 'b'))


def test_a_tab_may_be_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, 'MAX_TYPES', 2)
    (tmp_path / 'spill').mkdir()
    counts = vocabulary.count([['\t', 'a'], ['\t', '\r', ' ']], tmp_path / 'spill')
    made = vocabulary.from_counts(counts)
    made.save(tmp_path / 'words')
    assert made.words[0] == '\t'
    assert vocabulary.load(tmp_path / 'words').words == made.words


def test_counts_hold_where_there_is_room_only_for_words_that_are_always_kept():
    made = vocabulary.from_counts(Counter({'a': 3, 'b': 2, '<eos>': 1}), 3, ('a',))
    counts = dict(zip(made.words, made.counts.tolist(), strict=True))
    assert counts == {'a': 3, '<unk>': 2, '<eos>': 1}
