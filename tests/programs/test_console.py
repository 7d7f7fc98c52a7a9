"""What cannot be printed, as on a full disk or into a closed pipe, is lost and nothing else is."""

import subprocess
import sys
import textwrap

import pytest

from launch.runs import console

_PRINTS = """
    import dataclasses, sys
    from launch.runs import console, errors, flags, progress

    @dataclasses.dataclass(frozen=True)
    class Config:
        text: str = flags.flag('', 'a text', 'free')

    def run(config):
        with progress.Progress() as bar:
            for step in range(3000):
                bar.step(step, 3000, {'loss': 1.5})
                print('more', flush=True)
        console.warn('a warning')
        open(sys.argv[1], 'w').close()
        raise errors.RunError(errors.BAD_DATA, 'the end')

    sys.exit(flags.main(Config, run, 'toy', args=[]))
"""


@pytest.mark.parametrize('where', ['full', 'closed pipe'])
def test_a_program_that_cannot_print_goes_on_and_keeps_its_exit_code(tmp_path, where):
    command = [sys.executable, '-c', textwrap.dedent(_PRINTS), str(tmp_path / 'end')]
    if where == 'full':
        with open('/dev/full', 'w') as full:
            done = subprocess.run(command, stdout=full, stderr=full, check=False)
    else:
        command = [
            'bash',
            '-c',
            '"$@" 2>&1 | head -n 1 >/dev/null; exit $PIPESTATUS',
            '-',
            *command,
        ]
        done = subprocess.run(command, check=False)
    assert done.returncode == 65
    assert (tmp_path / 'end').exists()


def test_what_can_be_printed_is(capsys):
    before = sys.stdout, sys.stderr
    with console.lossy():
        print('result')
        console.warn('warning')
        assert not sys.stdout.isatty()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ('result\n', 'warning\n')
