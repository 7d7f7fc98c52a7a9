"""Figure 8: which panels there are, and what they show."""

from matplotlib import figure
import pytest

from launch.reports import accuracy_figure, seeds
from launch.runs import plots


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Returns the pictures that a test draws; they are not written, which takes its time."""
    monkeypatch.chdir(tmp_path)
    drawn = []
    monkeypatch.setattr(figure.Figure, 'savefig', lambda self, *_, **__: drawn.append(self))
    return drawn


def _run(core='rmc', task='program', nesting=2, length=5, dialect='sonnet', **facts):
    setting = {'task': task, 'nesting': nesting, 'length': length, 'dialect': dialect}
    return {'core': core, 'decoding': 'non_autoregressive', **setting, **facts}


def _draw(runs, output='unused.png', **curves):
    made = {name: [(10, 0.25), (20, 0.5 + 0.01 * index)] for index, name in enumerate(runs)}
    accuracy_figure.draw(runs, {**made, **curves}, output, 'updates')


def _panels(picture):
    """Returns the panels that can be seen, by their titles."""
    return {panel.get_title(loc='left'): panel for panel in picture.axes if panel.get_visible()}


def _curves(panel):
    """Returns colour, height at the end and whether it is dashed, of every curve."""
    lines = [line for line in panel.lines if line.get_color() != '0.45']
    return [(line.get_color(), line.get_ydata()[-1], line.is_dashed()) for line in lines]


def _published(picture):
    """Returns the heights of the horizontal lines of every panel."""
    panels = _panels(picture).values()
    return [
        [line.get_ydata()[0] for line in panel.lines if line.get_color() == '0.45']
        for panel in panels
    ]


def _legend(picture):
    return [text.get_text() for text in picture.legends[0].get_texts()]


def test_there_is_a_panel_for_each_task_and_a_row_for_each_difficulty(pictures):
    runs = {
        'a': _run(task='program'),
        'b': _run(task='copy', nesting=1, length=9),
        'c': _run(task='addition'),
        'd': _run(nesting=3, length=6),
        'e': _run(dialect='zaremba'),
        'f': _run(core='lstm', task='program'),
    }
    _draw(runs)
    panels = _panels(pictures[0])
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
    assert pictures[0].get_suptitle() == 'Accuracy per character over updates'


def test_a_model_has_one_colour_and_its_further_runs_have_dashes(pictures):
    runs = {
        'a': _run('lstm'),
        'b': _run('rmc', 'addition'),
        'c': _run('rmc'),
        'd': _run('rmc'),
        'e': _run('rmc', decoding='autoregressive'),
    }
    _draw(runs)
    lstm, rmc = (plots.CORES[core][1] for core in ('lstm', 'rmc'))
    addition, program = _panels(pictures[0]).values()
    assert _curves(addition) == [(rmc, 0.51, False)]
    assert _curves(program) == [
        (lstm, 0.5, False),
        (rmc, 0.52, False),
        (rmc, 0.53, True),
        (rmc, 0.54, True),  # the second model of this core
    ]
    assert sorted(_legend(pictures[0])) == sorted(
        [
            *('LSTM', 'Relational Memory Core', 'Relational Memory Core, autoregressive'),
            *('further run of a model', 'RMC (Santoro et al. 2018), Table 1'),
        ]
    )


def test_the_papers_accuracy_is_a_line_only_next_to_runs_of_the_same_training(pictures):
    runs = {
        'a': _run(),
        'b': _run(task='algebra'),
        'c': _run(nesting=3),
        'd': _run(task='copy', nesting=1),
    }
    _draw(runs)
    _draw({**runs, 'a': _run(curriculum='naive')})
    _draw({**runs, 'e': _run(curriculum='naive')})  # next to one without
    del runs['a']
    _draw(runs)
    assert [_published(picture) for picture in pictures] == [
        [[0.79], [], [], []],
        [[], [], [], []],
        [[], [], [], []],
        [[], [], []],
    ]
    assert _legend(pictures[-1]) == ['Relational Memory Core']


def test_a_single_point_has_a_marker(tmp_path):
    path, seen = tmp_path / 'programs.png', []
    with pytest.MonkeyPatch.context() as patch:
        save = figure.Figure.savefig
        patch.setattr(
            figure.Figure, 'savefig', lambda self, *a, **b: (seen.append(self), save(self, *a, **b))
        )
        _draw({'a': _run(), 'b': _run('lstm')}, path, b=[(30, 0.125)])
    (panel,) = _panels(seen[0]).values()
    markers = [line.get_marker() for line in panel.lines if line.get_color() != '0.45']
    assert markers == ['None', 'o']
    assert panel.get_xlim()[0] == 0
    assert 0 <= panel.get_ylim()[0] < panel.get_ylim()[1] <= 1
    assert path.stat().st_size > 1000


def test_a_mean_over_seeds_has_a_band_and_its_single_runs_as_thin_lines(pictures):
    singles = [[(10, 0.2), (20, 0.4)], [(10, 0.4), (20, 0.8)]]
    _draw({'a': _run(), 'b': _run('lstm')}, a=seeds.mean_curve(singles))
    (panel,) = _panels(pictures[0]).values()
    widths = [line.get_linewidth() for line in panel.lines if line.get_color() != '0.45']
    assert widths == [0.7, 0.7, 1.5, 1.5]
    (band,) = panel.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.2, 0.8))  # 0.3 ± 0.1, 0.6 ± 0.2
    assert plots.BAND in _legend(pictures[0])
