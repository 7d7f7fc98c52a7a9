"""The program `launch.attention`: what it writes, and how it complains."""

import json

from matplotlib import image
import pytest

from launch import attention
from launch.inspection import tracing
from launch.runs import directory, errors
from launch.runs import flags as flags_lib
from tests.support import inspected

pytestmark = pytest.mark.usefixtures('compile_quickly')


def _main(*flags):
    return flags_lib.main(attention.Config, attention.run, 'attention', None, flags)


def _fails(capsys, code, *flags):
    """Returns the one line on stderr with which the program ends."""
    assert _main(*flags) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('attention: ')
    return line


def test_it_writes_a_page_and_a_picture_next_to_the_checkpoints(tmp_path, capsys):
    inspected.lm_run(tmp_path)
    run_dir = tmp_path / 'run'
    assert _main(f'--run_dir={run_dir}', '--num_examples=2', '--max_steps=3') == 0
    page, picture = run_dir / 'attention.html', run_dir / 'attention.png'
    assert capsys.readouterr().out == f'page         {page}\npicture      {picture}\n'
    data = page.read_text().split('id="data">')[1].split('</script>')[0]
    assert [len(one['steps']) for one in json.loads(data)['examples']] == [3, 3]
    assert 'Language model on text, after 1,200 updates' in page.read_text()
    assert image.imread(picture).ndim == 3


def test_where_nothing_can_be_written_into_the_run_the_page_is_written_here(
    tmp_path, monkeypatch, capsys
):
    inspected.lm_run(tmp_path)
    monkeypatch.setattr(attention.os, 'access', lambda path, mode: False)
    monkeypatch.chdir(tmp_path)
    before = sorted((tmp_path / 'run').rglob('*'))
    assert _main('--run_dir=run', '--num_examples=1', '--max_steps=3') == 0
    assert capsys.readouterr().out == 'page         attention.html\npicture      attention.png\n'
    assert sorted((tmp_path / 'run').rglob('*')) == before


def test_output_names_the_page(tmp_path, capsys, monkeypatch):
    subject, traces = inspected.traced((2,), slots=2, heads=1)
    requests = []

    def inspect(request):
        requests.append(request)
        return subject

    monkeypatch.setitem(attention.INSPECTORS, 'nth_farthest', inspect)
    monkeypatch.setattr(tracing, 'trace', lambda subject: traces)
    run_dir, out = tmp_path / 'run', tmp_path / 'out'
    run_dir.mkdir()
    out.mkdir()
    directory.describe(run_dir, 'nth_farthest', {'core': 'rmc'}, 1, 'sequences', 1, 'accuracy')
    flags = '--num_examples=3', '--max_steps=5', '--seed=6', '--prompt=a b'
    assert _main(f'--run_dir={run_dir}', f'--output={out / "a.html"}', *flags) == 0
    assert sorted(path.name for path in out.iterdir()) == ['a.html', 'a.png']
    assert requests == [tracing.Request(str(run_dir), 3, 5, 6, 'a b')]
    output = f'--output={tmp_path / "no" / "a.html"}'
    line = _fails(capsys, errors.CANNOT_SAVE, f'--run_dir={run_dir}', output)
    assert f'{output}: wanted an existing folder, got {tmp_path / "no"}' in line


@pytest.mark.parametrize(
    ('flags', 'code', 'message'),
    [
        ([], errors.USAGE, '--run_dir: wanted the directory of a trained run, got none'),
        (['--run_dir=/nowhere'], errors.BAD_DATA, 'wanted the directory of a trained run'),
        (['--run_dir=/nowhere', '--max_steps=0'], errors.USAGE, '--max_steps: wanted at least 1'),
        (['--run_dir=/nowhere', '--output=a.pdf'], errors.USAGE, 'a name that ends in .html'),
        (['--run_dir=/nowhere', '--steps=3'], errors.USAGE, 'no flag --steps'),
    ],
)
def test_a_mistake_gets_one_line(flags, code, message, capsys):
    assert message in _fails(capsys, code, *flags)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            ['os'],
            'or learning_to_execute or lm or mini_pacman or nth_farthest, got one of os',
        ),
        (['lm', {'core': 'lstm'}], 'wanted a run with --core=rmc, got lstm'),
        (None, 'wanted the directory of a trained run, it has no run.json'),
    ],
    ids=['program', 'core', 'missing'],
)
def test_a_run_that_cannot_be_inspected_gets_one_line(change, message, tmp_path, capsys):
    if change is not None:
        description = ['lm', {'core': 'rmc'}, 1, 'words', 1, 'valid_perplexity']
        directory.describe(tmp_path, *change, *description[len(change) :])
    assert message in _fails(capsys, errors.BAD_DATA, f'--run_dir={tmp_path}')
