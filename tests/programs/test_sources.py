"""Tables as files: every row can be traced."""

import csv
import pathlib

from launch.reports import sources

START = {
    'revision': '0123456789abcdef',
    'changed': False,
    'host': 'here',
    'devices': '1 x cpu',
    'date': '2026-01-02',
    'command': 'python -m launch.lm',
}


def test_a_run_is_traced_to_all_its_starts():
    again = {**START, 'changed': True, 'date': '2026-01-03', 'host': None}
    found = sources.trace(
        pathlib.Path('/runs/a'), {'config': {'seed': 7}, 'starts': [START, again]}
    )
    assert found == {
        'run_directory': '/runs/a',
        'seeds': '7',
        'revision': '0123456789ab; 0123456789ab (changed)',
        'host': 'here; not recorded',
        'devices': '1 x cpu',
        'date': '2026-01-02; 2026-01-03',
        'command': 'python -m launch.lm',
    }
    older = sources.trace(pathlib.Path('/runs/b'), {'config': {}})
    assert set(older.values()) == {'/runs/b', 'not recorded'}
    merged = sources.merge([found, older])
    assert merged['run_directory'] == '/runs/a; /runs/b'
    assert merged['seeds'] == '7; not recorded'


def test_files_hold_what_was_given(tmp_path):
    rows = [{'a': 1.25, 'b': None, 'c': 'x, "y"'}, {'a': 2, 'b': 3, 'c': ''}]
    sources.write_csv(tmp_path / 'table.csv', rows)
    with (tmp_path / 'table.csv').open(newline='') as file:
        read = list(csv.DictReader(file))
    assert read == [{'a': '1.25', 'b': '', 'c': 'x, "y"'}, {'a': '2', 'b': '3', 'c': ''}]
    text = sources.markdown([['run', 'n'], ['a|b', '3']])
    assert text == '| run | n |\n| --- | ---: |\n| a\\|b | 3 |\n'
    traces = [sources.trace(pathlib.Path('/runs/a'), {'config': {'seed': 7}, 'starts': [START]})]
    text = sources.markdown_traces(['a'], traces)
    assert '- a: `/runs/a`, seed 7, revision 0123456789ab, on here (1 x cpu), 2026-01-02:\n' in text
    assert '  `python -m launch.lm`\n' in text
