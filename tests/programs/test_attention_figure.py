"""The picture of attention over time: what it shows, and where."""

from matplotlib import figure, image
import numpy as np
import pytest

from launch.inspection import attention_figure as figure_lib
from tests.support import inspected


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Returns the pictures that a test draws; they are not written, which takes its time."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(figure.Figure, 'savefig', lambda self, *_, **__: seen.append(self))
    return seen


def _draw(num_steps, output='unused.png', heads=2, label='vector'):
    """Draws an example with three slots and one input, and returns its trace."""
    subject, (trace,) = inspected.traced((num_steps,), slots=3, units=2, heads=heads)
    (example,) = subject.examples
    steps = tuple(step._replace(label=f'{label} {t}') for t, step in enumerate(example.steps))
    figure_lib.draw(example._replace(steps=steps), trace, output, 'a title')
    return trace


def test_every_head_and_step_has_its_matrix_and_marked_steps_have_a_frame(drawn):
    trace = _draw(5)
    grid = [axes for axes in drawn[0].axes if axes.images]
    assert len(grid) == 2 * 5
    for index, axes in enumerate(grid):
        head, t = divmod(index, 5)
        np.testing.assert_array_equal(axes.images[0].get_array(), trace.attention[-1][t, head])
        assert axes.images[0].get_clim() == (0, 1)
        assert (axes.spines['left'].get_linewidth() > 2) == (t == 2)
        (line,) = axes.lines  # between the slots and the input
        assert list(line.get_xdata()) == [2.5, 2.5]
    assert [axes.get_title() for axes in grid[:5]] == [f'vector {t}' for t in range(5)]
    assert [grid[0].get_ylabel(), grid[5].get_ylabel()] == ['head 1', 'head 2']
    assert 'framed: m is shown' in drawn[0].texts[-1].get_text()


def test_the_picture_is_wider_than_high_for_one_head(tmp_path):
    _draw(3, tmp_path / 'a.png', heads=1, label='$\\frac')  # no formula
    height, width, _ = image.imread(tmp_path / 'a.png').shape
    assert width > height > 100


def test_of_long_sequences_and_many_heads_the_first_are_shown(drawn, monkeypatch):
    monkeypatch.setattr(figure_lib, 'MAX_STEPS', 4)
    monkeypatch.setattr(figure_lib, 'MAX_HEADS', 2)
    trace = _draw(5, heads=3)
    matrices = [axes.images[0].get_array() for axes in drawn[0].axes if axes.images]
    np.testing.assert_array_equal(matrices[3], trace.attention[-1][3, 0])
    np.testing.assert_array_equal(matrices[4], trace.attention[-1][0, 1])
    assert len(matrices) == 4 * 2
