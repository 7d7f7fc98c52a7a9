import collections
import math

import numpy as np
import pytest

from tasks.text import ngrams

VOCAB_SIZE, EOS = 7, 2


def text(seed, length, vocab_size=VOCAB_SIZE):
    """Skewed random words; the last word of the vocabulary never occurs."""
    draws = np.random.default_rng(seed).geometric(0.4, length)
    return np.minimum(draws, vocab_size - 1).astype(np.uint16) - 1


class LoopModel:
    """Both models word by word, in the words of their definition."""

    def __init__(self, tokens):
        self.unigrams = collections.Counter(tokens.tolist())
        words = tokens.tolist()
        self.bigrams = collections.Counter(zip([EOS, *words[:-1]], words, strict=True))
        self.endings = collections.Counter(word for _, word in self.bigrams)

    def discount(self, counts):
        once = sum(1 for count in counts.values() if count == 1)
        twice = sum(1 for count in counts.values() if count == 2)
        return once / (once + 2 * twice) if once else 0.5

    def from_counts(self, counts, word):
        d, total = self.discount(counts), sum(counts.values())
        kept = max(counts[word] - d, 0) / total
        return kept + d * len(counts) / total / VOCAB_SIZE

    def unigram(self, word):
        return self.from_counts(self.unigrams, word)

    def bigram(self, context, word):
        lower = self.from_counts(self.endings, word)
        after = {w: count for (v, w), count in self.bigrams.items() if v == context}
        if not after:
            return lower
        d, total = self.discount(self.bigrams), sum(after.values())
        return max(after.get(word, 0) - d, 0) / total + d * len(after) / total * lower


def unigram_perplexity(train, test, vocab_size=VOCAB_SIZE):
    return ngrams.unigram_perplexity(ngrams.fit_unigram(train, vocab_size), test)


def bigram_perplexity(train, test, vocab_size=VOCAB_SIZE, eos=EOS):
    return ngrams.bigram_perplexity(ngrams.fit_bigram(train, vocab_size, eos), test)


def test_unigram_probabilities_by_hand():
    # Counts 3 2 1 0; one word occurs once and one twice, so d = 1/3; 3 d / 4 = 1/4 for each word.
    tokens = np.array([0, 1, 0, 2, 1, 0])
    wanted = np.array([3 - 1 / 3 + 1 / 4, 2 - 1 / 3 + 1 / 4, 1 - 1 / 3 + 1 / 4, 1 / 4]) / 6
    np.testing.assert_allclose(ngrams.fit_unigram(tokens, 4), wanted, rtol=1e-15)
    perplexity = unigram_perplexity(tokens, np.array([3, 0]), 4)
    assert perplexity == pytest.approx((wanted[3] * wanted[0]) ** -0.5)


def test_bigram_probabilities_by_hand():
    # The text 0 1 0 1 0 behind eos = 0 has the pairs 00 once, 01 twice and 10 twice, so
    # d = 1 / (1 + 2 * 2) = 1/5. Word 0 follows 2 words and word 1 follows 1, so d' = 1/3 and
    # q = (2 - 1/3 + 2/9, 1 - 1/3 + 2/9, 2/9) / 3 = (17, 8, 2) / 27.
    model = ngrams.fit_bigram(np.array([0, 1, 0, 1, 0]), 3, eos=0)
    assert model.discount == pytest.approx(1 / 5)
    np.testing.assert_allclose(model.continuation, np.array([17, 8, 2]) / 27, rtol=1e-15)
    after_0 = np.array([4 / 5, 9 / 5, 0]) / 3 + 2 / 5 / 3 * model.continuation
    after_1 = np.array([9 / 5, 0, 0]) / 2 + 1 / 5 / 2 * model.continuation
    contexts, words = np.divmod(np.arange(9), 3)
    found = ngrams.bigram_probabilities(model, contexts, words).reshape(3, 3)
    np.testing.assert_allclose(found, [after_0, after_1, model.continuation], rtol=1e-14)
    perplexity = ngrams.bigram_perplexity(model, np.array([1, 2, 0]))  # behind 0, 1 and 2
    wanted = (after_0[1] * after_1[2] * model.continuation[0]) ** (-1 / 3)
    assert perplexity == pytest.approx(wanted)


@pytest.mark.parametrize(('seed', 'length'), [(0, 30), (1, 200), (2, 3)])
def test_both_agree_with_loops(seed, length):
    train, test = text(seed, length), text(seed + 10, 41)
    test[5] = VOCAB_SIZE - 1  # an unseen word, then an unseen context
    model = LoopModel(train)
    logs = [math.log(model.unigram(word)) for word in test.tolist()]
    found = unigram_perplexity(train, test)
    assert found == pytest.approx(math.exp(-sum(logs) / 41), rel=1e-12)
    pairs = zip([EOS, *test[:-1].tolist()], test.tolist(), strict=True)
    logs = [math.log(model.bigram(*pair)) for pair in pairs]
    found = bigram_perplexity(train, test)
    assert found == pytest.approx(math.exp(-sum(logs) / 41), rel=1e-12)


@pytest.mark.parametrize(
    'train', [text(3, 90), text(4, 5), np.array([0, 0, 0, 0]), np.array([3, 1, 4, 1, 5, 0])]
)
def test_probabilities_sum_to_one_in_every_context_and_none_is_zero(train):
    unigram = ngrams.fit_unigram(train, VOCAB_SIZE)
    assert unigram.sum() == pytest.approx(1, abs=1e-12)
    contexts, words = np.divmod(np.arange(VOCAB_SIZE**2), VOCAB_SIZE)
    model = ngrams.fit_bigram(train, VOCAB_SIZE, EOS)
    found = ngrams.bigram_probabilities(model, contexts, words).reshape(VOCAB_SIZE, VOCAB_SIZE)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    assert min(unigram.min(), found.min()) > 0


def test_the_size_of_a_chunk_does_not_matter(monkeypatch):
    train, test = text(5, 61), text(6, 40)
    whole = ngrams.fit_bigram(train, VOCAB_SIZE, EOS)
    unigram, bigram = unigram_perplexity(train, test), bigram_perplexity(train, test)
    monkeypatch.setattr(ngrams, '_CHUNK', 3)
    for one, other in zip(whole, ngrams.fit_bigram(train, VOCAB_SIZE, EOS), strict=True):
        np.testing.assert_array_equal(one, other)
    assert unigram_perplexity(train, test) == unigram
    assert bigram_perplexity(train, test) == pytest.approx(bigram, rel=1e-12)


def test_pairs_of_a_large_vocabulary_do_not_overflow():
    vocab_size = 60_000
    train = np.array([59_999, 59_998, 59_999, 59_998, 5], np.uint16)
    model = ngrams.fit_bigram(train, vocab_size, eos=3)
    wanted = [3 * vocab_size + 59_999, 59_998 * vocab_size + 5, 59_998 * vocab_size + 59_999]
    np.testing.assert_array_equal(model.pairs, [*wanted, 59_999 * vocab_size + 59_998])
    found = ngrams.bigram_probabilities(model, train[:1], train[1:2])
    assert found[0] > 0.5


def test_the_bigram_model_depends_on_the_order_of_words():
    train, test = np.tile([0, 1, 2, 3], 50), np.tile([0, 1, 2, 3], 9)
    assert unigram_perplexity(train, test, 5) == pytest.approx(4, rel=0.01)
    assert bigram_perplexity(train, test, 5, eos=3) == pytest.approx(1, rel=0.05)
    backwards = bigram_perplexity(train, test[::-1], 5, eos=3)
    assert backwards > 20
