"""The tables and pictures of one evaluation, letter by letter."""

import pathlib

from launch.language import tables
from launch.runs import plots

EVALUATION = {
    'program': 'lm',
    'dataset': 'text',
    'core': 'rmc',
    'step': 40,
    'corpus': 'c0ffee',
    'vocab_size': 36,
    'streams': 1,
    'test': 5.5,
    'splits': {
        'valid': {
            'words': 5,
            'oov_rate': 0.2,
            'perplexity': 4.25,
            'bands': {
                '> 10 K': {'words': 0, 'share': 0.0, 'perplexity': None},
                '1 K - 10 K': {'words': 1, 'share': 0.2, 'perplexity': 2.0},
                '< 1 K': {'words': 4, 'share': 0.8, 'perplexity': 64000.125},
            },
        },
        'test': {
            'words': 8,
            'oov_rate': 0.125,
            'perplexity': 5.5,
            'bands': {
                '> 10 K': {'words': 0, 'share': 0.0, 'perplexity': None},
                '1 K - 10 K': {'words': 2, 'share': 0.25, 'perplexity': 3.0},
                '< 1 K': {'words': 6, 'share': 0.75, 'perplexity': 700.0},
            },
        },
    },
    'ngrams': {'unigram': {'valid': 12.0, 'test': 13.5}},
    'unroll': {
        'words': 6,
        'streams': 1,
        'carried': 6.0,
        'lengths': [25, 50, 100, 200, 300, 500],
        'perplexities': [10.0, 9.5, 8.0, 7.0, None, 5.75],
    },
}


def test_splits_are_listed_below_n_gram_models():
    assert tables.describe_splits(EVALUATION).splitlines() == [
        'perplexity per word   validation       test',
        'unigram                    12.00      13.50',
        'rmc                         4.25       5.50',
        '<unk> is 20.00% of validation and 12.50% of test',
    ]


def test_short_streams_are_mentioned():
    evaluation = {**EVALUATION, 'splits': {'valid': {'words': 2600}, 'test': {'words': 1999}}}
    for streams, found in ((1, []), (3, []), (4, ['test']), (6, ['valid', 'test'])):
        lines = tables.describe_short_streams({**evaluation, 'streams': streams})
        assert [line.partition(':')[0] for line in lines] == found
    assert lines[1].startswith('test: 6 streams of 333 words')
    shown = tables.describe_splits({**EVALUATION, 'streams': 2}).splitlines()
    assert shown[-1].startswith('test: 2 streams of 4 words')
    assert '--evaluation_batch' in shown[-1]


def test_bands_have_their_words_and_an_empty_one_is_shown_as_such():
    assert tables.describe_bands(EVALUATION).splitlines() == [
        'times in train  validation    test  words of test   share',
        '> 10 K                none    none              0   0.00%',
        '1 K - 10 K            2.00    3.00              2  25.00%',
        '< 1 K            64,000.12  700.00              6  75.00%',
        'all                   4.25    5.50              8    100%',
        '<unk> is 20.00% of validation and 12.50% of test',
    ]


def test_unroll_lengths_are_compared_with_the_carried_state():
    assert tables.describe_unrolls(EVALUATION).splitlines() == [
        'state reset every  perplexity  increase',
        '25 words                10.00      4.00',
        '50 words                 9.50      3.50',
        '100 words                8.00      2.00',
        '200 words                7.00      1.00',
        '300 words                none      none',
        '500 words                5.75     -0.25',
        'never                    6.00',
        '(of the first 6 of 8 words of test)',
    ]
    whole = {**EVALUATION, 'unroll': {**EVALUATION['unroll'], 'words': 8}}
    assert tables.describe_unrolls(whole).endswith('(of all 8 words of test)')


def test_pictures_show_what_was_measured(tmp_path, monkeypatch):
    seen = []
    for name in ('plot_bars', 'plot_points'):
        monkeypatch.setattr(plots, name, lambda series, *args, **rest: seen.append(series))
    pictures = tables.draw(str(tmp_path), EVALUATION)
    assert pictures == [str(tmp_path / 'frequency.png'), str(tmp_path / 'unroll.png')]
    assert seen == [
        {'validation': [None, 2.0, 64000.125, 4.25], 'test': [None, 3.0, 700.0, 5.5]},
        {
            'Relational Memory Core': plots.Curve(
                [(25, 4.0), (50, 3.5), (100, 2.0), (200, 1.0), (500, -0.25)]
            )
        },
    ]


def test_pictures_are_drawn(tmp_path):
    for picture in tables.draw(str(tmp_path), EVALUATION):
        assert pathlib.Path(picture).stat().st_size > 1000


def test_there_is_no_picture_of_unroll_lengths_that_were_not_measured(tmp_path):
    assert tables.draw(str(tmp_path), {**EVALUATION, 'unroll': None}) == [
        str(tmp_path / 'frequency.png')
    ]
    nowhere = {**EVALUATION['unroll'], 'perplexities': [None] * 6}
    assert len(tables.draw(str(tmp_path), {**EVALUATION, 'unroll': nowhere})) == 2


TEXTS = {
    'valid': {'words': 4, 'bytes': 20, 'bits_per_byte': 1.25, 'perplexity_per_word': 76.1},
    'test': {'words': 7, 'bytes': 30, 'bits_per_byte': 1.5, 'perplexity_per_word': None},
}


def test_bits_per_byte_have_in_their_line_why_they_are_a_lower_bound():
    shown = tables.describe_splits({**EVALUATION, 'texts': TEXTS}).splitlines()
    assert shown[-2:] == [
        'bits per byte              1.250      1.500  (not comparable, a lower bound: '
        'spaces are left out, <unk> is 20.00% and 12.50%)',
        'per word of the text       76.10       none  (not comparable, a lower bound: '
        'spaces are left out, <unk> is 20.00% and 12.50%)',
    ]
    unknown = tables.lower_bound({**EVALUATION, 'unit': 'character'})
    assert unknown == 'not comparable, a lower bound: <unk> is 20.00% and 12.50%'


def test_bits_per_byte_of_the_whole_text_stand_alone():
    splits = {name: {**split, 'oov_rate': 0.0} for name, split in EVALUATION['splits'].items()}
    evaluation = {**EVALUATION, 'unit': 'byte', 'texts': TEXTS, 'splits': splits}
    shown = tables.describe_splits(evaluation).splitlines()
    assert shown[0].startswith('perplexity per byte   validation')
    assert shown[-2:] == [
        'bits per byte              1.250      1.500',
        'per word of the text       76.10       none',
    ]
    wider = tables.describe_splits({**evaluation, 'unit': 'character'}).splitlines()
    assert len({len(line) for line in wider}) == 1
    for texts in (None, {'valid': None, 'test': TEXTS['test']}):
        assert len(tables.describe_splits({**evaluation, 'texts': texts}).splitlines()) == 3
