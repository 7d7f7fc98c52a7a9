"""Tables 2 and 3 and Figure 12: language models next to the paper's numbers."""

import pytest

from launch.language import evaluation
from launch.reports import perplexities, seeds
from launch.reports import published as published_lib


def _evaluation_of(
    dataset='text', vocab_size=36, corpus='c0ffee', test=5.5, unrolled=True, streams=1
):
    bands = {'> 10 K': None, '1 K - 10 K': 3.0, '< 1 K': 700.0}
    shares = dict(zip(bands, (0.0, 0.25, 0.75), strict=True))
    split = {
        'bands': {
            name: {'words': round(8 * shares[name]), 'share': shares[name], 'perplexity': value}
            for name, value in bands.items()
        },
        'words': 8,
    }
    unroll = {
        'words': 8,
        'streams': streams,
        'carried': test,
        'lengths': list(evaluation.UNROLL_LENGTHS),
        'perplexities': [test + extra for extra in (6, 5, 4, 3, 2, -1)],
    }
    return {
        'dataset': dataset,
        'core': 'rmc',
        'step': 40,
        'corpus': corpus,
        'vocab_size': vocab_size,
        'streams': streams,
        'test': test,
        'splits': {'valid': {**split, 'perplexity': 4.25}, 'test': {**split, 'perplexity': test}},
        'ngrams': {'bigram': {'valid': 12.0, 'test': 13.5}},
        'unroll': unroll if unrolled else None,
    }


def test_the_runs_of_a_corpus_are_listed_in_three_tables():
    runs = {'first': _evaluation_of(), 'second': _evaluation_of(test=7.25, unrolled=False)}
    (text,) = perplexities.describe(runs)
    assert text.splitlines() == [
        'perplexity per word on text (vocabulary of 36 words, read as 1 stream), as in Table 2',
        '        updates  validation   test',
        'bigram                12.00  13.50',
        'first        40        4.25   5.50',
        'second       40        4.25   7.25',
        '',
        'test perplexity by how often a word occurs in train, as in Table 3',
        '                    > 10 K  1 K - 10 K   < 1 K   all',
        'share of the words   0.00%      25.00%  75.00%  100%',
        'first                 none        3.00  700.00  5.50',
        'second                none        3.00  700.00  7.25',
        '',
        'increase of test perplexity if the state is reset every so many words, as in Figure 12',
        '                  25            50           100           200           300'
        '           500  never reset: perplexity',
        'first           6.00          5.00          4.00          3.00          2.00'
        '         -1.00                     5.50',
        'second  not measured  not measured  not measured  not measured  not measured'
        '  not measured             not measured',
    ]


def test_unroll_lengths_that_no_run_has_measured_are_left_out():
    (text,) = perplexities.describe({'first': _evaluation_of(unrolled=False)})
    assert 'Table 3' in text
    assert 'Figure 12' not in text


def _lines(**facts):
    (text,) = perplexities.describe({'run': _evaluation_of(**facts)})
    return [' '.join(line.split()) for line in text.splitlines() if line.startswith('paper')]


def test_the_papers_numbers_follow_runs_on_its_corpus():
    paper = 'paper (about 268 K words of vocabulary)'
    assert _lines(dataset='wikitext103', vocab_size=267_735) == [
        f'{paper}: LSTM (Grave et al. 2016) 48.70',
        f'{paper}: temporal CNN (Bai et al. 2018) 45.20',
        f'{paper}: gated CNN (Dauphin et al. 2016) 37.20',
        f'{paper}: LSTM + Hebbian 34.10 34.30',
        f'{paper}: quasi-RNN (Merity et al. 2018) 32.00 33.00',
        f'{paper}: RMC 30.80 31.60',
        f'{paper}: LSTM, by eye 21.00 10.20 4.60 1.60 0.70 0.00',
        f'{paper}: RMC, by eye 21.00 5.80 1.20 0.60 0.70 0.00',
    ]


@pytest.mark.parametrize(
    ('facts', 'reason'),
    [
        ({'dataset': 'wikitext103', 'vocab_size': 50_000}, 'a larger vocabulary'),
        ({'dataset': 'gutenberg', 'vocab_size': 300_000}, 'other books, 180 M words'),
        ({'dataset': 'gigaword'}, 'GigaWord v5, 4 B words'),
    ],
)
def test_the_paper_is_left_out_with_a_reason_where_its_text_is_another(facts, reason):
    assert _lines(**facts) == []
    (text,) = perplexities.describe({'run': _evaluation_of(**facts)})
    assert f'\npublished numbers are left out: they are of {reason}\n' in text


@pytest.mark.parametrize('dataset', ['pydoc', 'text', 'pg19', 'lm1b'])
def test_the_paper_is_left_out_for_other_corpora(dataset):
    assert _lines(dataset=dataset) == []


def test_table_3_of_the_paper_has_a_number_for_each_band():
    for published in published_lib.CORPORA.values():
        assert {len(row) for row in published.bands.values()} <= {len(evaluation.BANDS) + 1}
        lengths = len(evaluation.UNROLL_LENGTHS)
        assert {len(row) for row in published.increases.values()} <= {lengths}


def test_runs_on_different_corpora_or_in_other_streams_are_not_compared():
    runs = {
        'a': _evaluation_of(),
        'b': _evaluation_of(corpus='beef'),
        'c': _evaluation_of(test=3.0),
        'd': _evaluation_of(streams=16),
    }
    texts = perplexities.describe(runs)
    labels = [{line.split()[0] for line in text.splitlines() if line} for text in texts]
    assert [label & runs.keys() for label in labels] == [{'a', 'c'}, {'b'}, {'d'}]
    assert '16 streams of 0 words' in texts[2]
    assert perplexities.describe({}) == []


def test_runs_of_several_seeds_are_a_mean_with_its_standard_error():
    runs = [_evaluation_of(test=test) for test in (4.5, 5.5, 6.5)]
    runs[2]['unroll'] = None
    (text,) = perplexities.describe({'rmc': seeds.pool(runs), 'lstm': _evaluation_of()})
    lines = [' '.join(line.split()) for line in text.splitlines()]
    # a standard deviation of 1, over the root of 3
    assert lines[3:5] == ['rmc, n = 3 40 4.25 ± 0 5.50 ± 0.58', 'lstm 40 4.25 5.50']
    assert 'rmc, n = 3 ? 3 ± 0 700 ± 0 5.50 ± 0.58'.replace('?', 'none') in lines
    # 4.5 and 5.5 differ by 1: a standard deviation of 0.5 root 2, over root 2
    assert lines[-2].startswith('rmc, n = 2 6 ± 0 5 ± 0')
    assert lines[-2].endswith(' 5.00 ± 0.50')


def test_runs_are_drawn_into_two_pictures_or_one_and_other_streams_apart(tmp_path):
    pooled = seeds.pool([_evaluation_of(), _evaluation_of(test=6.5)])
    runs = {'a': pooled, 'b': _evaluation_of(streams=16, unrolled=False)}
    names = ['frequency-x.png', 'unroll-x.png', 'frequency-x-2.png']
    drawn = perplexities.draw(runs, str(tmp_path), 'A text', '-x.png')
    assert drawn == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)


def _with_text(unit, corpus, bits, num_bytes=50):
    evaluation = _evaluation_of(corpus=corpus)
    size = {'words': 9, 'bytes': num_bytes, 'bits_per_byte': bits, 'perplexity_per_word': 30.0}
    for split in evaluation['splits'].values():
        split['oov_rate'] = 0.0
    return {**evaluation, 'unit': unit, 'texts': {'valid': size, 'test': size}}


def test_runs_on_one_text_are_compared_whatever_their_tokens():
    runs = {
        'words': _with_text('word', 'a', 1.0),
        'other': _with_text('byte', 'c', 3.0, num_bytes=51),
        'bytes': _with_text('byte', 'b', 2.0),
        'old': _evaluation_of(),
    }
    texts = perplexities.describe(runs)
    assert len(texts) == 4 + 2
    bound = 'not comparable, a lower bound: spaces are left out'
    assert [line.rstrip() for line in texts[4].splitlines()] == [
        'the text of text, whatever the tokens (test: 9 words between spaces, 50 bytes)',
        '       tokens  bits per byte   test  perplexity per word   test',
        f'words   words          1.000  1.000                30.00  30.00  {bound}',
        'bytes   bytes          2.000  2.000                30.00  30.00',
    ]
    assert texts[2].startswith('perplexity per byte on text (vocabulary of 36 bytes')
    assert 'other' in texts[5]
    pooled = seeds.pool([_with_text('byte', 'b', bits) for bits in (1.5, 2.5)])
    line = perplexities.describe({'bytes': pooled})[1].splitlines()[2]
    assert line.split()[:7] == ['bytes,', 'n', '=', '2', 'bytes', '2.00', '±']


def test_runs_of_words_alone_have_no_table_of_lower_bounds():
    assert len(perplexities.describe({'words': _with_text('word', 'a', 1.0)})) == 1
