"""What settings of Learning to Execute there are, and how wide their texts are."""

import pytest

from tasks.learning_to_execute import setting as setting_lib


@pytest.mark.parametrize(
    ('setting', 'steps'),
    [
        (('addition', 1, 5), (11, 6)),
        (('addition', 2, 5), (19, 6)),
        (('program', 2, 1), (27, 2)),  # x=(x=1for[1]x+=1)for[1]x+=1
        (('program', 2, 5), (51, 6)),  # (11111if11111<11111else11111)if11111<11111else11111
        (('copy', 1, 7), (7, 7)),
        (('double', 1, 7), (7, 14)),
        (('double', 1, 7, 'zaremba'), (7, 15)),
        (('addition', 1, 2, 'zaremba'), (14, 4)),  # print((11+11)), 198.
        (('control', 3, 1, 'zaremba'), (89, 5)),  # three loops of 4 turns: 1 - 4 * 189 = -755.
        (('control', 1, 2, 'zaremba'), (37, 5)),  # a=1\nfor x in range(8):a-=99\nprint(a), -791.
    ],
)
def test_widths_are_those_that_a_hand_counts(setting, steps):
    setting = setting_lib.Setting(*setting)
    assert (setting.input_steps, setting.output_steps) == steps


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('sum',), r"wanted a task of \('addition'.*got 'sum'"),
        (('program', 2, 5, 'python'), "wanted a dialect of .*got 'python'"),
        (('program', 0), 'wanted a nesting of at least 1, got 0'),
        (('program', 2, 0), 'wanted a length of at least 1, got 0'),
        (('copy', 2), 'wanted nesting 1 for copy, got 2'),
        (('double', 3, 5, 'zaremba'), 'wanted nesting 1 for double, got 3'),
        (('addition', 11, 2, 'zaremba'), 'wanted nesting up to 10, got 11'),
        (('addition', 1, 19), 'wanted length up to 18, got 19'),
    ],
)
def test_settings_without_programs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        setting_lib.Setting(*arguments)


@pytest.mark.parametrize(
    ('task', 'dialect', 'shares'),
    [
        ('control', 'sonnet', {('if', 0): 1 / 2, ('for', 0): 1 / 2}),
        ('algebra', 'zaremba', {('{sign}', 0): 1 / 4, ('{sign}', 1): 1 / 4, ('*', 0): 1 / 2}),
        ('copy', 'sonnet', {}),
    ],
)
def test_variants_have_the_shares_of_their_operations(task, dialect, shares):
    variants = setting_lib.Setting(task, 1, 2, dialect).variants
    for (mark, place), share in shares.items():
        found = [mark in operation.expression and at == place for operation, at in variants]
        assert sum(found) == share * len(variants)
    assert sum(shares.values()) == bool(variants)
