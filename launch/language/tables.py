"""What `evaluation.json` holds as tables and pictures; see `evaluation` for the numbers."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from launch.language import evaluation as evaluation_lib
from launch.runs import display, labels, plots

SHORT_STREAM = 500  # words; see docs/language_modelling.md for what shorter streams cost


def describe_splits(evaluation: Mapping[str, Any]) -> str:
    """Returns the perplexities of both splits as text, the n-gram models' first."""
    title = f'perplexity per {unit(evaluation)}'
    rows = [(title, 'validation', 'test')]
    for name, (valid, test) in perplexities(evaluation).items():
        rows.append((name, show(valid), show(test)))
    width = max(21, len(title))
    lines = [f'{name:<{width}} {valid:>10} {test:>10}' for name, valid, test in rows]
    lines += [*describe_unknown(evaluation), *_text_lines(evaluation, width)]
    return '\n'.join([*lines, *describe_short_streams(evaluation)])


def _text_lines(evaluation: Mapping[str, Any], width: int) -> list[str]:
    """Returns lines with bits per byte and perplexities per word of the text, if known."""
    cells = text_cells(evaluation)
    if not cells:
        return []
    names, bound = ('bits per byte', 'per word of the text'), lower_bound(evaluation)
    note = f'  ({bound})' if bound else ''
    pairs = zip(names, (cells[:2], cells[2:]), strict=True)
    return [f'{name:<{width}} {valid:>10} {test:>10}{note}' for name, (valid, test) in pairs]


def text_cells(evaluation: Mapping[str, Any]) -> list[str]:
    """Returns what `text_numbers` returns as cells of a table."""
    numbers = text_numbers(evaluation)
    cells = ['none' if value is None else f'{value:.3f}' for value in numbers[:2]]
    return [*cells, *map(show, numbers[2:])]


def text_numbers(evaluation: Mapping[str, Any]) -> list[float | None]:
    """Returns bits per byte of validation and test, then perplexities per word of the text.

    Returns:
      Four numbers; none if they are not known.
    """
    known = evaluation.get('texts') or {}
    texts = [known[split] for split in ('valid', 'test') if known.get(split)]
    if len(texts) < 2:
        return []
    bits = [text['bits_per_byte'] for text in texts]
    return [*bits, *(text['perplexity_per_word'] for text in texts)]


def lower_bound(evaluation: Mapping[str, Any]) -> str:
    """Returns why numbers about the text are lower bounds; '' if they are exact."""
    valid, test = (evaluation['splits'][split]['oov_rate'] for split in ('valid', 'test'))
    reasons = ['spaces are left out'] if unit(evaluation) == 'word' else []
    if valid or test:
        reasons.append(f'<unk> is {valid:.2%} and {test:.2%}')
    return f'not comparable, a lower bound: {", ".join(reasons)}' if reasons else ''


def describe_unknown(evaluation: Mapping[str, Any]) -> list[str]:
    """Returns a line with the share of `<unk>`, an easy word that makes a low perplexity."""
    valid, test = (evaluation['splits'][split]['oov_rate'] for split in ('valid', 'test'))
    if unit(evaluation) != 'word' and not valid and not test:
        return []
    return [f'<unk> is {valid:.2%} of validation and {test:.2%} of test']


def describe_short_streams(evaluation: Mapping[str, Any]) -> list[str]:
    """Returns a line about each split whose perplexity is too high because of its short streams."""
    streams, lines = evaluation['streams'], []
    splits = evaluation['splits'] if streams > 1 else {}
    for name, split in splits.items():
        length = split['words'] // streams
        if length < SHORT_STREAM:
            words = f'{length:,} {unit(evaluation)}s'
            found = f'{name}: {streams} streams of {words}, of which the first are predicted'
            remedy = 'a smaller --evaluation_batch has longer ones, and a lower perplexity'
            lines.append(f'{found} from little; {remedy}')
    return lines


def unit(evaluation: Mapping[str, Any]) -> str:
    """Returns what a token is; files of earlier versions are all about words."""
    return evaluation.get('unit', 'word')


def perplexities(evaluation: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Returns the perplexities of validation and test by the name of the model, its core's last."""
    own = {split: evaluation['splits'][split]['perplexity'] for split in ('valid', 'test')}
    models = {**evaluation['ngrams'], evaluation['core']: own}
    return {name: [values['valid'], values['test']] for name, values in models.items()}


def describe_bands(evaluation: Mapping[str, Any]) -> str:
    """Returns Table 3 of one run as text: perplexity by the frequency of the word in training."""
    valid, test = (evaluation['splits'][split] for split in ('valid', 'test'))
    rows = [['times in train', 'validation', 'test', f'{unit(evaluation)}s of test', 'share']]
    for name in evaluation_lib.BANDS:
        band = test['bands'][name]
        cells = [show(valid['bands'][name]['perplexity']), show(band['perplexity'])]
        rows.append([name, *cells, f'{band["words"]:,}', f'{band["share"]:.2%}'])
    cells = [show(valid['perplexity']), show(test['perplexity'])]
    rows.append(['all', *cells, f'{test["words"]:,}', '100%'])
    return '\n'.join([display.table(rows), *describe_unknown(evaluation)])


def describe_unrolls(evaluation: Mapping[str, Any]) -> str:
    """Returns Figure 12 of one run as text: test perplexity where the state is reset."""
    unroll, units = evaluation['unroll'], f'{unit(evaluation)}s'
    rows = [['state reset every', 'perplexity', 'increase']]
    for length, value in zip(unroll['lengths'], unroll['perplexities'], strict=True):
        rows.append([f'{length} {units}', show(value), show(increase(value, unroll['carried']))])
    rows.append(['never', show(unroll['carried']), ''])
    whole = evaluation['splits']['test']['words']
    which = 'all' if unroll['words'] == whole else f'the first {unroll["words"]:,} of'
    return f'{display.table(rows)}\n(of {which} {whole:,} {units} of test)'


def describe_dynamic(evaluation: Mapping[str, Any]) -> str:
    """Returns the perplexities of dynamic evaluation as text."""
    found = evaluation['dynamic']
    how = f'steps of {found["learning_rate"]:g} after {found["window"]} {unit(evaluation)}s each'
    return (
        f'dynamic evaluation: {show(found["valid"])} of validation, {show(found["test"])} of test\n'
        f'(the model learns from the text it is tested on, {how}, decay {found["decay"]:g}; not '
        'comparable with the above)'
    )


def draw(run_dir: str, evaluation: Mapping[str, Any]) -> list[str]:
    """Draws the tables of a run and returns where the pictures are.

    Args:
      run_dir: the run's directory.
      evaluation: as in the file.
    """
    splits = {'valid': 'validation', 'test': 'test'}
    heights = {name: band_heights(evaluation, split) for split, name in splits.items()}
    pictures = [str(pathlib.Path(run_dir, 'frequency.png'))]
    name = plots.core_name(evaluation['core'])
    title = f'{name}, {name_corpus(evaluation["dataset"])}'
    color = plots.core_styles({name: evaluation['core']})[name]['color']
    styles = {'validation': {'color': plots.BACKGROUND}, 'test': {'color': color}}
    draw_bands(heights, pictures[0], title, styles=styles)
    if evaluation['unroll']:
        pictures.append(str(pathlib.Path(run_dir, 'unroll.png')))
        curve = plots.Curve(increases(evaluation['unroll']))
        draw_increases({name: curve}, pictures[1], title, {name: {'color': color}})
    return pictures


def name_corpus(dataset: str) -> str:
    """Returns what a corpus is called in titles."""
    return labels.DATASETS.get(dataset, dataset)


def band_heights(evaluation: Mapping[str, Any], split: str) -> list[float | None]:
    """Returns the perplexities of the bands and of all words of a split."""
    measured = evaluation['splits'][split]
    bands = [measured['bands'][name] for name in evaluation_lib.BANDS]
    return [band['perplexity'] for band in [*bands, measured]]


def draw_bands(
    heights: Mapping[str, list[float | None]],
    output: str,
    title: str,
    errors: Mapping[str, Sequence[float]] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Draws perplexities by the frequency of the word, as from `band_heights`, by name.

    Errors and styles are those of `plots.plot_bars`.
    """
    title = f'Perplexity by frequency of the word: {title}'
    groups, label = [*evaluation_lib.BANDS, 'all'], 'how often the word occurs in the training text'
    plots.plot_bars(heights, groups, output, title, label, 'perplexity', errors, styles)


def draw_increases(
    curves: Mapping[str, plots.Curve],
    output: str,
    title: str,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Draws increases of the perplexity, as from `increases`, by name."""
    plots.plot_points(
        curves,
        output,
        f'Test perplexity by unroll length: {title}',
        'unroll length: tokens after which the state is reset',
        'increase of perplexity',
        styles,
    )


def increases(unroll: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Returns by how much resets raise the perplexity: (length, increase), where it is known."""
    values = zip(unroll['lengths'], unroll['perplexities'], strict=True)
    found = [(length, increase(value, unroll['carried'])) for length, value in values]
    return [(length, value) for length, value in found if value is not None]


def increase(value: float | None, carried: float | None) -> float | None:
    """Returns by how much a perplexity is above the one with the carried state."""
    return None if value is None or carried is None else value - carried


def show(value: float | None) -> str:
    """Returns a perplexity as the cell of a table."""
    return 'none' if value is None else f'{value:,.2f}'
