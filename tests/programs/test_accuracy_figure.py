"""Figure 8: which panels there are, and what is drawn in them."""

from matplotlib import figure
import pytest

from launch.reports import accuracy_figure
from launch.runs import plots


@pytest.fixture
def picture(monkeypatch):
    """Returns what a test draws, as a function that gives the last picture."""
    seen = []
    make = figure.Figure
    monkeypatch.setattr(figure, 'Figure', lambda **facts: (seen.append(make(**facts)), seen[-1])[1])
    return lambda: seen[-1]


def _run(core='rmc', task='program', nesting=2, length=5, dialect='sonnet', **facts):
    setting = {'task': task, 'nesting': nesting, 'length': length, 'dialect': dialect}
    return {'core': core, 'decoding': 'non_autoregressive', **setting, **facts}


def _draw(runs, folder, **curves):
    made = {
        name: accuracy_figure.Curve([(10, 0.25), (20, 0.5 + 0.01 * index)], [])
        for index, name in enumerate(runs)
    }
    path = folder / 'programs.png'
    accuracy_figure.draw(runs, {**made, **curves}, path, 'updates')
    assert path.stat().st_size > 1000


def _panels(picture):
    """Returns the panels that are seen, by their titles."""
    return {panel.get_title(loc='left'): panel for panel in picture.axes if panel.get_visible()}


def _curves(panel):
    """Returns the heights at the end of the solid and dashed curves, by colour."""
    lines = [line for line in panel.lines if line.get_color() != '0.45']
    return [(line.get_color(), line.get_ydata()[-1], line.is_dashed()) for line in lines]


def _levels(panel):
    return [line.get_ydata()[0] for line in panel.lines if line.get_color() == '0.45']


def test_there_is_a_panel_for_each_task_and_a_row_for_each_difficulty(tmp_path, picture):
    runs = {
        'a': _run(task='program'),
        'b': _run(task='copy', nesting=1, length=9),
        'c': _run(task='addition'),
        'd': _run(nesting=3, length=6),
        'e': _run(dialect='zaremba'),
        'f': _run(core='lstm', task='program'),
    }
    _draw(runs, tmp_path)
    panels = _panels(picture())
    assert list(panels) == [
        'addition, nesting 2, length 5',
        'program, nesting 2, length 5',
        'program, nesting 2, length 5, zaremba',
        'program, nesting 3, length 6',
        'copy, length 9',
    ]
    rows = [panel.get_subplotspec().rowspan.start for panel in panels.values()]
    assert rows == [0, 0, 1, 2, 3]
    heights = [[height for _, height, _ in _curves(panel)] for panel in panels.values()]
    assert heights == [[0.52], [0.5, 0.55], [0.54], [0.53], [0.51]]
    assert picture().get_suptitle() == 'Accuracy per character over updates'


def test_a_model_has_one_colour_and_its_second_run_dashes(tmp_path, picture):
    runs = {
        'a': _run('lstm'),
        'b': _run('rmc', 'addition'),
        'c': _run('rmc'),
        'd': _run('rmc'),
        'e': _run('rmc', decoding='autoregressive'),
    }
    _draw(runs, tmp_path)
    lstm, rmc, other = plots.PALETTE[:3]
    addition, program = _panels(picture()).values()
    assert _curves(addition) == [(rmc, 0.51, False)]
    assert _curves(program) == [
        (lstm, 0.5, False),
        (rmc, 0.52, False),
        (rmc, 0.53, True),
        (other, 0.54, False),
    ]
    names = [text.get_text() for text in picture().legends[0].get_texts()]
    assert names == [
        *('lstm', 'rmc', 'rmc, autoregressive'),
        *('second run of a model', 'RMC, Santoro et al. 2018, Table 1'),
    ]


def test_a_line_is_at_what_the_paper_reached_on_the_same_programs_only(tmp_path, picture):
    runs = {
        'a': _run(),
        'b': _run(task='algebra'),
        'c': _run(nesting=3),
        'd': _run(task='copy', nesting=1),
    }
    _draw(runs, tmp_path)
    assert [_levels(panel) for panel in _panels(picture()).values()] == [[0.79], [], [], []]
    del runs['a']
    _draw(runs, tmp_path)
    assert [_levels(panel) for panel in _panels(picture()).values()] == [[], [], []]
    assert [text.get_text() for text in picture().legends[0].get_texts()] == ['rmc']


def test_several_networks_are_a_band_and_one_point_is_marked(tmp_path, picture):
    band = accuracy_figure.Curve([(10, 0.5), (20, 0.6)], [(0.25, 0.5), (0.5, 0.75)])
    alone = accuracy_figure.Curve([(30, 0.125)], [])
    runs = {'a': _run(), 'b': _run('lstm')}
    _draw(runs, tmp_path, a=band, b=alone)
    (panel,) = _panels(picture()).values()
    (shaded,) = panel.collections
    assert shaded.get_paths()[0].get_extents().y0 == 0.25
    assert shaded.get_paths()[0].get_extents().y1 == 0.75
    markers = [line.get_marker() for line in panel.lines if len(line.get_xdata()) == 1]
    assert markers == ['o']
    assert panel.get_xlim()[0] == 0
    assert panel.get_ylim()[1] == 1.01
