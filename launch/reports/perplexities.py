"""Language models next to those of the paper: Tables 2 and 3 and Figure 12.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822. Its
Table 2 calls "LSTM" what its Table 3 shows to be an LSTM with Hebbian softmax (Rae et al. 2018);
that name is used here. Figure 12 was read by eye; the paper does not name its corpus there, and
measures the increase over an unroll length of 500. Published numbers appear only for a corpus of
the same name, with a remark where its text is another one.
"""

from collections.abc import Iterable, Mapping
import operator
import os

from launch.language import evaluation as evaluation_lib
from launch.language import tables
from launch.reports import published as published_lib
from launch.reports import records
from launch.runs import display

Evaluations = Mapping[str, records.Facts]  # `evaluation.json` by the label of the run


_PAPER_VOCABULARY = 250_000  # about; a smaller one gives lower perplexities
_NOTHING = published_lib.Corpus({}, {}, {}, '')


def describe(evaluations: Evaluations) -> list[str]:
    """Returns the tables of language models as text.

    There is one for each corpus and number of streams, and one for each text that was read as
    characters, bytes or subwords, with all runs on that text, whatever their tokens.
    """
    key = operator.itemgetter('corpus', 'streams')
    groups = records.group(evaluations, key)
    texts = records.group({k: x for k, x in evaluations.items() if tables.text_cells(x)}, _text)
    whole = [x for x in texts.values() if any(tables.unit(each) != 'word' for each in x.values())]
    return [*map(_describe_corpus, groups.values()), *map(_describe_text, whole)]


def draw(evaluations: Evaluations, folder: str) -> list[str]:
    """Draws the test perplexities of all runs, by frequency and by unroll length if measured.

    Args:
      evaluations: at least one, of one corpus or several.
      folder: of the pictures.

    Returns:
      The paths of the pictures.
    """
    datasets = ', '.join(dict.fromkeys(each['dataset'] for each in evaluations.values()))
    pictures = [os.path.join(folder, 'frequency.png')]
    heights = {label: tables.band_heights(each, 'test') for label, each in evaluations.items()}
    tables.draw_bands(heights, pictures[0], f'test of {datasets}')
    unrolls = {label: each['unroll'] for label, each in evaluations.items() if each['unroll']}
    if unrolls:
        pictures.append(os.path.join(folder, 'unroll.png'))
        tables.draw_unrolls(unrolls, pictures[1], datasets)
    return pictures


def _describe_corpus(evaluations: Evaluations) -> str:
    first = next(iter(evaluations.values()))
    unit = tables.unit(first)
    published = (
        published_lib.CORPORA.get(first['dataset'], _NOTHING) if unit == 'word' else _NOTHING
    )
    smaller = 'larger vocabulary' if first['vocab_size'] < _PAPER_VOCABULARY else ''
    difference = published.difference or smaller
    paper = f'paper ({difference}): ' if difference else 'paper: '
    parts = [
        f'perplexity per {unit} on {first["dataset"]} '
        f'(vocabulary of {first["vocab_size"]:,} {unit}s, '
        f'read as {first["streams"]} stream{"s"[: first["streams"] > 1]}), as in Table 2',
        display.table(_splits(evaluations, published, paper)),
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
        rows.append(
            [label, tables.unit(each) + 's', *tables.text_cells(each), tables.lower_bound(each)]
        )
    return f'{title}\n{display.table(rows)}'


def _splits(
    evaluations: Evaluations, published: published_lib.Corpus, paper: str
) -> list[list[str]]:
    rows = [['', 'updates', 'validation', 'test']]
    for model, values in next(iter(evaluations.values()))['ngrams'].items():
        rows.append([model, '', *_cells(values.values())])
    for label, each in evaluations.items():
        own = [each['splits'][split]['perplexity'] for split in ('valid', 'test')]
        rows.append([label, f'{each["step"]:,}', *_cells(own)])
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
        rows.append([label, *_cells(tables.band_heights(each, 'test'))])
    rows += [[paper + model, *_cells(row)] for model, row in published.bands.items()]
    return rows


def _unrolls(
    evaluations: Evaluations, published: published_lib.Corpus, paper: str
) -> list[list[str]]:
    lengths = [str(length) for length in evaluation_lib.UNROLL_LENGTHS]
    rows = [['', *lengths, 'never reset: perplexity']]
    for label, each in evaluations.items():
        if each['unroll'] is None:
            rows.append([label, *['not measured'] * (len(lengths) + 1)])
            continue
        carried = each['unroll']['carried']
        increases = [tables.increase(value, carried) for value in each['unroll']['perplexities']]
        rows.append([label, *_cells([*increases, carried], 'not measured')])
    rows += [[paper + model, *_cells(row), ''] for model, row in published.increases.items()]
    return rows


def _cells(values: Iterable[float | None], nothing: str = 'none') -> list[str]:
    return [nothing if value is None else tables.show(value) for value in values]
