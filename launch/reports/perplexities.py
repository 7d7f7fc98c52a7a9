"""Language models next to those of the paper: Tables 2 and 3 and Figure 12.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822. Its
Table 2 calls "LSTM" what its Table 3 shows to be an LSTM with Hebbian softmax (Rae et al. 2018);
that name is used here. Figure 12 was read by eye; the paper does not name its corpus there, and
measures the increase over an unroll length of 500. Published numbers appear only for a corpus of
the same name and with the whole vocabulary; where they are left out, a line says why. Runs that
differ in the seed alone are one entry, whose numbers are means with standard errors.
"""

from collections.abc import Iterable, Mapping, Sequence
import operator
import os
from typing import Any

from launch.language import evaluation as evaluation_lib
from launch.language import tables
from launch.reports import published as published_lib
from launch.reports import records, seeds
from launch.runs import display, plots

Evaluations = Mapping[str, records.Facts]  # `evaluation.json` by the label of the run


_PAPER_VOCABULARY = 250_000  # about; a smaller one gives lower perplexities
_NOTHING = published_lib.Corpus({}, {}, {}, '')
_KEY = operator.itemgetter('corpus', 'streams')


def describe(evaluations: Evaluations) -> list[str]:
    """Returns the tables of language models as text.

    There is one for each corpus and number of streams, and one for each text that was read as
    characters, bytes or subwords, with all runs on that text, whatever their tokens.
    """
    groups = records.group(evaluations, _KEY)
    texts = records.group({k: x for k, x in evaluations.items() if tables.text_cells(x)}, _text)
    whole = [x for x in texts.values() if any(tables.unit(each) != 'word' for each in x.values())]
    return [*map(_describe_corpus, groups.values()), *map(_describe_text, whole)]


def draw(
    evaluations: Evaluations,
    folder: str,
    title: str,
    suffix: str = '.png',
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """Draws the test perplexities of all runs, by frequency and by unroll length if measured.

    Args:
      evaluations: at least one, of one corpus; those with other streams have pictures of their own.
      folder: of the pictures.
      title: the corpus.
      suffix: what the names of the files end with, the format of the pictures last.
      styles: as of `plots.plot_curves`.

    Returns:
      The paths of the pictures.
    """
    pictures: list[str] = []
    for count, group in enumerate(records.group(evaluations, _KEY).values(), 1):
        stem, dot, kind = suffix.rpartition('.')
        end = suffix if count == 1 else f'{stem}-{count}{dot}{kind}'
        pictures.append(os.path.join(folder, f'frequency{end}'))
        heights = {label: _height_means(each) for label, each in group.items()}
        errors = {label: _height_errors(each) for label, each in group.items()}
        tables.draw_bands(heights, pictures[-1], title, errors, styles)
        curves = {label: _unroll_curve(each) for label, each in group.items()}
        if any(curve.points for curve in curves.values()):
            pictures.append(os.path.join(folder, f'unroll{end}'))
            tables.draw_increases(curves, pictures[-1], title, styles)
    return pictures


def _height_means(known: records.Facts) -> list[float | None]:
    """Returns the perplexities of the bands of test and of all its words, means over seeds."""
    return [found.mean if found else None for found in _band_estimates(known)]


def _height_errors(known: records.Facts) -> list[float]:
    return [found.error or 0.0 if found else 0.0 for found in _band_estimates(known)]


def _band_estimates(known: records.Facts) -> list[seeds.Estimate | None]:
    runs = [tables.band_heights(each, 'test') for each in seeds.pooled(known)]
    return [seeds.estimate(values) for values in zip(*runs, strict=True)]


def _unroll_curve(known: records.Facts) -> plots.Curve:
    """Returns the increases of those runs that have measured them."""
    unrolls = [each['unroll'] for each in seeds.pooled(known) if each['unroll']]
    return seeds.mean_curve([tables.increases(unroll) for unroll in unrolls])


def _describe_corpus(evaluations: Evaluations) -> str:
    first = next(iter(evaluations.values()))
    unit = tables.unit(first)
    published = published_lib.CORPORA.get(first['dataset'], _NOTHING)
    published = published if unit == 'word' else _NOTHING
    smaller = 'a larger vocabulary' if first['vocab_size'] < _PAPER_VOCABULARY else ''
    difference = published.difference or (smaller if published.splits else '')
    published = _NOTHING if difference else published
    paper = 'paper (about 268 K words of vocabulary): '
    parts = [
        f'perplexity per {unit} on {first["dataset"]} '
        f'(vocabulary of {first["vocab_size"]:,} {unit}s, '
        f'read as {first["streams"]} stream{"s"[: first["streams"] > 1]}), as in Table 2',
        display.table(_splits(evaluations, published, paper)),
        *([f'published numbers are left out: they are of {difference}'] if difference else []),
        *tables.describe_short_streams(first),
        f'\ntest perplexity by how often a {unit} occurs in train, as in Table 3',
        display.table(_bands(evaluations, published, paper)),
    ]
    if any(each['unroll'] for each in evaluations.values()):
        parts += [
            f'\nincrease of test perplexity if the state is reset every so many {unit}s, '
            'as in Figure 12',
            display.table(_unrolls(evaluations, published, paper)),
        ]
    return '\n'.join(parts)


def _text(evaluation: records.Facts) -> tuple:
    """Returns what is the same for runs on the same text: the name and sizes of its splits."""
    sizes = [(x['words'], x['bytes']) for x in map(evaluation['texts'].get, ('valid', 'test'))]
    return evaluation['dataset'], *sizes


def _describe_text(evaluations: Evaluations) -> str:
    first = next(iter(evaluations.values()))
    sizes = first['texts']['test']
    title = (
        f'the text of {first["dataset"]}, whatever the tokens (test: {sizes["words"]:,} words '
        f'between spaces, {sizes["bytes"]:,} bytes)'
    )
    rows = [['', 'tokens', 'bits per byte', 'test', 'perplexity per word', 'test', '']]
    for label, each in evaluations.items():
        runs = seeds.pooled(each)
        known = [numbers for run in runs if (numbers := tables.text_numbers(run))]
        cells = _mean_cells(known) if len(known) > 1 else tables.text_cells(each)
        tokens, bound = f'{tables.unit(each)}s', tables.lower_bound(each)
        rows.append([_name(label, known), tokens, *cells, bound])
    return f'{title}\n{display.table(rows)}'


def _splits(
    evaluations: Evaluations, published: published_lib.Corpus, paper: str
) -> list[list[str]]:
    rows = [['', 'updates', 'validation', 'test']]
    for model, values in next(iter(evaluations.values()))['ngrams'].items():
        rows.append([model, '', *_cells(values.values())])
    for label, each in evaluations.items():
        runs = seeds.pooled(each)
        own = [[run['splits'][split]['perplexity'] for split in ('valid', 'test')] for run in runs]
        rows.append([_name(label, runs), f'{each["step"]:,}', *_mean_cells(own)])
    rows += [[paper + model, '', *_cells(row, '')] for model, row in published.splits.items()]
    return rows


def _bands(
    evaluations: Evaluations, published: published_lib.Corpus, paper: str
) -> list[list[str]]:
    bands = next(iter(evaluations.values()))['splits']['test']['bands']
    shares = [f'{bands[name]["share"]:.2%}' for name in evaluation_lib.BANDS]
    title = f'share of the {tables.unit(next(iter(evaluations.values())))}s'
    rows = [['', *evaluation_lib.BANDS, 'all'], [title, *shares, '100%']]
    for label, each in evaluations.items():
        runs = seeds.pooled(each)
        heights = [tables.band_heights(run, 'test') for run in runs]
        rows.append([_name(label, runs), *_mean_cells(heights)])
    rows += [[paper + model, *_cells(row)] for model, row in published.bands.items()]
    return rows


def _unrolls(
    evaluations: Evaluations, published: published_lib.Corpus, paper: str
) -> list[list[str]]:
    lengths = [str(length) for length in evaluation_lib.UNROLL_LENGTHS]
    rows = [['', *lengths, 'never reset: perplexity']]
    for label, each in evaluations.items():
        unrolls = [run['unroll'] for run in seeds.pooled(each) if run['unroll']]
        if not unrolls:
            rows.append([label, *['not measured'] * (len(lengths) + 1)])
            continue
        measured = [
            [*(tables.increase(value, x['carried']) for value in x['perplexities']), x['carried']]
            for x in unrolls
        ]
        rows.append([_name(label, unrolls), *_mean_cells(measured, 'not measured')])
    rows += [[paper + model, *_cells(row), ''] for model, row in published.increases.items()]
    return rows


def _name(label: str, runs: Sequence[Any]) -> str:
    return f'{label}, n = {len(runs)}' if len(runs) > 1 else label


def _mean_cells(runs: Sequence[Sequence[float | None]], nothing: str = 'none') -> list[str]:
    """Returns the means of columns, with their standard errors where there are several runs."""
    if len(runs) == 1:
        return _cells(runs[0], nothing)
    estimates = [seeds.estimate(values) for values in zip(*runs, strict=True)]
    return [seeds.show(found) if found else nothing for found in estimates]


def _cells(values: Iterable[float | None], nothing: str = 'none') -> list[str]:
    return [nothing if value is None else tables.show(value) for value in values]
