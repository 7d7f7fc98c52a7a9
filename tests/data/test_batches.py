"""Batches of Learning to Execute: their shapes, curricula and splits, and that they are pure."""

import itertools
import re

import numpy as np
import pytest

from tasks.learning_to_execute import batches, programs

SETTING = programs.Setting('addition', 3, 4)


def make(setting=SETTING, curriculum='mix', level=0, split='train', seed=5, step=7, batch_size=50):
    return batches.batch(setting, curriculum, level, split, seed, step, batch_size)


def texts_of(batch):
    lengths = batch.lengths[0]
    return [programs.decode(ids[:end]) for ids, end in zip(batch.inputs.T, lengths, strict=True)]


def answers_of(batch):
    ends = batch.weights.sum(axis=0).astype(int)
    return [programs.decode(ids[:end]) for ids, end in zip(batch.targets.T, ends, strict=True)]


def difficulties_of(batch):
    """Nesting and length of sums, counted in their texts."""
    return [(text.count('+'), len(re.search(r'\d+', text).group())) for text in texts_of(batch)]


@pytest.mark.parametrize('dialect', programs.DIALECTS)
@pytest.mark.parametrize('curriculum', batches.CURRICULA)
def test_a_batch_is_time_major_and_of_the_settings_shape(curriculum, dialect):
    setting = programs.Setting('program', 2, 3, dialect)
    batch = make(setting, curriculum, batch_size=9)
    assert (batch.inputs.shape, batch.inputs.dtype) == ((setting.input_steps, 9), np.int32)
    assert (batch.lengths.shape, batch.lengths.dtype) == ((1, 9), np.int32)
    assert (batch.targets.shape, batch.targets.dtype) == ((setting.output_steps, 9), np.int32)
    assert (batch.weights.shape, batch.weights.dtype) == ((setting.output_steps, 9), np.float32)
    assert all(array.flags.c_contiguous for array in batch[:4])
    assert batch.hints is None


def test_answers_stand_beside_their_programs():
    batch = make(batch_size=300)
    for text, answer, (_, length) in zip(
        texts_of(batch), answers_of(batch), difficulties_of(batch), strict=True
    ):
        total = sum(map(int, re.findall(r'\d+', text)))
        assert answer == str(total % 10 ** (length + 1))


def test_weights_and_lengths_leave_padding_out():
    batch = make(batch_size=300)
    np.testing.assert_array_equal(batch.weights, (batch.targets != programs.PAD).astype(np.float32))
    steps = np.arange(len(batch.inputs))[:, None]
    np.testing.assert_array_equal(batch.inputs != programs.PAD, steps < batch.lengths)


def test_the_same_arguments_give_the_same_bytes():
    first, second = make(), make()
    assert [array.tobytes() for array in first[:4]] == [array.tobytes() for array in second[:4]]


@pytest.mark.parametrize(
    'other', [{'seed': 6}, {'step': 8}, {'split': 'valid'}, {'seed': 7, 'step': 5}]
)
def test_other_seeds_steps_and_splits_give_other_programs(other):
    setting = programs.Setting('addition', 3, 8)
    ours = make(setting, 'baseline', batch_size=500)
    theirs = make(setting, 'baseline', batch_size=500, **other)
    assert not set(texts_of(ours)) & set(texts_of(theirs))


def test_splits_are_drawn_from_streams_of_their_own(monkeypatch):
    """Not only told apart afterwards: what is drawn, and how hard it is, differs from the start."""
    seen, draw = [], programs.draw

    def look(setting, nesting, length, rng):
        seen.append(tuple(length[:30]))
        return draw(setting, nesting, length, rng)

    monkeypatch.setattr(programs, 'draw', look)
    for split in programs.SPLITS:
        make(split=split, batch_size=100)
        make(split=split, batch_size=100, seed=6)
    assert len(set(seen)) == len(seen)


def test_a_batch_does_not_repeat_itself():
    """Samples are drawn in blocks; no two blocks are alike."""
    batch = make(programs.Setting('addition', 3, 8), 'baseline', split='test', batch_size=3000)
    assert len(set(texts_of(batch))) == 3000


@pytest.mark.parametrize('curriculum', batches.CURRICULA)
@pytest.mark.parametrize('split', programs.SPLITS)
def test_all_programs_are_of_the_split(split, curriculum):
    batch = make(split=split, curriculum=curriculum, level=0, batch_size=700)
    nothing = np.zeros(0)
    samples = programs.Samples(batch.inputs.T.astype(np.uint8), nothing, nothing, *[nothing] * 6)
    assert set(programs.split_of(samples)) == {programs.SPLITS.index(split)}


def test_splits_share_no_program_even_where_there_are_few():
    found = [
        set(texts_of(make(programs.Setting('addition', 1, 1), split=split, batch_size=3000)))
        for split in programs.SPLITS
    ]
    assert sum(map(len, found)) == len(set.union(*found)) == 81


def test_levels_walk_the_lengths_and_then_the_nestings():
    assert batches.num_levels(SETTING, 'naive') == 12
    assert batches.num_levels(SETTING, 'combined') == 12
    assert batches.num_levels(SETTING, 'mix') == 1
    assert batches.num_levels(SETTING, 'baseline') == 1
    walked = [batches.difficulty(SETTING, level) for level in range(12)]
    assert walked == [(nesting, length) for nesting in (1, 2, 3) for length in (1, 2, 3, 4)]


@pytest.mark.parametrize('level', [0, 3, 4, 11])
def test_naive_is_at_its_level_alone(level):
    batch = make(curriculum='naive', level=level)
    assert set(difficulties_of(batch)) == {batches.difficulty(SETTING, level)}


def test_baseline_is_the_hardest():
    assert set(difficulties_of(make(curriculum='baseline'))) == {(3, 4)}


def shares_of(batch):
    """How often each of the twelve difficulties occurs, by nesting and length."""
    counts = np.zeros((3, 4))
    for nesting, length in difficulties_of(batch):
        counts[nesting - 1, length - 1] += 1
    return counts / counts.sum()


def test_mix_is_even_over_nesting_and_length():
    shares = shares_of(make(batch_size=24_000))
    np.testing.assert_allclose(shares, 1 / 12, atol=0.01)


def test_combined_mixes_a_fifth():
    shares = shares_of(make(curriculum='combined', level=6, batch_size=24_000))
    expected = np.full((3, 4), 0.2 / 12)
    expected[1, 2] += 0.8
    np.testing.assert_allclose(shares, expected, atol=0.01)


def test_memorization_has_a_level_for_each_length():
    setting = programs.Setting('copy', 1, 30)
    assert batches.num_levels(setting, 'naive') == 30
    batch = make(setting, 'naive', level=11)
    assert set(batch.lengths[0].tolist()) == {12}


def test_a_split_without_such_programs_is_refused(monkeypatch):
    monkeypatch.setattr(programs, 'split_of', lambda samples: np.zeros(len(samples.text), int))
    with pytest.raises(ValueError, match=r"of the split 'test', got none in .*too few programs"):
        make(split='test')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'curriculum': 'blend'}, "wanted a curriculum of .*got 'blend'"),
        ({'split': 'dev'}, "wanted a split of .*got 'dev'"),
        ({'level': 1}, 'wanted a level from 0 to 0, got 1'),
        ({'curriculum': 'naive', 'level': 12}, 'wanted a level from 0 to 11, got 12'),
        ({'curriculum': 'naive', 'level': -1}, 'wanted a level from 0 to 11, got -1'),
        ({'batch_size': 0}, 'got 5, 7 and 0'),
        ({'seed': -1}, 'got -1, 7 and 50'),
        ({'step': -1}, 'got 5, -1 and 50'),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_an_unknown_curriculum_has_no_levels():
    with pytest.raises(ValueError, match=r"wanted a curriculum of .*got 'blend'"):
        batches.num_levels(SETTING, 'blend')


def test_hints_say_where_operations_end():
    setting = programs.Setting('addition', 3, 2)
    batch = batches.batch(setting, 'mix', 0, 'train', 3, 4, 60, hints=True)
    for row, text in enumerate(texts_of(batch)):
        ends = [*(place for place, character in enumerate(text) if character == ')'), len(text) - 1]
        ends = [text.index('+'), *ends]  # the first number's is told behind it
        values, between = batch.hints.writes[:, row].T
        assert values.tolist() == [1] * len(ends) + [0] * (4 - len(ends))
        assert not between.any()
        assert batch.hints.steps[: len(ends), row].tolist() == ends
        assert not batch.hints.steps[len(ends) :, row].any()


def _number(points):
    """Returns the whole number of an angle's cosine and sine, of the last place [A, 2]."""
    modulus = 10 ** len(points)
    return round(np.arctan2(points[-1, 1], points[-1, 0]) / (2 * np.pi) * modulus) % modulus


_NUMBER = r'(\(.*\)|\d+)'  # nested or not
_LOOP = re.compile(rf'x={_NUMBER}for\[(\d)\]x\+=(\d+)')
_CHOICE = re.compile(rf'{_NUMBER}if(\d+)([<>])(\d+)else(\d+)')
_SIGN = re.compile(rf'{_NUMBER}([-+*])(\d+)')


def _told_by_text(text):
    """Yields what is done on paper: end, kind, operands, turns, sign, registers and result."""
    pattern = next(each for each in (_LOOP, _CHOICE, _SIGN) if each.fullmatch(text))
    nested, *others = pattern.fullmatch(text).groups()
    value = int(nested) if nested.isdigit() else 0
    if nested.isdigit():
        what = {'addend': value}, -1, 0, [1, 0], value
        yield text.index(nested) + len(nested), 'first', *what
    before = text.index(nested) + 1
    for end, *told in [] if nested.isdigit() else _told_by_text(nested[1:-1]):
        is_last = end == len(nested) - 3 and told[0] != '{0}*{1}'
        yield before + end + is_last, *told  # a bracket closes it
        value = told[-1]
    last, end = int(others[-1]), len(text) - 1
    if pattern == _LOOP:
        turns = int(others[0])
        operands = {'augend': value, 'addend': last}
        yield end, 'x={0}for[{turns}]x+={1}', operands, turns, 0, [1, 0], value + turns * last
    elif pattern == _CHOICE:
        first, second = int(others[0]), int(others[2])
        sign = 1 if others[1] == '<' else -1
        operands = {'compared': first, 'addend': second}
        what = operands, -1, sign, [0, 1], sign * (second - first)
        yield text.rindex('else') - 1, 'comparison', *what
        holds = first < second if sign > 0 else first > second
        chosen = value if holds else last
        what = {'augend': value, 'addend': last}, -1, 2 * holds - 1, [1, 0], chosen
        yield end, '{0}if{1}{compare}{2}else{3}', *what
    elif others[0] == '*':
        result = 0
        for place, digit in enumerate(others[1]):
            operands = {'augend': 10 * result, 'addend': value}
            result = 10 * result + int(digit) * value
            where = len(text) - len(others[1]) + place
            is_last = place == len(others[1]) - 1
            yield where, '{0}*{1}', operands, int(digit), 0, [is_last, 1], result
    else:
        result = value + last if others[0] == '+' else value - last
        operands = {'augend': value, 'addend': last}
        yield end, f'{{0}}{others[0]}{{1}}', operands, -1, 0, [1, 0], result


@pytest.mark.parametrize(
    ('task', 'names', 'parts'),
    [
        ('addition', ('augend', 'addend'), 1),
        ('control', ('augend', 'addend', 'compared'), 2),
        ('algebra', ('augend', 'addend'), 3),
        ('program', ('augend', 'addend', 'compared'), 3),
    ],
)
def test_hints_tell_what_is_done_on_paper(task, names, parts):
    setting = programs.Setting(task, 3, 3)
    assert batches.operands_of(setting) == names
    sizes = batches.fact_sizes(setting)
    assert sizes == (len(setting.operations) + 2, 11, 3)
    kinds = (*setting.operations, 'comparison', 'first')
    batch = batches.batch(setting, 'mix', 0, 'train', 3, 4, 120, hints=True)
    hints = batch.hints
    assert hints.steps.shape == (1 + 3 * parts, 120)
    for row, text in enumerate(texts_of(batch)):
        there = np.flatnonzero(hints.writes[:, row].any(axis=-1))
        wanted = list(_told_by_text(text))
        assert len(there) == len(wanted)
        for place, told in zip(there, wanted, strict=True):
            end, kind, operands, turns, sign, registers, result = told
            assert hints.writes[place, row].tolist() == registers
            assert hints.steps[place, row] == end
            taken = [names[i] for i in np.flatnonzero(hints.taken[place, row])]
            assert sorted(taken) == sorted(operands)
            for name, operand in operands.items():
                assert _number(hints.operands[place, row, names.index(name)]) == operand % 10**4
            assert _number(hints.results[place, row]) == result % 10**4
            facts = np.split(hints.facts[place, row], np.cumsum(sizes)[:-1])
            assert [fact.sum() for fact in facts] == [1, 1, 1]
            assert kinds[facts[0].argmax()] == kind
            assert [fact.argmax() - 1 for fact in facts[1:]] == [turns, sign]
        assert not hints.steps[~hints.writes[:, row].any(axis=-1), row].any()


def test_operands_that_are_not_taken_tell_nothing():
    """What a network is told of them in training is as random as what it reads in tests."""
    setting = programs.Setting('program', 2, 3)
    hints = batches.batch(setting, 'baseline', 0, 'train', 3, 4, 500, hints=True).hints
    for one, other in itertools.permutations(range(3), 2):
        rows = (hints.taken[..., one] == 0) & (hints.taken[..., other] > 0)
        if rows.any():
            found = hints.operands[rows][:, one]
            assert len(np.unique(found[:, -1], axis=0)) > 50
            for known in (hints.operands[rows][:, other], hints.results[rows]):
                same = np.all(np.abs(found - known) < 1e-4, axis=(1, 2))
                assert same.mean() < 0.1, (one, other)


def test_hints_show_numbers_as_angles():
    setting = programs.Setting('addition', 1, 2)
    batch = batches.batch(setting, 'baseline', 0, 'train', 3, 4, 30, hints=True)
    assert batch.hints.operands.shape == (2, 30, 2, 3, 2)
    assert batch.hints.results.shape == (2, 30, 3, 2)
    for row, text in enumerate(texts_of(batch)):
        first, second = map(int, text.split('+'))
        for place in range(3):
            turn = 2j * np.pi / 10 ** (place + 1)
            for value, found in (
                (first, batch.hints.operands[1, row, 0, place]),
                (second, batch.hints.operands[1, row, 1, place]),
                (first + second, batch.hints.results[1, row, place]),
            ):
                assert complex(*found) == pytest.approx(np.exp(turn * value), abs=1e-6)


def test_hints_change_nothing_else_of_a_batch():
    with_hints = batches.batch(SETTING, 'mix', 0, 'train', 5, 7, 50, hints=True)
    assert [x.tobytes() for x in with_hints[:4]] == [x.tobytes() for x in make()[:4]]
