"""Pictures of curves, bars and points: what they show, and where."""

import itertools

from matplotlib import image
import numpy as np
import pytest

from launch.runs import plots

FIRST, SECOND = (0xC8, 0x50, 0x1E), (0x2F, 0x6D, 0xB3)
BACKGROUND = (0xB4, 0xB4, 0xB4)


def _has_color(picture, color):
    """Returns whether a pixel of a picture [height, width, 4] has this red, green, blue."""
    return bool((np.abs(picture[..., :3] - np.array(color) / 255).max(axis=-1) < 0.02).any())


def _has_dashed_line(picture):
    """Returns whether a row of a picture [height, width, 4] is to a good part middle grey."""
    grey = np.abs(picture[..., :3] - 0.45).max(axis=-1) < 0.05
    return bool(grey.mean(axis=1).max() > 0.3)


@pytest.fixture
def drawn(monkeypatch):
    """Returns the axes of the pictures that a test draws."""
    seen = []
    save = plots._save
    monkeypatch.setattr(
        plots,
        '_save',
        lambda picture, axes, *rest: (seen.append(axes), save(picture, axes, *rest)),
    )
    return seen


def _labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_picture_shows_curves_and_baselines(tmp_path):
    train = [(10, 900.0), (20, 400.0), (40, 200.0)]
    curves = {'training': train, 'validation': [(20, 700.0), (40, 300.0)]}
    plots.plot_curves(
        curves, tmp_path / 'a.png', 'A title', baselines={'bigram': 250.0}, background=['training']
    )
    plots.plot_curves({'training': train}, tmp_path / 'b.png', 'A title', background=['training'])
    with_both, with_one = (image.imread(tmp_path / name) for name in ('a.png', 'b.png'))
    assert with_both.shape[0] > 600
    assert with_both.shape[1] > 1000
    assert [_has_color(with_both, color) for color in (BACKGROUND, FIRST)] == [True, True]
    assert [_has_color(with_one, color) for color in (BACKGROUND, FIRST)] == [True, False]
    assert _has_dashed_line(with_both)
    assert not _has_dashed_line(with_one)


def test_a_curve_is_named_with_its_last_height_and_one_without_points_is_not(tmp_path, drawn):
    curves = {'a': [(1, 7.0), (4, 5.25)], 'b': []}
    plots.plot_curves(curves, tmp_path / 'a.png', 'A title', x_label='words seen')
    assert drawn[0].get_legend_handles_labels()[1] == ['a (5.25 at the end)']
    assert drawn[0].get_xlabel() == 'words seen'
    assert drawn[0].get_title(loc='left') == 'A title'


def test_a_dollar_in_a_name_begins_no_formula(tmp_path, drawn):
    name = r'$\no$ formula'
    output = tmp_path / 'a.png'
    plots.plot_curves({name: [(1, 2.0)]}, output, name, name, name, {name: 3.0})
    plots.plot_bars({name: [1.0]}, [name], output, name, name, name)
    plots.plot_points({name: [(1, 2.0)]}, output, name, name, name)
    assert [axes.get_title('left') for axes in drawn] == [name] * 3
    assert output.stat().st_size > 1000


def test_points_are_marked_where_they_are_few(tmp_path, drawn):
    curves = {'few': [(i, 1.0) for i in range(40)], 'many': [(i, 2.0) for i in range(41)]}
    plots.plot_curves(
        {**curves, 'behind': curves['few']}, tmp_path / 'a.png', 'A', background=['behind']
    )
    few, many, behind = drawn[0].lines
    assert [line.get_marker() for line in (few, many, behind)] == ['o', 'None', 'None']
    assert few.get_linewidth() > many.get_linewidth()
    assert behind.get_zorder() < few.get_zorder()
    assert drawn[0].get_legend_handles_labels()[1][2] == 'behind'  # its end is of one batch


def test_a_series_keeps_its_colour_whatever_lacks_points(tmp_path, drawn):
    for points in ([(1, 5.0)], []):
        plots.plot_curves({'a': points, 'b': [(1, 2.0)]}, tmp_path / 'a.png', 'A')
    assert [axes.lines[-1].get_color() for axes in drawn] == [plots.PALETTE[1]] * 2


@pytest.mark.parametrize(
    ('heights', 'wanted'),
    [
        ((70, 2500), ['100', '200', '500', '1,000', '2,000']),
        ((140, 850), ['150', '200', '300', '500', '700']),
        ((80, 160), ['80', '100', '120']),
    ],
)
def test_a_logarithmic_axis_has_several_ticks_in_plain_digits(tmp_path, drawn, heights, wanted):
    plots.plot_curves({'a': list(enumerate(heights))}, tmp_path / 'a.png', 'A')
    assert drawn[0].get_yscale() == 'log'
    assert set(wanted) <= set(_labels(drawn[0].yaxis))


def test_a_picture_without_any_point_can_be_drawn(tmp_path):
    plots.plot_curves({}, tmp_path / 'a.png', 'A title')
    plots.plot_curves({'a': []}, tmp_path / 'b.png', 'A', log_scale=False)
    assert (tmp_path / 'b.png').stat().st_size > 1000


def test_names_baselines_and_a_long_title_make_no_picture_wider(tmp_path, drawn):
    baselines = {'a uniformly random policy': 3.0, "the paper's RMC": 4.0}
    for count in (2, 9):
        curves = {f'run {index}': [(0, index + 1.0), (1, 1.0)] for index in range(count)}
        plots.plot_curves(
            curves, tmp_path / f'{count}.png', 'long ' * count**2, baselines=baselines
        )
    shapes = [image.imread(tmp_path / f'{count}.png').shape for count in (2, 9)]
    assert shapes[1][1] == pytest.approx(shapes[0][1], abs=5)
    assert shapes[1][0] > shapes[0][0] + 200
    names = drawn[0].get_legend_handles_labels()[1]
    assert names[2:] == ['a uniformly random policy (3)', "the paper's RMC (4)"]
    first, second = drawn[0].lines[2:]
    assert first._dash_pattern != second._dash_pattern
    for axes in drawn:
        assert axes.get_legend().get_window_extent().y1 < axes.xaxis.label.get_window_extent().y0


def test_bars_have_their_heights_written_and_nothing_where_there_is_none(tmp_path, drawn):
    series = {'valid': [9.0, 700.0, None], 'test': [8.5, 600.0, 30.0]}
    plots.plot_bars(series, ['> 10', '< 10', 'all'], tmp_path / 'a.png', 'A title', 'times')
    axes = drawn[0]
    assert [text.get_text() for text in axes.texts] == ['9', '700', 'none', '8.5', '600', '30']
    assert [bar.get_height() for bar in axes.patches] == [9.0, 700.0, 0.0, 8.5, 600.0, 30.0]
    assert _labels(axes.xaxis) == ['> 10', '< 10', 'all']
    low, high = axes.get_ylim()
    assert low < 8.5 < 700 < high
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    edges.sort()
    assert all(left[1] < right[0] for left, right in itertools.pairwise(edges))
    picture = image.imread(tmp_path / 'a.png')
    assert [_has_color(picture, color) for color in (FIRST, SECOND)] == [True, True]


@pytest.mark.parametrize('count', [1, 2, 3, 5])
def test_the_heights_of_bars_do_not_touch_one_another(count, tmp_path, drawn):
    series = {f'a {i}': [61_234.5, 98.76, 7_654.3, 43_210.0] for i in range(count)}
    plots.plot_bars(series, ['> 10,000', '1,000', '> 100', 'all'], tmp_path / 'a.png', 'A', 'times')
    boxes = [text.get_window_extent() for text in drawn[0].texts]
    assert [text.get_text() for text in drawn[0].texts[:4]] == ['61.2 k', '98.8', '7,654', '43.2 k']
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert max(box.y1 for box in boxes) < drawn[0].get_window_extent().y1


@pytest.mark.parametrize(
    ('last', 'wanted'),
    [(4000, ['0', '1,000', '4,000']), (1.28e6, ['0', '0.5 M', '1 M']), (5e8, ['0', '200 M'])],
)
def test_the_numbers_of_steps_are_few_short_and_apart(last, wanted, tmp_path, drawn):
    plots.plot_curves({'a': [(0, 2.0), (last, 1.0)]}, tmp_path / 'a.png', 'A')
    assert set(wanted) <= set(_labels(drawn[0].xaxis))
    boxes = [label.get_window_extent() for label in drawn[0].get_xticklabels()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_bars_of_nothing_can_be_drawn(tmp_path):
    plots.plot_bars({'a': [None]}, ['all'], tmp_path / 'a.png', 'A title', 'times')
    assert (tmp_path / 'a.png').stat().st_size > 1000


def test_points_have_a_tick_each_and_a_line_at_zero(tmp_path, drawn):
    series = {'a': [(25, 6.15), (500, 0.125)], 'b': [(25, 3.0), (50, -1.0)]}
    plots.plot_points(series, tmp_path / 'a.png', 'A title', 'words', 'increase')
    assert _labels(drawn[0].xaxis) == ['25', '50', '500']
    assert list(drawn[0].texts) == []
    assert _has_dashed_line(image.imread(tmp_path / 'a.png'))
    plots.plot_points({'a': series['a']}, tmp_path / 'b.png', 'A title', 'words', 'increase')
    assert [text.get_text() for text in drawn[1].texts] == ['6.15', '0.12']


def test_a_mean_has_a_band_and_thin_lines_of_the_single_runs(tmp_path, drawn):
    singles = [[(1, 2.0), (2, 4.0)], [(1, 4.0), (2, 8.0)]]
    mean = plots.Curve([(1, 3.0), (2, 6.0)], [1.0, 2.0], singles)
    curves = {'a': mean, 'b': [(1, 1.0), (2, 1.0)]}
    styles = {'a': {'color': '#2f6db3', 'linestyle': '-'}}
    plots.plot_curves(curves, tmp_path / 'a.png', 'A', log_scale=False, styles=styles)
    axes = drawn[0]
    assert [line.get_linewidth() for line in axes.lines] == [0.7, 0.7, 1.6, 1.6]
    assert [line.get_color() for line in axes.lines] == ['#2f6db3'] * 3 + [plots.PALETTE[1]]
    (band,) = axes.collections
    assert {tuple(point) for point in band.get_paths()[0].vertices} == {
        (1, 2),
        (1, 4),
        (2, 4),
        (2, 8),
    }
    names = axes.get_legend_handles_labels()[1]
    assert names == ['a (6.0 ± 2.0 at the end, n = 2)', 'b (1 at the end)']
    assert axes.get_legend().get_title().get_text() == plots.BAND


def test_a_baseline_far_from_the_curves_does_not_flatten_them(tmp_path, drawn):
    baselines = {'random': 6.0, 'far': 677.0, 'near': 100.0, 'low': -200.0}
    curves = {'a': [(0, 5.0), (1, 39.0)]}
    plots.plot_curves(curves, tmp_path / 'a.png', 'A', baselines=baselines, log_scale=False)
    plots.plot_curves(curves, tmp_path / 'b.png', 'A', baselines={'far': 677.0})
    plots.plot_curves({'a': [(0, 5.0)]}, tmp_path / 'c.png', 'A', 'x', 'y', {'far': 677.0}, False)
    linear, logarithmic, flat = drawn
    assert flat.get_ylim()[1] > 677
    assert linear.get_ylim()[1] < 120
    names = linear.get_legend_handles_labels()[1][1:]
    wanted = ['random (6)', 'far (677, above the axis)', 'near (100)', 'low (-200, below the axis)']
    assert names == wanted
    assert logarithmic.get_ylim()[1] > 677


def test_an_axis_of_shares_ends_at_0_and_1_and_others_do_not(tmp_path, drawn):
    for low, high in ((0.0, 1.0), (0.03, 0.97), (0.01, 5.0), (-0.5, 0.5)):
        plots.plot_curves({'a': [(0, low), (1, high)]}, tmp_path / 'a.png', 'A', log_scale=False)
    shares, near, positive, signed = (axes.get_ylim() for axes in drawn)
    assert shares == near == (0, 1)
    assert not any(line.get_clip_on() for axes in drawn for line in axes.lines)
    assert positive[0] == 0
    assert positive[1] > 5
    assert signed[0] < -0.5
    assert 0.5 < signed[1] < 1


def test_a_legend_covers_no_curve(tmp_path, drawn):
    plots.plot_curves({'a': [(0, 1.0), (1, 2.0)]}, tmp_path / 'a.png', 'A')
    axes = drawn[0]
    assert axes.get_legend().get_window_extent().y1 < axes.get_window_extent().y0


def test_the_format_is_that_of_the_files_name_and_equal_pictures_are_equal_files(tmp_path):
    for kind, start in (('png', b'\x89PNG'), ('pdf', b'%PDF'), ('svg', b'<?xml')):
        for name in 'ab':
            plots.plot_curves({'a': [(1, 2.0), (2, 3.0)]}, tmp_path / f'{name}.{kind}', 'A')
        first, second = ((tmp_path / f'{name}.{kind}').read_bytes() for name in 'ab')
        assert first.startswith(start)
        assert first == second


def test_bars_of_means_have_error_bars_and_the_colours_of_their_cores(tmp_path, drawn):
    styles = {'a': {'color': '#123456', 'linestyle': '--'}}
    heights, errors = {'a': [9.0, None], 'b': [8.0, 7.0]}, {'a': [2.0, 0.0], 'b': [0.0, 0.0]}
    labels = 'A', 'times', 'perplexity'
    plots.plot_bars(heights, ['x', 'all'], tmp_path / 'a.png', *labels, errors, styles)
    (bars,) = (each for each in drawn[0].containers if type(each).__name__ == 'ErrorbarContainer')
    segment = bars.lines[2][0].get_segments()[0]
    assert [y for _, y in segment] == [7.0, 11.0]
    assert drawn[0].patches[0].get_facecolor()[:3] == (0x12 / 255, 0x34 / 255, 0x56 / 255)
