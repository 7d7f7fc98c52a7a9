import chex
import numpy as np
import pytest

from tasks import base
from tasks.text import windows

SIZES = [(2, 3, 9), (3, 4, 50), (5, 2, 53), (1, 7, 30)]  # batch_size, num_steps, tokens


class TestWindow:
    def test_the_example_of_the_documentation(self):
        tokens = np.arange(9)
        first, second = (windows.training_window(tokens, i, 2, 2) for i in range(2))
        np.testing.assert_array_equal(first.inputs, [[0, 4], [1, 5]])
        np.testing.assert_array_equal(first.targets, [[1, 5], [2, 6]])
        np.testing.assert_array_equal(second.inputs, [[2, 6], [3, 7]])
        np.testing.assert_array_equal(second.targets, [[3, 7], [4, 8]])
        assert windows.epoch(9, 2, 2) == (2, 0)

    @pytest.mark.parametrize(('batch_size', 'num_steps', 'num_tokens'), SIZES)
    def test_each_stream_is_a_part_of_the_text_read_once(self, batch_size, num_steps, num_tokens):
        tokens = np.arange(num_tokens, dtype=np.uint16) + 7
        num_windows, num_dropped = windows.epoch(num_tokens, batch_size, num_steps)
        batches = [
            windows.training_window(tokens, i, batch_size, num_steps) for i in range(num_windows)
        ]
        inputs = np.concatenate([batch.inputs for batch in batches])
        targets = np.concatenate([batch.targets for batch in batches])
        length = (num_tokens - 1) // batch_size
        for stream in range(batch_size):
            for step in range(num_windows * num_steps):
                assert inputs[step, stream] == 7 + stream * length + step
                assert targets[step, stream] == inputs[step, stream] + 1
        assert targets.size + num_dropped + 1 == num_tokens
        assert len(set(targets.ravel())) == targets.size

    def test_training_wraps_round_and_resets_the_state_there_only(self):
        tokens = np.random.default_rng(0).integers(0, 11, 50)
        num_windows = windows.epoch(50, 3, 4).num_windows
        assert num_windows == 4
        for index in range(10):
            batch = windows.training_window(tokens, index, 3, 4)
            again = windows.training_window(tokens, index % num_windows, 3, 4)
            chex.assert_trees_all_equal(batch, again)
            resets = np.zeros((4, 3), bool)
            resets[0] = index in (0, 4, 8)
            np.testing.assert_array_equal(batch.resets, resets)

    def test_types_and_weights(self):
        batch = windows.training_window(np.arange(50, dtype=np.uint16), 1, 3, 4)
        assert [type(leaf) for leaf in batch] == 4 * [np.ndarray]
        assert [leaf.dtype for leaf in batch] == [np.int32, np.int32, np.float32, bool]
        chex.assert_shape(batch, (4, 3))
        np.testing.assert_array_equal(batch.weights, 1)

    @pytest.mark.parametrize('streams', [slice(0, 2), slice(2, 3), slice(3, 5)])
    def test_a_process_reads_its_own_streams(self, streams):
        tokens = np.random.default_rng(1).integers(0, 11, 90)
        whole = windows.training_window(tokens, 2, 5, 4)
        part = windows.training_window(tokens, 2, 5, 4, streams)
        chex.assert_trees_all_equal(part, base.Batch(*(leaf[:, streams] for leaf in whole)))

    def test_nothing_is_read_but_these_streams(self):
        class Recorder:
            """Tokens that note where they are read."""

            def __init__(self, tokens):
                self.tokens, self.places = tokens, set()

            def __len__(self):
                return len(self.tokens)

            def __getitem__(self, places):
                assert isinstance(places, np.ndarray)
                self.places |= set(places.ravel().tolist())
                return self.tokens[places]

        recorder = Recorder(np.random.default_rng(3).integers(0, 11, 91))  # 5 streams of 18 words
        windows.training_window(recorder, 2, 5, 4, slice(2, 4), vocab_size=11)
        assert recorder.places == {*range(36 + 8, 36 + 13), *range(54 + 8, 54 + 13)}

    def test_far_windows_cost_no_more_memory_or_precision(self):
        tokens = np.random.default_rng(2).integers(0, 11, 50)
        far = windows.training_window(tokens, 4 * 10**15 + 3, 3, 4)
        chex.assert_trees_all_equal(far, windows.training_window(tokens, 3, 3, 4))

    def test_a_short_text_is_refused_with_the_numbers(self):
        message = 'it has 12 tokens, batch_size 3 x num_steps 4 need 13;'
        with pytest.raises(base.DataError, match=message):
            windows.training_window(np.arange(12), 0, 3, 4)
        assert windows.epoch(13, 3, 4) == (1, 0)

    def test_ids_of_another_vocabulary_are_refused(self):
        tokens = np.arange(50)
        windows.training_window(tokens, 3, 3, 4, vocab_size=50)
        with pytest.raises(base.DataError, match=r'word ids from 12 to 48 .* has 48 words'):
            windows.training_window(tokens, 3, 3, 4, vocab_size=48)
        with pytest.raises(base.DataError, match='word ids from -1'):
            windows.training_window(tokens - 13, 3, 3, 4, vocab_size=48)

    @pytest.mark.parametrize('sizes', [(0, 4), (3, 0), (-1, 4)])
    def test_sizes_must_be_positive(self, sizes):
        with pytest.raises(ValueError, match=f'>= 1: got {sizes[0]} and {sizes[1]}'):
            windows.training_window(np.arange(50), 0, *sizes)
        with pytest.raises(ValueError, match=f'>= 1: got {sizes[0]} and {sizes[1]}'):
            next(windows.evaluation_windows(np.arange(50), 0, *sizes))

    def test_the_index_must_not_be_negative(self):
        with pytest.raises(ValueError, match='got -1'):
            windows.training_window(np.arange(50), -1, 3, 4)


class TestEvaluationWindows:
    @pytest.mark.parametrize(
        ('batch_size', 'num_steps', 'num_tokens'), [*SIZES, (2, 3, 12), (4, 3, 2), (4, 3, 9)]
    )
    def test_each_word_is_a_target_once_behind_its_predecessor(
        self, batch_size, num_steps, num_tokens
    ):
        tokens = np.arange(num_tokens, dtype=np.uint16) + 1
        batches = list(windows.evaluation_windows(tokens, 0, batch_size, num_steps))
        chex.assert_shape([leaf for batch in batches for leaf in batch], (num_steps, batch_size))
        whole = base.Batch(*(np.concatenate(leaves) for leaves in zip(*batches, strict=True)))
        real = whole.weights.T == 1
        np.testing.assert_array_equal(whole.targets.T[real], tokens)  # stream after stream
        np.testing.assert_array_equal(whole.inputs.T[real], tokens - 1)
        for leaf in (whole.weights, whole.inputs, whole.targets):
            np.testing.assert_array_equal(leaf.T[~real], 0)
        assert not (np.diff(whole.weights, axis=0) > 0).any()  # padding is at the end of a stream
        resets = np.zeros(whole.resets.shape, bool)
        resets[0] = True
        np.testing.assert_array_equal(whole.resets, resets)

    def test_two_streams_by_hand(self):
        tokens = np.array([5, 6, 7, 8, 9])
        first, second = windows.evaluation_windows(tokens, 3, 2, 2)
        np.testing.assert_array_equal(first.inputs, [[3, 7], [5, 8]])
        np.testing.assert_array_equal(first.targets, [[5, 8], [6, 9]])
        np.testing.assert_array_equal(first.weights, [[1, 1], [1, 1]])
        np.testing.assert_array_equal(second.inputs, [[6, 3], [3, 3]])
        np.testing.assert_array_equal(second.targets, [[7, 3], [3, 3]])
        np.testing.assert_array_equal(second.weights, [[1, 0], [0, 0]])

    def test_types_are_those_of_training(self):
        batch = next(windows.evaluation_windows(np.arange(9, dtype=np.uint16), 0, 2, 3))
        assert [leaf.dtype for leaf in batch] == [np.int32, np.int32, np.float32, bool]

    def test_ids_of_another_vocabulary_are_refused(self):
        with pytest.raises(base.DataError, match='has 5 words'):
            next(windows.evaluation_windows(np.arange(6), 0, 2, 3, vocab_size=5))
