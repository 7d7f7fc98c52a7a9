"""What can be compared, and what it is called."""

import importlib

import pytest

from launch.reports import records, series, settings
from launch.runs import flags, plots


def _run(label, program='lm', evaluation=None, data='', unit='words', **config):
    description = {'program': program, 'config': config, 'measure': 'm', 'unit': unit}
    description |= {'data': data, 'parameters': 3, 'units_per_update': 5}
    return records.Run(label, [{'step': 1}], description, evaluation or {})


def _compared(*runs):
    return [(x.title, [(s.label, len(s.runs)) for s in x.series]) for x in series.compare(runs)]


def test_seeds_of_a_core_are_a_series_and_the_flags_that_differ_name_them():
    task = {'program': 'nth_farthest', 'num_objects': 8, 'num_dims': 16}
    runs = [
        _run(f'{core}-{rate}-{seed}', core=core, learning_rate=rate, seed=seed, **task)
        for core, rate in (('rmc', 0.1), ('rmc', 0.2), ('lstm', 0.1))
        for seed in (0, 1)
    ]
    (found,) = _compared(*runs)
    labels = ['Relational Memory Core, learning rate 0.1', 'Relational Memory Core, learning rate']
    wanted = [(labels[0], 2), (f'{labels[1]} 0.2', 2), ('LSTM', 2)]
    assert found == ('Nth Farthest, 8 vectors of 16 dimensions', wanted)


def test_series_that_nothing_tells_apart_have_the_names_of_their_runs():
    (found,) = _compared(*(_run(name, core='dnc') for name in 'ab'))
    assert found[1] == [('DNC: a', 1), ('DNC: b', 1)]
    assert _compared(_run('a', 'toy'))[0] == ('toy', [('a', 1)])
    helped = [_run(f'{name}, with a curriculum', core='dnc', curriculum='2x1') for name in 'ab']
    wanted = [(f'DNC: {name}, with a curriculum', 1) for name in 'ab']  # names it once
    assert _compared(*helped)[0][1] == wanted


def test_help_in_training_is_named_in_words():
    (found,) = _compared(_run('a', core='rmc', head='distances', curriculum='naive'))
    assert found[1][0][0] == 'Relational Memory Core, with auxiliary losses, naive curriculum'


def test_corpora_vocabularies_and_streams_are_apart_even_under_one_name():
    runs = [
        _run('a', data='c0ffee0123', core='rmc', dataset='text', evaluation_batch=16, seed=0),
        _run('b', data='beef', core='rmc', dataset='text', evaluation_batch=16, seed=1),
        _run('c', data='c0ffee0123', core='rmc', dataset='text', evaluation_batch=4, seed=1),
        # an older run, whose evaluation names the corpus
        _run(
            'd',
            evaluation={'corpus': 'c0ffee0123', 'vocab_size': 1234},
            core='rmc',
            dataset='text',
            evaluation_batch=16,
            seed=1,
        ),
        _run('e', core='rmc', dataset='pydoc', vocab_size=10),
        _run('f', core='rmc', dataset='pydoc', vocab_size=20),
    ]
    core = 'Relational Memory Core'
    assert _compared(*runs) == [
        ('own text, vocabulary of 1,234 words, corpus c0ffee01, 16 streams', [(core, 2)]),
        ('own text, corpus beef, 16 streams', [(core, 1)]),
        ('own text, corpus c0ffee01, 4 streams', [(core, 1)]),
        ("Python's documentation, vocabulary of 10 words", [(core, 1)]),
        ("Python's documentation, vocabulary of 20 words", [(core, 1)]),
    ]


def test_worlds_and_windows_are_apart_and_have_names():
    levels = {'size': 9, 'min_solution': 1, 'max_solution': 2}
    levels |= {'min_distractors': 0, 'max_distractors': 1}
    game = {'game': 'regular', 'rules': 'paper'}
    runs = [
        _run('a', 'mini_pacman', core='rmc', viewport=5, **game),
        _run('b', 'mini_pacman', core='rmc', viewport=0, **game),
        _run('c', 'boxworld', core='rmc', viewport=5, **levels),
        _run(
            'd', 'learning_to_execute', core='rmc', task='copy', nesting=1, length=9, dialect=None
        ),
    ]
    one = {**levels, 'max_solution': 1, 'max_distractors': 0}
    runs.append(_run('e', 'boxworld', core='rmc', viewport=0, **one))
    assert [title for title, _ in _compared(*runs)] == [
        'Mini PacMan, regular, paper rules, window of 5 x 5',
        'Mini PacMan, regular, paper rules, full view',
        'BoxWorld, 9 x 9 squares, 1 to 2 boxes, 0 to 1 distractors, window of 5 x 5',
        'Learning to Execute, copy, length 9',
        'BoxWorld, 9 x 9 squares, 1 box, no distractors, full view',
    ]


@pytest.mark.parametrize('program', settings.TASKS)
def test_the_flags_of_a_task_are_flags_of_its_program_that_are_fixed(program):
    config = importlib.import_module(f'launch.{program}').Config
    on_resume = flags.on_resume(config)
    assert {on_resume[name] for name in settings.TASKS[program]} == {'fixed'}
    # those that are left out change what is learnt from, not what is measured
    rest = {x for x in on_resume if flags.group(config, x) == 'data'} - {*settings.TASKS[program]}
    assert rest <= {'observation', 'levels'}


def test_titles_of_pictures_have_no_digest_of_a_corpus():
    title = 'own text, vocabulary of 1,234 words, corpus c0ffee01, 16 streams'
    assert settings.without_digest(title) == 'own text, vocabulary of 1,234 words, 16 streams'


def test_a_title_is_a_part_of_a_files_name():
    assert settings.file_name("Python's, 9 x 9 (a/b)") == 'python-s-9-x-9-a-b'


def test_a_core_has_one_colour_in_every_order():
    for cores in (('rmc', 'lstm', 'toy'), ('toy', 'lstm', 'rmc')):
        styles = plots.core_styles({core: core for core in cores})
        assert [styles[core]['color'] for core in ('rmc', 'lstm')] == ['#c8501e', '#2f6db3']
        assert styles['toy']['color'] not in {color for _, color in plots.CORES.values()}
    styles = plots.core_styles({'a': 'rmc', 'b': 'lstm', 'c': 'rmc'})
    assert styles['a']['color'] == styles['c']['color']
    assert [styles[name]['linestyle'] for name in 'abc'] == ['-', '-', plots.DASHES[1]]


def test_every_core_has_a_name_and_a_colour_of_its_own():
    cores = importlib.import_module('launch.training.cores').CORES
    assert set(cores) <= plots.CORES.keys()
    assert len({color for _, color in plots.CORES.values()}) == len(plots.CORES)
