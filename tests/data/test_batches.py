"""Batches of Learning to Execute: their shapes, curricula and splits, and that they are pure."""

import re

import numpy as np
import pytest

from tasks.learning_to_execute import batches, programs, writing
from tasks.learning_to_execute import setting as setting_lib

SETTING = setting_lib.Setting('addition', 3, 4)


def make(setting=SETTING, curriculum='mix', level=0, split='train', seed=5, step=7, batch_size=50):
    return batches.sample(setting, curriculum, level, split, seed, step, batch_size)


def texts_of(batch):
    lengths = batch.lengths[0]
    return [writing.decode(ids[:end]) for ids, end in zip(batch.inputs.T, lengths, strict=True)]


def answers_of(batch):
    ends = batch.weights.sum(axis=0).astype(int)
    return [writing.decode(ids[:end]) for ids, end in zip(batch.targets.T, ends, strict=True)]


def difficulties_of(batch):
    """Nesting and length of sums, counted in their texts."""
    return [(text.count('+'), len(re.search(r'\d+', text).group())) for text in texts_of(batch)]


@pytest.mark.parametrize('dialect', setting_lib.DIALECTS)
@pytest.mark.parametrize('curriculum', batches.CURRICULA)
def test_a_batch_is_time_major_and_of_the_settings_shape(curriculum, dialect):
    setting = setting_lib.Setting('program', 2, 3, dialect)
    batch = make(setting, curriculum, batch_size=9)
    assert (batch.inputs.shape, batch.inputs.dtype) == ((setting.input_steps, 9), np.int32)
    assert (batch.lengths.shape, batch.lengths.dtype) == ((1, 9), np.int32)
    assert (batch.targets.shape, batch.targets.dtype) == ((setting.output_steps, 9), np.int32)
    assert (batch.weights.shape, batch.weights.dtype) == ((setting.output_steps, 9), np.float32)
    assert all(array.flags.c_contiguous for array in batch)


def test_answers_stand_beside_their_programs():
    batch = make(batch_size=300)
    for text, answer, (_, length) in zip(
        texts_of(batch), answers_of(batch), difficulties_of(batch), strict=True
    ):
        total = sum(map(int, re.findall(r'\d+', text)))
        assert answer == str(total % 10 ** (length + 1))


def test_weights_and_lengths_leave_padding_out():
    batch = make(batch_size=300)
    np.testing.assert_array_equal(
        batch.weights, (batch.targets != setting_lib.PAD).astype(np.float32)
    )
    steps = np.arange(len(batch.inputs))[:, None]
    np.testing.assert_array_equal(batch.inputs != setting_lib.PAD, steps < batch.lengths)


def test_the_same_arguments_give_the_same_bytes():
    first, second = make(), make()
    assert [array.tobytes() for array in first] == [array.tobytes() for array in second]


@pytest.mark.parametrize(
    'other', [{'seed': 6}, {'step': 8}, {'split': 'valid'}, {'seed': 7, 'step': 5}]
)
def test_other_seeds_steps_and_splits_give_other_programs(other):
    setting = setting_lib.Setting('addition', 3, 8)
    ours = make(setting, 'baseline', batch_size=500)
    theirs = make(setting, 'baseline', batch_size=500, **other)
    assert not set(texts_of(ours)) & set(texts_of(theirs))


def test_splits_are_sampled_from_streams_of_their_own(monkeypatch):
    """Not only told apart afterwards: what is drawn, and how hard it is, differs from the start."""
    seen, sample = [], programs.sample

    def look(setting, nesting, length, rng):
        seen.append(tuple(length[:30]))
        return sample(setting, nesting, length, rng)

    monkeypatch.setattr(programs, 'sample', look)
    for split in programs.SPLITS:
        make(split=split, batch_size=100)
        make(split=split, batch_size=100, seed=6)
    assert len(set(seen)) == len(seen)


def test_a_batch_does_not_repeat_itself():
    """Samples are drawn in blocks; no two blocks are alike."""
    batch = make(setting_lib.Setting('addition', 3, 8), 'baseline', split='test', batch_size=3000)
    assert len(set(texts_of(batch))) == 3000


@pytest.mark.parametrize('curriculum', batches.CURRICULA)
@pytest.mark.parametrize('split', programs.SPLITS)
def test_all_programs_are_of_the_split(split, curriculum):
    batch = make(split=split, curriculum=curriculum, level=0, batch_size=700)
    nothing = np.zeros(0)
    samples = programs.Samples(batch.inputs.T.astype(np.uint8), nothing, nothing, nothing)
    assert set(programs.split_of(samples)) == {programs.SPLITS.index(split)}


def test_splits_share_no_program_even_where_there_are_few():
    found = [
        set(texts_of(make(setting_lib.Setting('addition', 1, 1), split=split, batch_size=3000)))
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


def test_mix_is_uniform_over_nesting_and_length():
    shares = shares_of(make(batch_size=24_000))
    np.testing.assert_allclose(shares, 1 / 12, atol=0.01)


def test_combined_mixes_a_fifth():
    shares = shares_of(make(curriculum='combined', level=6, batch_size=24_000))
    expected = np.full((3, 4), 0.2 / 12)
    expected[1, 2] += 0.8
    np.testing.assert_allclose(shares, expected, atol=0.01)


def test_memorization_has_a_level_for_each_length():
    setting = setting_lib.Setting('copy', 1, 30)
    assert batches.num_levels(setting, 'naive') == 30
    batch = make(setting, 'naive', level=11)
    assert set(batch.lengths[0].tolist()) == {12}


def test_a_split_without_such_programs_is_refused(monkeypatch):
    monkeypatch.setattr(programs, 'split_of', lambda samples: np.zeros(len(samples.text), int))
    with pytest.raises(
        ValueError, match=r"of the split 'test', got none in 16414 programs: .* too few"
    ):
        make(split='test')


def lengths_of(lengths):
    """A batch in which the length of a program tells which one it is."""
    ids = np.array([lengths], np.int32)
    return batches.Batch(ids, ids, 10 * ids, 0.5 * ids)


@pytest.mark.parametrize(
    ('num_devices', 'wanted'), [(1, [1, 2, 3, 4, 5, 6, 7, 8]), (2, [1, 3, 5, 7, 2, 4, 6, 8])]
)
def test_programs_are_sorted_by_length_in_the_share_of_each_device(num_devices, wanted):
    batch = lengths_of([5, 1, 4, 8, 2, 7, 3, 6])
    got = batches.sort_by_length(batch, num_devices)
    for array, expected in zip(got, lengths_of(wanted), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_an_evaluation_has_as_many_programs_as_are_wanted_and_begins_with_a_smaller_one():
    first = next(batches.held_out(SETTING, 'valid', 1000))
    for size, num_batches in ((5, 1), (256, 1), (300, 2)):
        parts = list(batches.held_out(SETTING, 'valid', size))
        present = np.concatenate([part.weights.any(axis=0) for part in parts])
        assert present.tolist() == [True] * size + [False] * (256 * num_batches - size)
        np.testing.assert_array_equal(parts[0].inputs, first.inputs)
    assert not set(texts_of(parts[0])) & set(texts_of(parts[1]))


def test_an_evaluation_is_of_the_greatest_difficulty_or_of_a_level():
    (full,) = batches.held_out(SETTING, 'test', 9)
    assert set(difficulties_of(full)) == {(3, 4)}
    for level in (0, 6):
        (part,) = batches.held_out(SETTING, 'test', 9, level)
        assert set(difficulties_of(part)) == {batches.difficulty(SETTING, level)}
    (valid,) = batches.held_out(SETTING, 'valid', 9)
    assert not set(texts_of(full)) & set(texts_of(valid))


@pytest.mark.parametrize(
    ('curriculum', 'split', 'level'),
    [('mix', 0, None), ('baseline', 1, None), ('baseline', 2, None), ('naive', 0, 3)],
)
def test_training_and_evaluations_without_programs_are_found(curriculum, split, level, monkeypatch):
    """Where a split has none, of any difficulty or of the length of a level."""
    split_of = programs.split_of

    def emptied(samples):
        splits = split_of(samples)
        gone = (splits == split) & (level is None or samples.lengths == level + 1)
        return np.where(gone, (split + 1) % 3, splits)

    setting = setting_lib.Setting('copy', 1, 4)
    batches.check_splits(setting, curriculum)
    monkeypatch.setattr(programs, 'split_of', emptied)
    with pytest.raises(ValueError, match=f'of the split {programs.SPLITS[split]!r}, got none'):
        batches.check_splits(setting, curriculum)


def test_a_level_that_cannot_be_validated_is_found(monkeypatch):
    split_of = programs.split_of
    monkeypatch.setattr(
        *(programs, 'split_of'),
        lambda samples: np.where(samples.lengths == 2, 0, split_of(samples)),
    )
    setting = setting_lib.Setting('copy', 1, 4)
    batches.check_splits(setting, 'mix')  # its evaluations are of 4 digits
    with pytest.raises(ValueError, match="of the split 'valid', got none"):
        batches.check_splits(setting, 'combined')


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
