"""The picture of attention over time: what is drawn where."""

from matplotlib import figure, image
import numpy as np
import pytest

from launch.inspection import figure as figure_lib
from launch.inspection import subjects
from tests.support import looked_at


@pytest.fixture
def drawn(monkeypatch):
    """Returns the pictures that a test draws; they are not written, which takes its time."""
    seen = []
    monkeypatch.setattr(figure.Figure, 'savefig', lambda self, *_, **__: seen.append(self))
    return seen


def _example(num_steps, heads=2, label='vector'):
    """Returns an example and a look of three slots and one input, all weights different."""
    example = looked_at.example('one', np.zeros((num_steps, 7), np.float32))
    steps = tuple(step._replace(label=f'{label} {t}') for t, step in enumerate(example.steps))
    weights = np.random.default_rng(0).dirichlet(np.ones(4), (num_steps, heads, 3))
    memory = np.zeros((num_steps, 3, 2))
    return example._replace(steps=steps), subjects.Look((weights,), memory, memory, {})


def test_every_head_and_step_has_its_matrix_and_marked_steps_a_frame(drawn, tmp_path):
    example, look = _example(5)
    figure_lib.draw(example, look, tmp_path / 'a.png', 'a title')
    grid = [axes for axes in drawn[0].axes if axes.images]
    assert len(grid) == 2 * 5
    for index, axes in enumerate(grid):
        head, t = divmod(index, 5)
        np.testing.assert_array_equal(axes.images[0].get_array(), look.attention[0][t, head])
        assert axes.images[0].get_clim() == (0, 1)
        assert (axes.spines['left'].get_linewidth() > 2) == (t == 2)
    assert [axes.get_title() for axes in grid[:5]] == [f'vector {t}' for t in range(5)]
    assert [grid[0].get_ylabel(), grid[5].get_ylabel()] == ['head 1', 'head 2']
    assert 'framed: m is shown' in drawn[0].texts[-1].get_text()


def test_the_picture_is_wider_than_high_for_one_head(tmp_path):
    example, look = _example(4, heads=1)
    figure_lib.draw(example, look, tmp_path / 'a.png', 'a title')
    height, width, _ = image.imread(tmp_path / 'a.png').shape
    assert width > height > 100


def test_a_line_parts_the_slots_from_the_input(drawn, tmp_path):
    example, look = _example(2)
    figure_lib.draw(example, look, tmp_path / 'a.png', 'a title')
    (line,) = drawn[0].axes[0].lines
    assert list(line.get_xdata()) == [2.5, 2.5]


def test_of_a_long_sequence_with_many_heads_the_first_are_drawn(drawn, tmp_path):
    example, look = _example(18, heads=9, label='$\\frac')  # no formula
    figure_lib.draw(example, look, tmp_path / 'a.png', 'a title')
    assert len([axes for axes in drawn[0].axes if axes.images]) == 16 * 8
