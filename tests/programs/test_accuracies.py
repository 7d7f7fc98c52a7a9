"""Runs of `learning_to_execute` beside each other, and published numbers where they belong."""

import pytest

from launch.reports import accuracies


def _facts_of(core='rmc', task='program', nesting=2, length=5, **facts):
    return {
        'program': 'learning_to_execute',
        'core': core,
        'task': task,
        'nesting': nesting,
        'length': length,
        'dialect': 'sonnet',
        'decoding': 'non_autoregressive',
        'curriculum': 'mix',
        'parameters': 12_345,
        'step': 40,
        'sequences': 12_800,
        'test': 0.5,
        'character_accuracy': 0.5,
        'sequence_accuracy': 0.25,
        **facts,
    }


def _described(runs):
    return [
        accuracies.describe(difficulty, group)
        for difficulty, group in accuracies.by_difficulty(runs).items()
    ]


def _lines(**facts):
    """Returns the lines of the table of one run, each as its words."""
    (text,) = _described({'run': _facts_of(**facts)})
    return [' '.join(line.split()) for line in text.splitlines()]


def test_models_stand_by_tasks_and_published_ones_below_them():
    runs = {
        'a': _facts_of('rmc', 'program', character_accuracy=0.78125, sequence_accuracy=0.5),
        'b': _facts_of('lstm', 'addition', character_accuracy=0.999, parameters=None),
        'c': _facts_of('rmc', 'addition', character_accuracy=1.0, sequence_accuracy=1.0),
    }
    (text,) = _described(runs)
    assert text.splitlines() == [
        'accuracy in % per character (of whole answers) on 12,800 programs of test, '
        'nesting 2, length 5, as in Table 1',
        '                                              parameters       addition    control'
        '      program',
        'rmc                                               12,345  100.0 (100.0)           '
        '  78.1 (50.0)',
        'lstm                                                   ?    99.9 (25.0)',
        'LSTM (Santoro et al. 2018)                                         99.8       97.4'
        '         66.1',
        'EntNet (Santoro et al. 2018)                                       98.4       98.0'
        '         73.4',
        'DNC (Santoro et al. 2018)                                          99.4       83.8'
        '         69.5',
        'RMC (Santoro et al. 2018)                                          99.9       99.6'
        '         79.0',
        'LSTM (Dehghani et al. 2019)                                     83 (11)    68 (21)'
        '      53 (12)',
        'Transformer (Dehghani et al. 2019)                            100 (100)    93 (66)'
        '      71 (29)',
        'Universal Transformer (Dehghani et al. 2019)                  100 (100)  100 (100)'
        '      89 (63)',
        'published: Santoro et al. 2018 report the best of several models on a batch of the test',
    ]


def test_the_tasks_of_memorization_are_compared_at_any_length_and_it_is_said():
    lines = _lines(task='copy', nesting=1, length=30)
    assert lines[0].endswith('on 12,800 strings of test, length 30, as in Table 1')
    assert lines[1:5] == [
        'parameters copy reverse double',
        'rmc 12,345 50.0 (25.0)',
        'LSTM (Santoro et al. 2018) 99.8 99.7 99.7',
        'EntNet (Santoro et al. 2018) 91.8 100.0 62.3',
    ]
    assert lines[-2] == 'Universal Transformer (Dehghani et al. 2019) 100 100 100'
    assert lines[-1] == (
        'published: at lengths that Santoro et al. 2018 do not state; of at most 55 characters in '
        'Dehghani et al. 2019'
    )


@pytest.mark.parametrize(
    ('facts', 'where'),
    [
        ({'nesting': 3, 'length': 6}, 'nesting 3, length 6,'),
        ({'nesting': 2, 'length': 6}, 'nesting 2, length 6,'),
        ({'nesting': 3, 'length': 5}, 'nesting 3, length 5,'),
        ({'dialect': 'zaremba'}, 'nesting 2, length 5, zaremba,'),
        ({'dialect': 'zaremba', 'task': 'copy', 'nesting': 1}, 'length 5, zaremba,'),
    ],
)
def test_nothing_published_stands_beside_other_difficulties(facts, where):
    lines = _lines(**facts)
    assert len(lines) == 3
    assert f' of test, {where} as in Table 1' in lines[0]


def test_unlike_difficulties_are_never_in_one_table():
    runs = {
        'a': _facts_of(task='copy', nesting=1, length=9),
        'b': _facts_of(nesting=3),
        'c': _facts_of(nesting=1, length=9),
        'd': _facts_of('lstm', nesting=3),
        'e': _facts_of(nesting=3, dialect='zaremba'),
        'f': _facts_of('dnc', task='double', nesting=1, length=9),
        'g': _facts_of(nesting=3, length=4),
    }
    groups = accuracies.by_difficulty(runs)
    assert [list(group) for group in groups.values()] == [
        ['c'],
        ['g'],
        ['b', 'd'],
        ['e'],
        ['a', 'f'],
    ]
    assert [str(difficulty) for difficulty in groups] == [
        'nesting 1, length 9',
        'nesting 3, length 4',
        'nesting 3, length 5',
        'nesting 3, length 5, zaremba',
        'length 9',
    ]
    assert accuracies.by_difficulty({}) == {}


def test_algebra_has_a_column_if_there_is_a_run():
    assert _lines()[1] == 'parameters addition control program'
    lines = _lines(task='algebra')
    assert lines[1] == 'parameters addition control program algebra'
    assert lines[6] == 'RMC (Santoro et al. 2018) 99.9 99.6 79.0'


def test_models_of_other_training_have_rows_of_their_own_and_so_have_second_runs():
    other = {'curriculum': 'naive', 'decoding': 'teacher_forcing'}
    runs = {
        'a': _facts_of(),
        'b': _facts_of(task='control', nesting=2),
        'c': _facts_of(decoding='autoregressive'),
        'd': _facts_of(**other),
        'e': _facts_of(parameters=99),
        'f': _facts_of(character_accuracy=0.125),
    }
    (text,) = _described({name: {**known, 'nesting': 7} for name, known in runs.items()})
    assert [' '.join(line.split()) for line in text.splitlines()[2:]] == [
        'rmc 12,345 50.0 (25.0) 50.0 (25.0)',
        'rmc, autoregressive 12,345 50.0 (25.0)',
        'rmc, teacher forcing, naive 12,345 50.0 (25.0)',
        'rmc: e 99 50.0 (25.0)',
        'rmc: f 12,345 12.5 (25.0)',
    ]


def test_evaluations_of_other_sizes_are_not_called_one():
    runs = {'a': _facts_of(), 'b': _facts_of('lstm', sequences=640)}
    (text,) = _described(runs)
    assert ' on programs of test, ' in text.splitlines()[0]


def test_facts_are_those_of_both_files_of_a_run_of_the_program():
    about = {'program': 'learning_to_execute', 'config': {'core': 'dnc', 'task': 'x'}}
    about['parameters'] = 7
    known = accuracies.facts(about, {'task': 'copy', 'test': 0.5})
    assert known == {'core': 'dnc', 'task': 'copy', 'parameters': 7, 'test': 0.5}
    evaluation = {'program': 'learning_to_execute', 'core': 'rmc'}
    assert accuracies.facts({}, evaluation) == {**evaluation, 'parameters': None}
    assert accuracies.facts({'program': 'lm'}, {'program': 'lm'}) is None
    assert accuracies.facts({}, {}) is None


def test_what_a_run_does_not_tell_is_named():
    known = _facts_of()
    assert accuracies.lacking(known) == []
    del known['sequence_accuracy'], known['dialect']
    assert accuracies.lacking(known) == ['dialect', 'sequence_accuracy']
    del known['test']  # it has not been evaluated yet
    assert accuracies.lacking(known) == ['dialect']


def test_every_published_model_has_all_tasks_of_table_1():
    for scores in accuracies.PUBLISHED.values():
        tasks = [task for tasks in accuracies.TASKS.values() for task in tasks]
        assert sorted(scores) == sorted({*tasks} - {'algebra'})
        assert all(50 < float(score.split()[0]) <= 100 for score in scores.values())


def test_parameters_that_differ_between_tasks_are_told_as_a_range():
    runs = {
        'a': _facts_of(task='control', parameters=1200),
        'b': _facts_of(task='addition', parameters=1100),
        'c': _facts_of(task='program', parameters=None),
    }
    (text,) = _described(runs)
    row = ' '.join(text.splitlines()[2].split())
    assert row == 'rmc 1,100 to 1,200 50.0 (25.0) 50.0 (25.0) 50.0 (25.0)'


@pytest.mark.parametrize(
    ('facts', 'wanted'),
    [
        ({'hint_weight': 8.0}, 'rmc, hints'),
        ({'hint_weight': 8.0, 'curriculum': 'naive'}, 'rmc, hints, naive'),
        ({'hint_weight': 0.0}, 'rmc'),
        ({'hint_weight': 8.0, 'dialect': 'zaremba'}, 'rmc'),
        ({'hint_weight': 8.0, 'task': 'copy', 'nesting': 1}, 'rmc'),
    ],
)
def test_a_model_is_called_what_it_was_taught_with(facts, wanted):
    assert accuracies.label(_facts_of(**facts)) == wanted
