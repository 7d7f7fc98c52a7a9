"""Whether the published numbers of Nth Farthest and of the agents can stand next to a run.

They can where task and training are those of Santoro et al. 2018, "Relational recurrent neural
networks", https://arxiv.org/abs/1806.01822; how long one trains and with which network is what is
compared. Language models are in `perplexities`, Learning to Execute in `accuracies`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from launch.reports import published

Flags = Mapping[str, Any]

_STEPS = 'after about {} M environment steps'


class _Published(NamedTuple):
    """Numbers of a program, and what they were measured on."""

    flags: Mapping[str, Any]  # these have to be equal; a tuple has the values that are allowed
    task: str  # the same in words
    training: str  # how the published models were trained


_PUBLISHED = {
    'nth_farthest': _Published(
        {
            'num_objects': 8,
            'num_dims': 16,
            'head': 'mlp',
            'answers': ('asked', None),  # None is of runs before there was this flag
            'curriculum': ('', None),
        },
        '8 vectors of 16 dimensions, from answers alone',
        'from answers alone, after about 48 hours',
    ),
    'mini_pacman': _Published(
        {'game': 'regular', 'rules': 'paper', 'viewport': tuple(published.MINI_PACMAN)},
        'the game regular, the rules of the paper, a window of 5 x 5 or the full view',
        _STEPS.format('2,000'),
    ),
    'boxworld': _Published(
        {
            'size': 14,
            'num_colors': 20,
            'min_solution': 1,
            'max_solution': 5,
            'min_distractors': 0,
            'max_distractors': 5,
            'distractor_length': 1,
            'viewport': 5,
        },
        '14 x 14 squares, 1 to 5 boxes, 0 to 5 distractors, a window of 5 x 5',
        _STEPS.format('1,000'),
    ),
}


def levels(program: str, config: Flags) -> Mapping[str, float]:
    """Returns published numbers by name, none where they cannot be compared with a run.

    Args:
      program: the program.
      config: the flags of the run.
    """
    if program not in _PUBLISHED or not _fits(_PUBLISHED[program], config):
        return {}
    if program == 'mini_pacman':
        return published.MINI_PACMAN[config['viewport']]
    return {'nth_farthest': published.NTH_FARTHEST, 'boxworld': published.BOXWORLD}[program]


def common_levels(program: str, configs: Sequence[Flags]) -> Mapping[str, float]:
    """Returns the numbers that can be compared with every one of some runs on one task."""
    found = [levels(program, config) for config in configs]
    return found[0] if found and all(found) else {}


def describe(program: str, configs: Sequence[Flags]) -> str:
    """Returns a line about the published numbers of a program, '' if there are none.

    Args:
      program: the program.
      configs: the flags of the runs that are compared with one another.
    """
    if program not in _PUBLISHED:
        return ''
    known = _PUBLISHED[program]
    if not common_levels(program, configs):
        return f'published numbers are left out: they are of {known.task}'
    numbers = common_levels(program, configs).items()
    shown = ', '.join(f'{name} {value:,}' for name, value in numbers)
    return f'published: {shown}, {known.training}'


def _fits(known: _Published, config: Flags) -> bool:
    for name, wanted in known.flags.items():
        allowed = wanted if isinstance(wanted, tuple) else (wanted,)
        if config.get(name) not in allowed:
            return False
    return True
