"""Table 1: runs of `learning_to_execute` next to published numbers."""

import pytest

from launch.reports import accuracies, records, seeds
from launch.reports import published as published_lib
from tasks import base


def _facts_of(core='rmc', task='program', nesting=2, length=5, **facts):
    return {
        'core': core,
        'task': task,
        'nesting': nesting,
        'length': length,
        'dialect': 'sonnet',
        'decoding': 'non_autoregressive',
        'curriculum': 'mix',
        'parameters': 12_345,
        'sequences': 12_800,
        'test': 0.5,
        'character_accuracy': 0.5,
        'sequence_accuracy': 0.25,
        **facts,
    }


def _lines(**facts):
    """Returns the lines of the table of one run, with single spaces."""
    (text,) = accuracies.describe({'run': _facts_of(**facts)})
    return [' '.join(line.split()) for line in text.splitlines()]


def test_models_are_listed_by_tasks_and_published_ones_below_them():
    runs = {
        'a': _facts_of('rmc', 'program', character_accuracy=0.78125, sequence_accuracy=0.5),
        'b': _facts_of('lstm', 'addition', character_accuracy=0.999),
        'c': _facts_of('rmc', 'addition', character_accuracy=1.0, sequence_accuracy=1.0),
    }
    (text,) = accuracies.describe(runs)
    assert text.splitlines() == [
        'accuracy in % per character (of whole answers) on 12,800 programs of test, '
        'nesting 2, length 5, as in Table 1',
        '                                              parameters       addition    control'
        '      program',
        'Relational Memory Core                            12,345  100.0 (100.0)           '
        '  78.1 (50.0)',
        'LSTM                                              12,345    99.9 (25.0)',
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


def test_memorization_is_compared_at_any_length_with_a_remark():
    lines = _lines(task='copy', nesting=1, length=30)
    assert lines[0].endswith('on 12,800 strings of test, length 30, as in Table 1')
    assert lines[1:5] == [
        'parameters copy reverse double',
        'Relational Memory Core 12,345 50.0 (25.0)',
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
def test_nothing_published_is_compared_with_other_difficulties(facts, where):
    lines = _lines(**facts)
    assert len(lines) == 3
    assert f' of test, {where} as in Table 1' in lines[0]
    assert accuracies.published_accuracy(_facts_of(**facts)) is None


def test_nothing_published_is_compared_with_runs_that_had_a_curriculum():
    lines = _lines(curriculum='naive')
    assert lines[2:] == [
        'Relational Memory Core, naive curriculum 12,345 50.0 (25.0)',
        'published numbers are left out next to runs with a curriculum',
    ]
    assert accuracies.published_accuracy(_facts_of(curriculum='naive')) is None
    assert accuracies.published_accuracy(_facts_of()) == 0.79


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
    assert [(str(difficulty), list(group)) for difficulty, group in groups.items()] == [
        ('nesting 1, length 9', ['c']),
        ('nesting 3, length 4', ['g']),
        ('nesting 3, length 5', ['b', 'd']),
        ('nesting 3, length 5, zaremba', ['e']),
        ('length 9', ['a', 'f']),
    ]
    assert len(accuracies.describe(runs)) == 5
    assert accuracies.describe({}) == []


def test_algebra_has_a_column_if_there_is_a_run():
    assert _lines()[1] == 'parameters addition control program'
    lines = _lines(task='algebra')
    assert lines[1] == 'parameters addition control program algebra'
    assert lines[6] == 'RMC (Santoro et al. 2018) 99.9 99.6 79.0'


def test_other_training_and_further_runs_have_rows_of_their_own():
    runs = {
        'a': _facts_of(series='RMC, batch size 128'),
        'b': _facts_of(task='control', parameters=99),
        'c': _facts_of(decoding='autoregressive'),
        'd': _facts_of(curriculum='naive', decoding='teacher_forcing'),
        'e': _facts_of(parameters=99, series='RMC, batch size 64'),
        'f': _facts_of(character_accuracy=0.125, series='RMC, batch size 7'),
    }
    (text,) = accuracies.describe({name: {**known, 'nesting': 7} for name, known in runs.items()})
    assert [' '.join(line.split()) for line in text.splitlines()[2:]] == [
        'RMC, batch size 128 12,345 50.0 (25.0)',
        'Relational Memory Core 99 50.0 (25.0)',
        'Relational Memory Core, autoregressive 12,345 50.0 (25.0)',
        'Relational Memory Core, teacher forcing, naive curriculum 12,345 50.0 (25.0)',
        'RMC, batch size 64 99 50.0 (25.0)',
        'RMC, batch size 7 12,345 12.5 (25.0)',
    ]


def test_runs_of_several_seeds_are_a_mean_with_its_standard_error():
    runs = [_facts_of(character_accuracy=value) for value in (0.5, 0.6, 0.7)]
    (text,) = accuracies.describe({'a': seeds.pool(runs), 'b': _facts_of('lstm')})
    lines = [' '.join(line.split()) for line in text.splitlines()]
    # 10 points of standard deviation, over the root of 3
    assert lines[2] == 'Relational Memory Core, n = 3 12,345 60.0 ± 5.8 (25 ± 0)'
    assert lines[3] == 'LSTM 12,345 50.0 (25.0)'


def test_the_size_of_evaluations_is_left_out_if_it_differs():
    runs = {'a': _facts_of(), 'b': _facts_of('lstm', sequences=640)}
    (text,) = accuracies.describe(runs)
    assert ' on programs of test, ' in text.splitlines()[0]


def _run(evaluation, program='learning_to_execute'):
    names = 'core', 'task', 'nesting', 'length', 'dialect', 'decoding'
    config = {name: _facts_of()[name] for name in names}
    description = {'program': program, 'config': config, 'parameters': 7}
    return records.Run('a run', [], description, evaluation)


def test_the_facts_of_a_run_are_its_flags_and_its_evaluation():
    measured = {'sequences': 3, 'character_accuracy': 0.5, 'sequence_accuracy': 0.25}
    facts = accuracies.facts(_run(measured))
    assert facts == {**_run({}).description['config'], 'parameters': 7, **measured}
    assert 'sequences' not in accuracies.facts(_run({}))
    assert accuracies.facts(_run(measured, program='lm')) is None
    with pytest.raises(base.DataError, match='a run: has no sequence_accuracy, sequences: eval'):
        accuracies.facts(_run({'character_accuracy': 0.5}))


def test_every_published_model_has_all_tasks_of_table_1():
    for scores in published_lib.TABLE_1.values():
        tasks = [task for tasks in accuracies.TASKS.values() for task in tasks]
        assert sorted(scores) == sorted({*tasks} - {'algebra'})
        assert all(50 < float(score.split()[0]) <= 100 for score in scores.values())
