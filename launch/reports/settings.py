"""What a number was measured on: numbers are compared only where this is the same.

That is the program with its task: for agents the world and the window, for language models the
corpus itself (`data` in `run.json`, which depends on every word and on the vocabulary) and the
number of streams in which the validation split is read.
"""

from collections.abc import Mapping, Sequence
import pathlib
import re
from typing import Any, NamedTuple

from launch.runs import labels

# The flags that make a task, by program.
TASKS: Mapping[str, Sequence[str]] = {
    'nth_farthest': ('num_objects', 'num_dims'),
    'learning_to_execute': ('task', 'nesting', 'length', 'dialect'),
    'mini_pacman': ('game', 'rules', 'viewport', 'max_steps'),
    'boxworld': (
        *('size', 'num_colors', 'min_solution', 'max_solution', 'min_distractors'),
        *('max_distractors', 'distractor_length', 'viewport', 'max_steps'),
    ),
}
_CORPUS = ('gigaword_text', 'tokenizer', 'vocab_size', 'split_shares', 'split_seed', 'data_dir')


class Setting(NamedTuple):
    """What has to be equal."""

    program: str
    measure: str
    unit: str  # what the run counts
    conditions: tuple[tuple[str, Any], ...]


def of(description: Mapping[str, Any], evaluation: Mapping[str, Any] | None = None) -> Setting:
    """Returns the setting of a run.

    Args:
      description: its `run.json`.
      evaluation: its `evaluation.json`, which names the corpus where an older `run.json` does not.
    """
    config, program = description['config'], description['program']
    names: Sequence[str] = TASKS.get(program, ())
    conditions = [(name, config.get(name)) for name in names]
    if program == 'lm':
        key = description.get('data') or (evaluation or {}).get('corpus', '')
        corpus = [('data', key)] if key else [(name, config.get(name)) for name in _CORPUS]
        conditions = [(name, config.get(name)) for name in ('dataset', 'evaluation_batch')]
        conditions += corpus
    return Setting(program, description['measure'], description['unit'], tuple(conditions))


def title(setting: Setting, vocab_size: int | None = None, data_dir: str | None = None) -> str:
    """Returns what a setting is called in titles of tables and pictures.

    Args:
      setting: the setting.
      vocab_size: words of the vocabulary, where it is known.
      data_dir: where a corpus of one's own is.
    """
    known = dict(setting.conditions)
    if setting.program == 'lm':
        return _corpus(known, vocab_size, setting.unit, data_dir)
    return task(setting.program, known)


def task(program: str, config: Mapping[str, Any]) -> str:
    """Returns what the task of a program is called in titles, for the flags of `TASKS`."""
    writers = {
        'nth_farthest': _vectors,
        'learning_to_execute': _programs,
        'mini_pacman': _mini_pacman,
        'boxworld': _boxworld,
    }
    plain = program.replace('_', ' ')
    return writers.get(program, lambda config: plain)(config)


def without_digest(text: str) -> str:
    """Returns a title as pictures have it; the digest of a corpus is in the tables."""
    return re.sub(', corpus [0-9a-f]{1,8}', '', text)


def file_name(text: str) -> str:
    """Returns a title as a part of a file's name."""
    return re.sub('[^a-z0-9]+', '-', text.lower()).strip('-')[:80].rstrip('-')


def _corpus(
    known: Mapping[str, Any], vocab_size: int | None, unit: str, data_dir: str | None
) -> str:
    dataset = str(known['dataset'] or 'unnamed corpus')
    folder = f' {pathlib.Path(data_dir).name}' if data_dir else ''
    own = f'own text{folder}' if dataset == 'text' else f'{dataset}{folder}'
    parts = [labels.DATASETS.get(dataset, own)]
    size = vocab_size or known.get('vocab_size')
    parts += [f'vocabulary of {size:,} {unit}'] if size else []
    parts += [f'corpus {known["data"][:8]}'] if known.get('data') else []
    streams = known['evaluation_batch']
    return ', '.join([*parts, *([f'{streams} streams'] if streams else [])])


def _vectors(known: Mapping[str, Any]) -> str:
    dims = known['num_dims']
    size = f'{dims} dimension{"" if dims == 1 else "s"}'
    return f'Nth Farthest, {known["num_objects"]} vectors of {size}'


def _programs(known: Mapping[str, Any]) -> str:
    copies = known['task'] in ('copy', 'reverse', 'double')
    nesting = '' if copies else f', nesting {known["nesting"]}'
    dialect = '' if known['dialect'] in ('sonnet', None) else f', {known["dialect"]}'
    return f'Learning to Execute, {known["task"]}{nesting}, length {known["length"]}{dialect}'


def _mini_pacman(known: Mapping[str, Any]) -> str:
    rules = f'{known["rules"]} rules' if known['rules'] else 'rules not recorded'
    steps = f', {known["max_steps"]} steps at most' if known['max_steps'] else ''
    return f'Mini PacMan, {known["game"]}, {rules}, {_window(known)}{steps}'


def _boxworld(known: Mapping[str, Any]) -> str:
    boxes = labels.span(known['min_solution'], known['max_solution'], 'box', 'boxes')
    distractors = labels.span(
        known['min_distractors'], known['max_distractors'], 'distractor', 'distractors'
    )
    size = f'{known["size"]} x {known["size"]} squares'
    return f'BoxWorld, {size}, {boxes}, {distractors}, {_window(known)}'


def _window(known: Mapping[str, Any]) -> str:
    side = known['viewport']
    return f'window of {side} x {side}' if side else 'full view'
