"""Language models beside each other and beside the paper's: Tables 2 and 3 and Figure 12.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822. Its
Table 2 calls "LSTM" what its Table 3 shows to be an LSTM with Hebbian softmax (Rae et al. 2018), so
here it has that name. Figure 12 was read by eye; the paper does not name its corpus there, and
measures the increase over an unroll length of 500. Published numbers stand beside runs on a
corpus of the same name alone, and say so where it is not the same text.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from launch.language import evaluation as evaluation_lib
from launch.language import tables
from launch.runs import display

Evaluations = Mapping[str, Mapping[str, Any]]  # `evaluation.json` by the name of the run


class Published(NamedTuple):
    """The paper's numbers for a corpus."""

    splits: Mapping[str, tuple[float | None, float | None]]  # Table 2: validation, test
    bands: Mapping[str, tuple[float, float, float, float]]  # Table 3: by `BANDS`, and all
    increases: Mapping[str, tuple[float | None, ...]]  # Figure 12: by `UNROLL_LENGTHS`
    differs: str  # in what its corpus is another; empty if it is the same


PUBLISHED = {
    'wikitext103': Published(
        splits={
            'LSTM (Grave et al. 2016)': (None, 48.7),
            'temporal CNN (Bai et al. 2018)': (None, 45.2),
            'gated CNN (Dauphin et al. 2016)': (None, 37.2),
            'LSTM + Hebbian': (34.1, 34.3),
            'quasi-RNN (Merity et al. 2018)': (32.0, 33.0),
            'RMC': (30.8, 31.6),
        },
        bands={},
        increases={
            'LSTM, by eye': (21, 10.2, 4.6, 1.6, 0.7, 0),
            'RMC, by eye': (21, 5.8, 1.2, 0.6, 0.7, 0),
        },
        differs='',
    ),
    'gutenberg': Published(
        splits={'LSTM + Hebbian': (41.8, 45.5), 'RMC': (39.2, 42.0)},
        bands={},
        increases={},
        differs='other books, 180 M words',
    ),
    'gigaword': Published(
        splits={'LSTM + Hebbian': (None, 43.7), 'RMC': (None, 38.3)},
        bands={
            'LSTM': (39.4, 6.5e3, 3.7e4, 53.5),
            'LSTM + Hebbian': (33.2, 3.2e3, 1.6e4, 43.7),
            'RMC': (28.3, 3.1e3, 6.9e4, 38.3),
        },
        increases={},
        differs='GigaWord v5, 4 B words',
    ),
}
_PAPER_KNOWS = 250_000  # words, about; with fewer a perplexity is lower
_NOTHING = Published({}, {}, {}, '')
_NOT_UNROLLED: dict[str, Any] = {
    'perplexities': [None] * len(evaluation_lib.UNROLL_LENGTHS),
    'carried': None,
}


def by_corpus(evaluations: Evaluations) -> list[dict[str, Mapping[str, Any]]]:
    """Returns the evaluations whose perplexities are comparable, in groups."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, evaluation in evaluations.items():
        groups.setdefault(evaluation['corpus'], {})[name] = evaluation
    return list(groups.values())


def describe(evaluations: Evaluations) -> str:
    """Returns the tables of runs on one corpus as text.

    Args:
      evaluations: at least one, all of one corpus.
    """
    first = next(iter(evaluations.values()))
    where = f'{first["dataset"]} ({first["known"]:,} words known)'
    parts = [
        (f'perplexity per word on {where}, as in Table 2', _splits(evaluations)),
        ('test perplexity by how often a word occurs in train, as in Table 3', _bands(evaluations)),
    ]
    if any(evaluation['unroll'] for evaluation in evaluations.values()):
        title = 'increase of test perplexity where the state starts anew every so many words'
        parts.append((f'{title}, as in Figure 12', _unrolls(evaluations)))
    return '\n\n'.join(f'{title}\n{display.table(rows)}' for title, rows in parts)


def draw(evaluations: Evaluations, bands: str, unrolls: str) -> list[str]:
    """Draws the test split of all runs and returns which of the pictures there are.

    Args:
      evaluations: at least one, of one corpus or several.
      bands: where to draw perplexities by frequency.
      unrolls: where to draw perplexities by unroll length, if a run has them.
    """
    datasets = ', '.join(dict.fromkeys(values['dataset'] for values in evaluations.values()))
    heights = {name: tables.band_heights(values, 'test') for name, values in evaluations.items()}
    tables.draw_bands(heights, bands, f'test of {datasets}')
    measured = {name: values['unroll'] for name, values in evaluations.items() if values['unroll']}
    if not measured:
        return [bands]
    tables.draw_unrolls(measured, unrolls, datasets)
    return [bands, unrolls]


def _splits(evaluations: Evaluations) -> list[list[str]]:
    rows = [['', 'updates', 'validation', 'test']]
    first = next(iter(evaluations.values()))
    for name, values in first['ngrams'].items():
        rows.append([name, '', *_cells(values.values())])
    for name, evaluation in evaluations.items():
        own = [evaluation['splits'][split]['perplexity'] for split in ('valid', 'test')]
        rows.append([name, f'{evaluation["step"]:,}', *_cells(own)])
    paper, label = _published(first)
    rows += [[label + name, '', *_cells(values, '')] for name, values in paper.splits.items()]
    return rows


def _bands(evaluations: Evaluations) -> list[list[str]]:
    rows = [['', *evaluation_lib.BANDS, 'all']]
    first = next(iter(evaluations.values()))
    shares = [first['splits']['test']['bands'][name]['share'] for name in evaluation_lib.BANDS]
    rows.append(['share of the words', *(f'{share:.2%}' for share in shares), '100%'])
    for name, evaluation in evaluations.items():
        rows.append([name, *_cells(tables.band_heights(evaluation, 'test'))])
    paper, label = _published(first)
    rows += [[label + name, *_cells(values)] for name, values in paper.bands.items()]
    return rows


def _unrolls(evaluations: Evaluations) -> list[list[str]]:
    rows = [['', *map(str, evaluation_lib.UNROLL_LENGTHS), 'never anew: perplexity']]
    for name, evaluation in evaluations.items():
        unroll = evaluation['unroll'] or _NOT_UNROLLED
        carried = unroll['carried']
        increases = [tables.increase(value, carried) for value in unroll['perplexities']]
        rows.append([name, *_cells([*increases, carried], 'not measured')])
    paper, label = _published(next(iter(evaluations.values())))
    rows += [
        [label + name, *_cells([*values, None], '')] for name, values in paper.increases.items()
    ]
    return rows


def _published(evaluation: Mapping[str, Any]) -> tuple[Published, str]:
    """Returns the paper's numbers beside those of a run, and what stands before their names."""
    paper = PUBLISHED.get(evaluation['dataset'], _NOTHING)
    fewer = 'more words known' if evaluation['known'] < _PAPER_KNOWS else ''
    differs = paper.differs or fewer
    return paper, f'paper ({differs}): ' if differs else 'paper: '


def _cells(values: Iterable[float | None], nothing: str = 'none') -> list[str]:
    return [nothing if value is None else tables.show(value) for value in values]
