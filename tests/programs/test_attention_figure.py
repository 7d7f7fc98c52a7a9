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


def _draw(num_steps, output='unused.png', label='vector', max_steps=40, **options):
    """Draws an example with one input, by default with three slots, and returns its trace."""
    subject, (trace,) = inspected.traced((num_steps,), **({'slots': 3, 'units': 2} | options))
    (example,) = subject.examples
    steps = tuple(step._replace(label=f'{label} {t}') for t, step in enumerate(example.steps))
    figure_lib.draw(example._replace(steps=steps), trace, output, 'a title', max_steps)
    return trace


def _texts(picture):
    return [text.get_text() for text in picture.axes[0].texts]


def _corners(picture):
    """Returns left, right, bottom and top of every matrix, in inches from the upper left corner."""
    return np.array([each.get_extent() for each in picture.axes[0].images])


@pytest.mark.parametrize(('num_steps', 'heads', 'slots'), [(5, 2, 3), (25, 4, 4), (8, 1, 16)])
def test_every_head_and_step_has_its_matrix_and_none_covers_another(num_steps, heads, slots, drawn):
    trace = _draw(num_steps, heads=heads, slots=slots)
    (picture,) = drawn
    axes = picture.axes[0]
    assert len(axes.images) == num_steps * heads
    for index, each in enumerate(axes.images):
        t, head = divmod(index, heads)
        np.testing.assert_array_equal(each.get_array(), trace.attention[-1][t, head])
        assert each.get_clim() == (0, 1)
    left, right, bottom, top = _corners(picture).T
    width, height = picture.get_size_inches()
    assert axes.get_xlim() == (0, width)
    assert axes.get_ylim() == (height, 0)
    assert min(left) > 0
    assert max(right) < width == 5.5
    assert max(bottom) < height
    np.testing.assert_allclose((right - left) / (slots + 1), (bottom - top) / slots)  # squares
    apart = (left[:, None] >= right) | (top[:, None] >= bottom)
    assert (apart | apart.T | np.eye(len(left), dtype=bool)).all()


def test_heads_queries_keys_and_steps_have_names_which_are_upright(drawn):
    _draw(25, heads=2, label='+')
    texts = _texts(drawn[0])
    assert all(text.get_rotation() == 0 for text in drawn[0].axes[0].texts)
    bands = texts.count('head 1')
    assert bands > 1
    assert texts.count('head 2') == texts.count('query') == texts.count('key') == bands
    assert [text for text in texts if text[0] == '+'] == [f'+ {t}' for t in range(25)]
    assert [texts.count(f'{slot}') for slot in (1, 2, 3, 4)] == [25 + 2 * bands] * 3 + [0]
    assert texts.count('in') == 25
    assert 'the input (in).\nFramed: m is shown.' in texts[-1]
    assert texts[-3] == 'a title'
    assert texts[-2] == '25 steps: sequence 1'


@pytest.mark.parametrize('slots', [9, 16])
def test_numbers_of_many_slots_do_not_touch(slots, drawn):
    _draw(8, slots=slots, heads=1)
    numbers = [text for text in drawn[0].axes[0].texts if text.get_fontsize() == 5.5]
    keys = [text for text in numbers if text.get_ha() == 'center']
    rows = {}
    for text in keys:
        rows.setdefault(round(text.get_position()[1], 3), []).append(text.get_position()[0])
    assert all(np.diff(sorted(row)).min() > 0.08 for row in rows.values())
    assert {'1', 'in'} < {text.get_text() for text in keys}


def test_marked_steps_have_a_frame_and_the_input_a_line(drawn):
    _draw(5, heads=2)
    axes = drawn[0].axes[0]
    thick = [patch.get_linewidth() > 1 for patch in axes.patches]
    assert thick == [index // 2 == 2 for index in range(10)]
    left, right, *_ = _corners(drawn[0]).T
    lines = [line.get_xdata()[0] for line in axes.lines]
    np.testing.assert_allclose(lines, left + (right - left) * 3 / 4)


def test_the_colour_bar_is_as_high_as_the_matrices(drawn):
    _draw(5, heads=2)
    (picture,) = drawn
    _, _, bottom, top = _corners(picture).T
    height = picture.get_size_inches()[1]
    box = picture.axes[1].get_position()
    assert (1 - box.y1) * height == pytest.approx(min(top))
    assert (1 - box.y0) * height == pytest.approx(max(bottom))
    assert picture.axes[1].get_ylabel() == 'attention'


def test_the_picture_is_wider_than_high_for_one_head(tmp_path):
    _draw(3, tmp_path / 'a.png', heads=1, label='$\\frac')  # no formula
    height, width, _ = image.imread(tmp_path / 'a.png').shape
    assert width > height > 100


def test_steps_that_are_not_shown_are_counted_with_the_flag_that_shows_them(drawn):
    _draw(30, max_steps=7)
    texts = _texts(drawn[0])
    assert len(drawn[0].axes[0].images) == 7 * 2
    assert '23 further steps are not shown; --picture_steps=30 shows all.' in texts[-1]
    assert texts[-2] == 'the first 7 of 30 steps: sequence 1'


def test_long_labels_are_cut_and_say_so(drawn):
    _draw(12, label='internationalization')
    labels = [text for text in _texts(drawn[0]) if text.startswith('int')]
    assert len(labels) == 12
    for label in labels:
        first, second = label.split('\n')
        assert second.endswith('…')
        assert len(second) <= len(first) < 12
