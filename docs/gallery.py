"""Makes the pictures of the gallery, and `docs/gallery.md`, the page that shows them.

  python docs/gallery.py                    all of them, from the root of a checkout
  python docs/gallery.py --only=sweep       those of one entry
  python docs/gallery.py --page             writes the page alone

The page is written from `ENTRIES`, whose commands are run here, so page and pictures cannot differ.
Runs lie in runs/gallery; a run that is there is resumed, and one that is finished only evaluated
and drawn again. Delete the folder to make everything from nothing; only then the times on the page
are measured again. A still of an interactive page needs a Chromium; without one the old one stays.
"""

import argparse
from collections.abc import Sequence
import glob
import io
import json
import os
import pathlib
import resource
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs/gallery.md'
PICTURES = ROOT / 'docs/gallery'
SECONDS = PICTURES / 'seconds.json'  # of CPU time, by the name of the entry
RUNS = 'runs/gallery'
_BROWSERS = ('chromium', 'chromium-browser', 'chromium-headless-shell', 'google-chrome')
_NUM_COLORS = 128  # of a picture in the docs


class Picture(NamedTuple):
    """A picture, and what the page says about it."""

    name: str  # of the file in docs/gallery
    source: str  # where the commands write it, below runs/gallery
    caption: str  # a paragraph in Markdown
    step: int = 0  # of a still of an interactive page, from 1


class Entry(NamedTuple):
    """Some pictures and the commands that make them."""

    name: str  # also the folder of its runs
    title: str
    commands: Sequence[str]
    pictures: Sequence[Picture]
    links: str = ''  # a paragraph: where such pictures of longer runs are


ENTRIES = (
    Entry(
        'farthest',
        'One run, and what its memory attends to',
        [
            'launch.nth_farthest --preset=auxiliary --num_steps=2500 --evaluate_every=125 '
            '--final_evaluation_size=10000 --run_dir=runs/gallery/farthest/rmc',
            'launch.attention --run_dir=runs/gallery/farthest/rmc',
        ],
        [
            Picture(
                'farthest.png',
                'farthest/rmc/accuracy.png',
                'Every training program draws its measure over the updates: `accuracy.png` of Nth '
                'Farthest, 8 vectors of 16 dimensions, with auxiliary losses.',
            ),
            Picture(
                'attention.png',
                'farthest/rmc/attention.png',
                "`attention.png`, the paper's Figure 3: which slot attends to which at every step, "
                'see [looking inside](looking_inside.md).',
            ),
            Picture(
                'attention.html',
                'farthest/rmc/attention.html',
                '`attention.html`, the interactive page of the same run, at the last step: '
                '[open it](gallery/attention.html#8).',
                step=8,
            ),
        ],
        'Longer runs: [from answers alone](nth_farthest.md#from-answers-alone) and '
        '[with auxiliary losses](nth_farthest.md#with-auxiliary-losses).',
    ),
    Entry(
        'cores',
        'Cores compared, with seeds',
        [
            'launch.sweep nth_farthest core=rmc,lstm seed=0,1,2 num_steps=2000 evaluate_every=100 '
            'final_evaluation_size=10000 --sweep_dir=runs/gallery/cores',
            'launch.report runs/gallery/cores/core=* --output=runs/gallery/cores/report',
        ],
        [
            Picture(
                'cores.png',
                'cores/report/accuracy.png',
                '`launch.report`: means of three seeds, bands of their standard errors, and the '
                'single runs. The [tables](comparing.md) are written next to it.',
            ),
        ],
        'Longer runs: [Mini PacMan and BoxWorld](environments_and_agents.md#results), '
        '[WikiText-2 and Project Gutenberg](language_modelling.md).',
    ),
    Entry(
        'sweep',
        'A sweep',
        [
            'launch.sweep learning_to_execute task=reverse nesting=1 length=5 mem_slots=1,4 '
            'num_heads=1,4 total_units=128 num_steps=1000 evaluate_every=50 '
            'final_evaluation_size=2000 --sweep_dir=runs/gallery/sweep',
        ],
        [
            Picture(
                'sweep.png',
                'sweep/sweep.png',
                "`launch.sweep`, in the style of the paper's Figure 4: panels for the first flag "
                'of several values, colours for the second, dashes for the third.',
            ),
        ],
        'A longer one: [slots, heads and gates](nth_farthest.md#slots-heads-and-gates).',
    ),
    Entry(
        'strings',
        'Learning to Execute',
        [
            'launch.sweep learning_to_execute task=copy,reverse core=rmc,lstm nesting=1 length=5 '
            'num_steps=1000 evaluate_every=50 final_evaluation_size=2000 '
            '--sweep_dir=runs/gallery/strings',
            'launch.report runs/gallery/strings/task=* --output=runs/gallery/strings/report',
        ],
        [
            Picture(
                'reverse.png',
                'strings/task=reverse,core=rmc/accuracy.png',
                'One of these runs, `accuracy.png` in its folder.',
            ),
            Picture(
                'strings.png',
                'strings/report/programs.png',
                "`launch.report`, the paper's Figure 8: a panel for each task and difficulty.",
            ),
        ],
        'Longer runs: [strings of 10 digits](learning_to_execute.md#strings).',
    ),
    Entry(
        'language',
        'Language models',
        [
            'launch.lm --num_steps=200 --evaluate_every=25 --run_dir=runs/gallery/language/rmc',
            'launch.lm --num_steps=200 --evaluate_every=25 --core=lstm '
            '--run_dir=runs/gallery/language/lstm',
            'launch.lm --mode=evaluate --evaluation_words=20000 '
            '--run_dir=runs/gallery/language/rmc',
            'launch.lm --mode=evaluate --evaluation_words=20000 --core=lstm '
            '--run_dir=runs/gallery/language/lstm',
            'launch.report runs/gallery/language/rmc runs/gallery/language/lstm '
            '--output=runs/gallery/language/report',
        ],
        [
            Picture(
                'perplexity.png',
                'language/rmc/perplexity.png',
                "One run on Python's documentation, next to n-gram models of the same words.",
            ),
            Picture(
                'valid_perplexity.png',
                'language/report/valid_perplexity.png',
                "`launch.report`, the paper's Figure 11.",
            ),
            Picture(
                'frequency.png',
                'language/report/frequency.png',
                "The paper's Table 3 as a picture: test perplexity of words that are frequent or "
                'rare in the training text.',
            ),
            Picture(
                'unroll.png',
                'language/report/unroll.png',
                "The paper's Figure 12: by how much the test perplexity rises if the state is "
                'reset every so many words.',
            ),
        ],
        'Longer runs: [language modelling](language_modelling.md).',
    ),
    Entry(
        'mini_pacman',
        'Mini PacMan',
        [
            'launch.mini_pacman --num_steps=1000 --evaluate_every=100 --final_evaluation_size=200 '
            '--run_dir=runs/gallery/mini_pacman/rmc',
            'launch.play --run_dir=runs/gallery/mini_pacman/rmc --max_steps=150 '
            '--gif=runs/gallery/mini_pacman/agent.gif',
            'launch.attention --run_dir=runs/gallery/mini_pacman/rmc --max_steps=20',
        ],
        [
            Picture(
                'mini_pacman.png',
                'mini_pacman/rmc/return.png',
                'The return of an agent over environment steps, next to the uniformly random '
                "policy and the paper's agents, which were trained for about 2,000 M steps. What "
                'lies far from the curve is in the legend alone.',
            ),
            Picture(
                'mini_pacman.gif',
                'mini_pacman/agent.gif',
                '`launch.play --gif` of this agent; what it does not see is dimmed.',
            ),
            Picture(
                'mini_pacman.html',
                'mini_pacman/rmc/attention.html',
                '`attention.html` of this agent: [open it](gallery/mini_pacman.html#12).',
                step=12,
            ),
        ],
        'Longer runs: [results](environments_and_agents.md#results).',
    ),
    Entry(
        'boxworld',
        'BoxWorld',
        [
            'launch.boxworld --core=lstm --size=7 --max_solution=1 --max_distractors=0 '
            '--num_steps=1500 --evaluate_every=100 --final_evaluation_size=200 '
            '--run_dir=runs/gallery/boxworld/lstm',
            'launch.play --run_dir=runs/gallery/boxworld/lstm --episodes=3 '
            '--gif=runs/gallery/boxworld/agent.gif',
        ],
        [
            Picture(
                'boxworld.png',
                'boxworld/lstm/success.png',
                'The share of levels of one box in which an LSTM agent reaches the gem.',
            ),
            Picture(
                'boxworld.gif',
                'boxworld/agent.gif',
                'Three episodes of this agent.',
            ),
        ],
        'Longer runs: [results](environments_and_agents.md#results).',
    ),
)


def main(arguments: Sequence[str]) -> None:
    """Makes what the command line asks for."""
    parser = argparse.ArgumentParser(description='Makes the gallery of the documentation.')
    parser.add_argument('--only', choices=[entry.name for entry in ENTRIES])
    parser.add_argument('--page', action='store_true', help='writes the page alone')
    options = parser.parse_args(arguments)
    PICTURES.mkdir(exist_ok=True)
    for entry in ENTRIES:
        if not options.page and options.only in (None, entry.name):
            make(entry)
    PAGE.write_text(page(read_seconds()), 'utf-8')


def make(entry: Entry) -> None:
    """Runs the commands of an entry and copies its pictures."""
    folder = ROOT / RUNS / entry.name
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    before = _cpu_seconds()
    for command in entry.commands:
        run(command)
    if is_new:
        seconds = {**read_seconds(), entry.name: round(_cpu_seconds() - before)}
        SECONDS.write_text(json.dumps(seconds, indent=2) + '\n', 'utf-8')
    for picture in entry.pictures:
        _publish(picture)


def run(command: str) -> None:
    """Runs a command of the page from the root of the checkout, on the CPU."""
    print(f'\n$ python -m {command}', flush=True)
    words: list[str] = []
    for word in shlex.split(command):
        words += sorted(glob.glob(word, root_dir=ROOT)) if '*' in word else [word]
    cache = str(ROOT / RUNS / 'cache')
    added = {'JAX_PLATFORMS': 'cpu', 'JAX_COMPILATION_CACHE_DIR': cache, 'PYTHONPATH': str(ROOT)}
    program = [sys.executable, '-m', *words]
    subprocess.run(program, cwd=ROOT, env={**os.environ, **added}, check=True)


def page(seconds: dict[str, int]) -> str:
    """Returns the page.

    Args:
      seconds: of CPU time that an entry took, by its name; some may be missing.
    """
    total = sum(seconds.values())
    parts = [
        '# Gallery',
        'Every kind of picture that the programs draw, each with the commands that made it. The '
        'runs are small ones, made to show the pictures and not the cores: '
        f'{_minutes(total)} of one core of an AMD EPYC for all of them. Results are on the pages '
        'that the sections name.',
        '`--formats=pdf,svg` of `launch.report` and `launch.sweep` writes pictures for print. A '
        'core has the same colour in all of them. The following makes them and this page again, '
        'from the root of a checkout; `--only=NAME` makes one section:',
        _block(['python docs/gallery.py']),
    ]
    for entry in ENTRIES:
        commands = [f'python -m {command}' for command in entry.commands]
        time = f': {_minutes(seconds[entry.name])}' if entry.name in seconds else ''
        parts += [f'## {entry.title}', _block(commands), f'`--only={entry.name}`{time}.']
        for picture in entry.pictures:
            parts += [picture.caption, f'![{_alt(picture)}](gallery/{_image(picture)})']
        parts += [entry.links] if entry.links else []
    return '\n\n'.join(parts) + '\n'


def read_seconds() -> dict[str, int]:
    """Returns the CPU time of entries that were made from nothing, by name."""
    known = json.loads(SECONDS.read_text('utf-8')) if SECONDS.exists() else {}
    return {entry.name: known[entry.name] for entry in ENTRIES if entry.name in known}


def _block(lines: Sequence[str]) -> str:
    return '\n'.join(['```', *lines, '```'])


def _minutes(seconds: float) -> str:
    return f'{seconds / 60:.1f} minutes' if seconds < 600 else f'{seconds / 60:.0f} minutes'


def _image(picture: Picture) -> str:
    """Returns the file that the page shows of a picture, a still of an interactive page."""
    return f'{pathlib.Path(picture.name).stem}-page.png' if picture.step else picture.name


def _alt(picture: Picture) -> str:
    return picture.caption.replace('`', '').split('[')[0].split(':')[0].rstrip('., ')


def _publish(picture: Picture) -> None:
    """Copies a picture into the docs, a PNG file with few colours, which makes it small."""
    source, target = ROOT / RUNS / picture.source, PICTURES / picture.name
    if source.suffix == '.png':
        _write_small(Image.open(source), target)
    else:
        shutil.copyfile(source, target)
    if picture.step:
        _draw_still(target, picture.step, PICTURES / _image(picture))
    print(f'{target}, {target.stat().st_size / 1000:,.0f} kB', flush=True)


def _write_small(image: Image.Image, target: pathlib.Path) -> None:
    small = image.convert('RGB').quantize(_NUM_COLORS, dither=Image.Dither.NONE)
    data = io.BytesIO()
    small.save(data, 'PNG', optimize=True)
    target.write_bytes(data.getvalue())


def _draw_still(html: pathlib.Path, step: int, target: pathlib.Path) -> None:
    """Draws an interactive page as a browser shows it."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        print(f'{target} stays as it is: wanted a browser, found none of {", ".join(_BROWSERS)}')
        return
    still = ROOT / RUNS / target.name
    options = ['--headless', '--no-sandbox', '--hide-scrollbars', '--window-size=1000,1045']
    where = [f'--screenshot={still}', f'{html.as_uri()}#{step}']
    subprocess.run([browser, *options, *where], check=True, capture_output=True)
    _write_small(Image.open(still), target)


def _cpu_seconds() -> float:
    """Returns the CPU time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == '__main__':
    main(sys.argv[1:])
