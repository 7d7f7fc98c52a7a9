"""The program `launch.attention`: what it writes, and how it complains."""

import json

from matplotlib import image
import pytest

from launch import attention
from launch.runs import errors
from launch.runs import flags as flags_lib
from tests.support import looked_at

pytestmark = pytest.mark.usefixtures('compile_quickly', 'compile_once')


def _main(*flags):
    return flags_lib.main(attention.Config, attention.run, 'attention', None, flags)


def _fails(capsys, code, *flags):
    """Returns the one line on stderr with which the program ends."""
    assert _main(*flags) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('attention: ')
    return line


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory, compile_quickly, compile_once):
    root = tmp_path_factory.mktemp('lm')
    looked_at.lm_run(root / 'run', root / 'cache')
    return root / 'run'


def test_it_writes_a_page_and_a_picture_beside_the_checkpoints(run_dir, capsys):
    assert _main(f'--run_dir={run_dir}', '--num_examples=2', '--max_steps=4') == 0
    page, picture = run_dir / 'attention.html', run_dir / 'attention.png'
    assert capsys.readouterr().out == f'page         {page}\npicture      {picture}\n'
    data = page.read_text().split('id="data">')[1].split('</script>')[0]
    assert [len(one['steps']) for one in json.loads(data)['examples']] == [4, 4]
    assert 'lm on text, after 1,200 updates' in page.read_text()
    assert image.imread(picture).ndim == 3


def test_output_says_where(run_dir, tmp_path, capsys):
    flags = f'--output={tmp_path / "look.html"}', '--num_examples=1', '--max_steps=2'
    assert _main(f'--run_dir={run_dir}', *flags) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['look.html', 'look.png']
    line = _fails(
        capsys, errors.CANNOT_SAVE, f'--run_dir={run_dir}', '--output=/nowhere/a.html', *flags[1:]
    )
    assert '--output=/nowhere/a.html: wanted a folder that is there, /nowhere is not' in line


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


def test_a_run_of_another_core_is_refused(tmp_path, capsys):
    looked_at.lm_run(tmp_path, core='lstm')
    line = _fails(capsys, errors.BAD_DATA, f'--run_dir={tmp_path}')
    assert 'wanted a run with --core=rmc, which has a memory, got lstm' in line
