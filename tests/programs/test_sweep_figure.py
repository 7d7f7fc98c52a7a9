"""The picture of a sweep: which axis of the grid shows as what."""

from matplotlib import figure
import numpy as np
import pytest

from launch.runs import drawing, plots
from launch.sweeps import figure as figure_lib
from launch.sweeps import grid as grid_lib
from launch.sweeps import results as results_lib


@pytest.fixture
def plotted(monkeypatch):
    """Returns the pictures that a test plots."""
    seen = []
    save = figure.Figure.savefig
    monkeypatch.setattr(
        figure.Figure,
        'savefig',
        lambda self, *args, **kw: (seen.append(self), save(self, *args, **kw)),
    )
    return seen


def _plot(tmp_path, line, x='steps', target=None, higher=True, without=()):
    """Plots a grid; curve i has two values, after 60 i and 120 i seconds."""
    grid = grid_lib.parse(['lm', *line.split()])
    results = []
    for index, run in enumerate(grid.runs(tmp_path), 1):
        curve = [10, 20], [60.0 * index, 120.0 * index], [0.25 + index / 50, 0.5 + index / 50]
        if run.name in without:
            curve = [], [], []
        about = {'unit': 'frames', 'units_per_update': 3}
        facts = run, 'done', 'valid_accuracy', higher, *curve, 20, 9.0, about
        results.append(results_lib.Result(*facts))
    figure_lib.plot(grid, results, tmp_path / 'sweep.png', x, target)
    assert (tmp_path / 'sweep.png').stat().st_size > 5000


def _visible(picture):
    return [axes for axes in picture.axes if axes.get_visible()]


def _legend(picture):
    return [text.get_text() for text in picture.legends[0].get_texts()]


def _looks(axes):
    return [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines]


def test_three_axes_are_panels_colours_and_dashes(tmp_path, plotted):
    _plot(tmp_path, 'mem_slots=8,1,16,32 num_heads=1,8,16 gate=unit,memory')
    panels = _visible(plotted[0])
    titles = [panel.get_title(loc='left') for panel in panels]
    assert titles == [f'slots = {slots}' for slots in (1, 8, 16, 32)]
    assert [len(panel.lines) for panel in panels] == [6, 6, 6, 6]
    looks = _looks(panels[0])
    assert len(set(looks)) == 6
    assert len({(color, mark) for color, mark, _ in looks}) == 3
    assert len({mark for _, mark, _ in looks}) == 3
    assert looks == _looks(panels[3])
    values = ['heads = 1', 'heads = 8', 'heads = 16', 'gate = unit', 'gate = memory']
    assert _legend(plotted[0]) == values


def test_two_axes_are_panels_and_colours(tmp_path, plotted):
    _plot(tmp_path, 'slots=8,1 heads=1,8,16')
    assert [len(panel.lines) for panel in _visible(plotted[0])] == [3, 3]
    assert _legend(plotted[0]) == ['heads = 1', 'heads = 8', 'heads = 16']


def test_one_axis_is_colours_in_one_panel(tmp_path, plotted):
    _plot(tmp_path, 'core=rmc,lstm')
    (panel,) = _visible(plotted[0])
    assert panel.get_title(loc='left') == ''
    assert len({color for color, _, _ in _looks(panel)}) == 2
    assert _legend(plotted[0]) == ['Relational Memory Core', 'LSTM']
    colors = [plots.CORES[core][1] for core in ('rmc', 'lstm')]
    assert [color for color, _, _ in _looks(panel)] == colors


def test_axes_after_the_third_are_curves_that_look_alike(tmp_path, plotted):
    _plot(tmp_path, 'slots=8,1 heads=1,8 gate=unit,memory rate=1,2 size=1,2,3')
    (panel, _) = _visible(plotted[0])
    assert len(panel.lines) == 24
    assert len(set(_looks(panel))) == 4
    assert _legend(plotted[0])[-1] == 'one curve for each rate, size'


@pytest.mark.parametrize('count', [3, 10])
def test_colours_are_told_apart_by_their_lightness(count, tmp_path, plotted):
    _plot(tmp_path, f'rate={",".join(map(str, range(count)))}')
    rgb = np.array([color[:3] for color, _, _ in _looks(_visible(plotted[0])[0])])
    lightness = rgb @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0.3 / count).all()
    assert lightness.max() < 0.8  # on white


@pytest.mark.parametrize(
    ('x', 'label', 'places'),
    [
        ('minutes', 'minutes of training, without compiling', [2.0, 4.0]),
        ('hours', 'hours of training, without compiling', [2 / 60, 4 / 60]),
        ('steps', 'updates', [10, 20]),
        ('units', 'environment steps', [30, 60]),
    ],
)
def test_the_horizontal_axis_shows_what_was_asked_for(x, label, places, tmp_path, plotted):
    _plot(tmp_path, 'rate=0,1', x=x)
    line = _visible(plotted[0])[0].lines[1]
    assert list(line.get_xdata()) == pytest.approx(places)
    assert list(line.get_ydata()) == pytest.approx([0.29, 0.54])
    assert [panel.get_xlim()[0] for panel in _visible(plotted[0])] == [0]
    assert plotted[0].get_supxlabel().strip() == label
    assert plotted[0].get_supylabel() == 'validation accuracy'
    assert plotted[0].get_suptitle() == 'lm'


def test_the_legend_is_below_the_label_of_the_axis_and_the_picture_as_wide_as_text(
    tmp_path, plotted
):
    _plot(tmp_path, 'slots=1,2,3 heads=1,2,3,4 gate=unit,memory')
    _plot(tmp_path, 'core=rmc,lstm,dnc')
    for picture, width in zip(plotted, (drawing.WIDE, drawing.WIDTH), strict=True):
        assert picture.get_figwidth() == width
        panels, label = _visible(picture), picture._supxlabel.get_window_extent()
        legend = picture.legends[0].get_window_extent()
        first_line = label.y1 - 1.3 * 9 / 72 * picture.dpi
        assert legend.y1 < first_line
        assert label.y1 < min(panel.get_window_extent().y0 for panel in panels)


def test_a_configuration_without_values_keeps_its_colour_free(tmp_path, plotted):
    for without in ((), ('rate=1',)):
        _plot(tmp_path, 'rate=0,1,2', without=without)
    before, after = (_looks(_visible(picture)[0]) for picture in plotted)
    assert before == after
    assert len(_visible(plotted[1])[0].lines[1].get_xdata()) == 0


def test_a_target_is_a_line_in_every_panel(tmp_path, plotted):
    _plot(tmp_path, 'slots=1,2 heads=3,4', target=0.4)
    assert [panel.lines[0].get_ydata() for panel in _visible(plotted[0])] == [[0.4, 0.4]] * 2


@pytest.mark.parametrize(('higher', 'scale'), [(True, 'linear'), (False, 'log')])
def test_what_falls_has_a_logarithmic_scale(higher, scale, tmp_path, plotted):
    _plot(tmp_path, 'slots=1,2 heads=3,4', higher=higher)
    assert [panel.get_yscale() for panel in _visible(plotted[0])] == [scale, scale]


def test_panels_have_the_style_of_all_pictures(tmp_path, plotted, monkeypatch):
    seen = []
    style = drawing.set_style
    monkeypatch.setattr(drawing, 'set_style', lambda axes: (seen.append(axes), style(axes)))
    _plot(tmp_path, 'slots=1,2 heads=3,4')
    assert seen == _visible(plotted[0])


def test_seeds_are_a_mean_with_a_band_and_thin_lines_in_each_panel(tmp_path, plotted):
    _plot(tmp_path, 'heads=1,8 core=rmc,lstm seed=0,1')
    first, second = _visible(plotted[0])
    rmc, lstm = (plots.CORES[core][1] for core in ('rmc', 'lstm'))
    assert [line.get_color() for line in first.lines] == [rmc] * 3 + [lstm] * 3
    assert [line.get_linewidth() for line in second.lines] == [0.7, 0.7, 1.4] * 2
    # curves 1 and 2 of the grid begin at 0.27 and 0.29
    assert first.lines[2].get_ydata()[0] == pytest.approx(0.28)
    band = first.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.27, 0.54))
    assert _legend(plotted[0])[-1] == plots.BAND


def test_seeds_alone_are_one_curve(tmp_path, plotted):
    _plot(tmp_path, 'seed=0,1,2')
    (panel,) = _visible(plotted[0])
    assert [line.get_linewidth() for line in panel.lines] == [0.7, 0.7, 0.7, 1.4]
    assert panel.lines[3].get_ydata()[1] == pytest.approx(0.54)  # of 0.52, 0.54, 0.56


def test_an_axis_of_shares_has_no_impossible_values(tmp_path, plotted):
    _plot(tmp_path, f'rate={",".join(map(str, range(25)))}')  # up to 0.5 + 25 / 50 = 1
    (panel,) = _visible(plotted[0])
    low, high = panel.get_ylim()
    assert low >= 0
    assert high == 1
    assert not panel.lines[-1].get_clip_on()  # the curve that ends there has its whole width
