"""A program for the tests of `launch.sweep`: starts at once, trains nothing, ends as `act` sets it.

At update t of size s its accuracy is 1 - 1 / (1 + s t), and an update takes 6 seconds by its own
account. Every start adds a line to `starts.txt`.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import time

from launch.runs import starting


def _flag(default, on_resume):
    return dataclasses.field(default=default, metadata={'help': 'a toy', 'on_resume': on_resume})


ACTS = ('train', 'wait', 'interrupt', 'fail', 'die', 'say_nothing')


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains nothing."""

    run_dir: str | None = _flag(None, 'free')
    preset: str = _flag('small', 'free')
    num_steps: int = _flag(3, 'warn')
    size: int = _flag(1, 'fixed')
    heads: int = _flag(1, 'fixed')
    rate: float = _flag(0.5, 'warn')
    text: str = _flag('', 'fixed')
    log_every: int = _flag(1, 'free')
    act: str = _flag('train', 'free')

    def __post_init__(self) -> None:
        if self.size % self.heads:
            raise ValueError(f'--size: wanted a multiple of --heads={self.heads}, got {self.size}')
        if self.act not in ACTS:
            raise ValueError(f'--act: wanted one of {", ".join(ACTS)}, got {self.act}')


PRESETS = {'small': Config(), 'large': Config(preset='large', size=9)}


def _train(run_dir, flags):
    size = int(flags.get('size', 1))
    path = run_dir / 'metrics.jsonl'
    first = len(path.read_text().splitlines()) if path.exists() else 0
    print(f'resumes from update {first}')
    with path.open('a') as file:
        for step in range(first + 1, int(flags.get('num_steps', 3)) + 1):
            row = {'step': step, 'seconds': 6.0, 'accuracy': 1 - 1 / (1 + size * step)}
            file.write(json.dumps(row) + '\n')
    about = {
        'program': 'toy_program',
        'config': flags,
        'parameters': 0,
        'unit': 'toys',
        'units_per_update': 1,
        'measure': 'accuracy',
        'higher_is_better': True,
    }
    (run_dir / 'run.json').write_text(json.dumps(about))


def _wait(run_dir):
    """Waits for SIGTERM, as a run in the middle of an update does, and then ends resumable."""
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    (run_dir / 'waits').touch()
    while not received:
        time.sleep(0.01)
    (run_dir / 'signals.txt').write_text(str(len(received)))
    print('toy_program: stopped by SIGTERM', file=sys.stderr)
    sys.exit(75)


def main(words):
    flags = dict(word.removeprefix('--').split('=', 1) for word in words)
    run_dir = pathlib.Path(flags['run_dir'])
    share = os.environ.get('XLA_CLIENT_MEM_FRACTION')
    session = 'own' if os.getsid(0) == os.getpid() else "another's"
    with (run_dir / 'starts.txt').open('a') as file:
        file.write(f'{share} {flags.get("text")} {session}\n')
    act = flags.get('act', 'train')
    again = len((run_dir / 'starts.txt').read_text().splitlines()) > 1
    if act == 'say_nothing':
        sys.exit(70)
    if act == 'fail':
        print('a line on stdout')
        print('toy_program: the toy broke', file=sys.stderr)
        sys.exit(65)
    if act == 'die':
        os.kill(os.getpid(), signal.SIGKILL)
    if act == 'interrupt' and not again:
        while not list(run_dir.parent.glob('*act=wait*/waits')):
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGTERM)
    if act in ('wait', 'interrupt') and not again:
        _wait(run_dir)
    _train(run_dir, flags)


if __name__ == '__main__':
    starting.prepare('toy_program')
    main(sys.argv[1:])
