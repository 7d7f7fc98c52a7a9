"""Programs against evaluators of their own, tables of all short ones, and what chance should do."""

import functools
import re

import numpy as np
import pytest

from tasks.learning_to_execute import programs, writing
from tasks.learning_to_execute import setting as setting_lib

MEMORIZATION = ('copy', 'reverse', 'double')
EVALUATED = [task for task in setting_lib.TASKS if task not in MEMORIZATION]
OPERATORS = {
    'sonnet': {
        'addition': {'+'},
        'control': {'if', 'for'},
        'program': {'+', '-', '*', 'if', 'for'},
        'algebra': {'+', '-', '*'},
    },
    'zaremba': {
        'addition': {'+'},
        'control': {'if', 'for'},
        'program': {'+', '-', '*', 'if', 'for', '='},
        'algebra': {'+', '-', '*'},
    },
}


@functools.cache
def sample(task, nesting, length, dialect='sonnet', count=600, seed=0):
    """Texts and answers of one difficulty, and the samples they are read from."""
    setting = setting_lib.Setting(task, nesting, length, dialect)
    return read_samples(setting, np.full(count, nesting), np.full(count, length), seed)


def read_samples(setting, nesting, length, seed=0):
    samples = programs.sample(setting, nesting, length, np.random.default_rng(seed))
    return read(samples.text, samples.lengths), read(samples.answers, samples.answer_lengths)


def read(ids, lengths):
    return [writing.decode(row[:length]) for row, length in zip(ids, lengths, strict=True)]


class Parser:
    """Evaluates a program of the dialect 'sonnet', with brackets to any depth."""

    def __init__(self, text):
        self.text, self.place, self.nesting, self.literals = text, 0, 0, []

    def take(self, pattern):
        found = re.compile(pattern).match(self.text, self.place)
        self.place = found.end() if found else self.place
        return found and found.group()

    def operand(self):
        if self.take(r'\('):
            value = self.program()
            assert self.take(r'\)')
            return value
        self.literals.append(self.take(r'\d+'))
        return int(self.literals[-1])

    def program(self):
        self.nesting += 1
        if self.take('x='):
            value = self.operand()
            assert self.take(r'for\[')
            turns = int(self.take(r'\d'))
            assert self.take(r'\]x\+=')
            added = self.operand()
            for _ in range(turns):
                value += added
            return value
        first, operator = self.operand(), self.take(r'\+|-|\*|if')
        if operator != 'if':
            second = self.operand()
            return {'+': first + second, '-': first - second, '*': first * second}[operator]
        left, comparator, right = self.operand(), self.take('<|>'), self.operand()
        assert self.take('else')
        otherwise = self.operand()
        holds = left < right if comparator == '<' else left > right
        return first if holds else otherwise


def parse(text):
    parser = Parser(text)
    value = parser.program()
    assert parser.place == len(text), text
    return value, parser


def run(text):
    """What Python prints when it runs a program of the dialect 'zaremba'."""
    printed = []
    exec(text, {'__builtins__': {}, 'range': range, 'print': printed.append})
    (value,) = printed
    return f'{value}.'


def operators(text, dialect):
    """The names of the operations that stand in a text."""
    found = {name for name in ('if', 'for') if name in text}
    plain = re.sub(r'for.*[+-]=|for\[\d\]x\+=', '', text)
    found |= {sign for sign in '+-*' if sign in plain}
    return found | (
        {'='} if dialect == 'zaremba' and re.search(r'^[a-j]=.*\n(?!f)', text) else set()
    )


def chi_square(counts):
    """Pearson's statistic of counts that should be even, in standard deviations from its mean."""
    counts, freedom = np.asarray(counts, float), len(counts) - 1
    expected = counts.sum() / len(counts)
    return (np.sum((counts - expected) ** 2) / expected - freedom) / np.sqrt(2 * freedom)


def counts_of(found, values):
    found = list(found)
    counts = [found.count(value) for value in values]
    assert sum(counts) == len(found), set(found) - set(values)
    return counts


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('(77+51)-90', 38),
        ('x=(20if31>46else85)for[3]x+=11', 118),
        ('(12-34)*56', -1232),
        ('(9if3<4else5)if6<6else1', 1),
    ],
)
def test_the_parser_of_these_tests_gives_what_a_hand_finds(text, value):
    assert parse(text)[0] == value


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('f=(87 if 71<13 else 34)\nprint((f-74))', '-40.'),
        ('a=10\nfor x in range(2):a+=(40 if 63>82 else 21)\nprint(a)', '52.'),
    ],
)
def test_python_prints_the_worked_examples(text, answer):
    assert run(text) == answer


@pytest.mark.parametrize('dialect', setting_lib.DIALECTS)
def test_the_worked_examples_can_be_sampled(dialect):
    """Up to their literals: the shapes of the docstring's programs occur."""
    lines = setting_lib.__doc__.split('Examples of nesting 2')[1 + (dialect == 'zaremba')].split(
        '\n'
    )
    shown = [line.strip().split('   ')[0] for line in lines[2:5] if line.startswith('  ')]
    shapes = {re.sub(r'\b[a-j]\b', 'v', re.sub(r'\d+', '0', text)) for text in shown}
    found = {
        re.sub(r'\b[a-j]\b', 'v', re.sub(r'\d+', '0', text)).replace('\n', r'\n')
        for text in sample('program', 2, 2, dialect, count=2000)[0]
    }
    assert len(shapes) == {'sonnet': 3, 'zaremba': 2}[dialect]
    assert shapes <= found


@pytest.mark.parametrize(('nesting', 'length'), [(1, 1), (2, 1), (1, 5), (2, 5), (3, 6), (5, 8)])
@pytest.mark.parametrize('task', EVALUATED)
def test_answers_are_those_of_a_parser_modulo_a_power_of_ten(task, nesting, length):
    seen = set()
    for text, answer in zip(*sample(task, nesting, length), strict=True):
        value, parser = parse(text)
        assert answer == str(value % 10 ** (length + 1)), text
        assert parser.nesting == nesting
        assert all(len(x) == length and x[0] != '0' for x in parser.literals)
        assert '(' * (nesting - 1) == ''.join(re.findall(r'\(', text))
        seen |= operators(text, 'sonnet')
    assert seen == OPERATORS['sonnet'][task]


@pytest.mark.parametrize(('nesting', 'length'), [(1, 1), (2, 1), (1, 5), (2, 5), (3, 6), (8, 3)])
@pytest.mark.parametrize('task', EVALUATED)
def test_answers_are_what_python_prints(task, nesting, length):
    seen = set()
    for text, answer in zip(*sample(task, nesting, length, 'zaremba'), strict=True):
        assert answer == run(text), text
        literals = re.findall(r'\d+', text)
        assert all(1 <= int(x) < max(10**length, 4 * length + 1) for x in literals)
        names = re.findall(r'^(.)=', text, re.MULTILINE)
        assert len(set(names)) == len(names)
        assert len(re.findall(r'\d [-+*<>]|[-+*<>] \d', text)) == 0
        seen |= operators(text, 'zaremba')
    assert seen == OPERATORS['zaremba'][task]


@pytest.mark.parametrize('dialect', setting_lib.DIALECTS)
@pytest.mark.parametrize('task', MEMORIZATION)
def test_memorized_numbers_are_repeated(task, dialect):
    setting = setting_lib.Setting(task, 1, 40, dialect)
    length = 1 + np.arange(400) % 40
    texts, answers = read_samples(setting, np.ones_like(length), length)
    for text, answer, digits in zip(texts, answers, length, strict=True):
        assert re.fullmatch(rf'[1-9]\d{{{digits - 1}}}', text)
        expected = {'copy': text, 'reverse': ''.join(reversed(text)), 'double': text + text}[task]
        assert answer == expected + '.' * (dialect == 'zaremba')


def test_all_sums_of_one_digit_occur_and_are_right():
    texts, answers = sample('addition', 1, 1)
    table = {f'{a}+{b}': str(a + b) for a in range(1, 10) for b in range(1, 10)}
    assert dict(zip(texts, answers, strict=True)) == table


def test_all_loops_of_one_digit_occur_and_are_right():
    texts, answers = sample('control', 1, 1, count=20_000)
    found = {text: answer for text, answer in zip(texts, answers, strict=True) if 'for' in text}
    digits = range(1, 10)
    assert found == {
        f'x={a}for[{k}]x+={b}': str((a + k * b) % 100)
        for a in digits
        for k in digits
        for b in digits
    }


@pytest.mark.parametrize('dialect', setting_lib.DIALECTS)
@pytest.mark.parametrize('task', setting_lib.TASKS)
def test_arrays_have_the_settings_widths_and_padding_only_at_the_ends(task, dialect):
    setting = setting_lib.Setting(task, 1 if task in MEMORIZATION else 3, 4, dialect)
    rng = np.random.default_rng(1)
    nesting, length = rng.integers(1, setting.nesting + 1, 500), rng.integers(1, 5, 500)
    samples = programs.sample(setting, nesting, length, rng)
    assert samples.text.shape == (500, setting.input_steps)
    assert samples.answers.shape == (500, setting.output_steps)
    for ids, lengths in (samples[:2], samples[2:4]):
        assert ids.dtype == np.uint8
        assert (lengths.dtype, lengths.shape) == (np.int32, (500,))
        np.testing.assert_array_equal(
            ids != setting_lib.PAD, np.arange(ids.shape[1]) < lengths[:, None]
        )
    assert samples.answers.max() < setting_lib.NUM_ANSWER_CHARACTERS


@pytest.mark.parametrize('dialect', setting_lib.DIALECTS)
@pytest.mark.parametrize('task', EVALUATED)
def test_the_widths_are_reached(task, dialect):
    setting = setting_lib.Setting(task, 2, 2, dialect)
    texts, answers = sample(task, 2, 2, dialect, count=20_000)
    assert max(map(len, texts)) == setting.input_steps
    assert setting.output_steps - 1 <= max(map(len, answers)) <= setting.output_steps


@pytest.mark.parametrize('dialect', setting_lib.DIALECTS)
def test_every_sample_has_its_own_difficulty(dialect):
    setting = setting_lib.Setting('addition', 3, 4, dialect)
    rng = np.random.default_rng(2)
    nesting, length = rng.integers(1, 4, 600), rng.integers(1, 5, 600)
    for text, levels, digits in zip(
        read_samples(setting, nesting, length)[0], nesting, length, strict=True
    ):
        assert text.count('+') == levels
        sizes = [len(literal) for literal in re.findall(r'\d+', text)]
        assert max(sizes) <= digits
        assert dialect == 'zaremba' or min(sizes) == digits


def test_the_modulus_follows_the_length_of_each_sample():
    setting = setting_lib.Setting('program', 3, 4)
    rng = np.random.default_rng(2)
    nesting, length = rng.integers(1, 4, 600), rng.integers(1, 5, 600)
    texts, answers = read_samples(setting, nesting, length)
    for text, answer, digits in zip(texts, answers, length.tolist(), strict=True):
        assert answer == str(parse(text)[0] % 10 ** (digits + 1))


def test_lines_of_zaremba_come_in_the_order_of_the_levels():
    texts, _ = sample('program', 2, 1, 'zaremba', count=40_000)
    pattern = re.compile(r'(.)=\d\n(.)=\d\nprint\(\((.)[-+]\((.)[-+]\d\)\)\)')
    found = [match.groups() for match in map(pattern.fullmatch, texts) if match]
    assert len(found) > 100
    assert all(first == inner and second == outer for first, second, outer, inner in found)


@pytest.mark.parametrize(('dialect', 'least'), [('sonnet', 10), ('zaremba', 1)])
def test_literals_are_uniform(dialect, least):
    texts, _ = sample('addition', 2, 2, dialect, count=20_000)
    literals = np.array([[int(x) for x in re.findall(r'\d+', text)] for text in texts])
    assert literals.shape == (20_000, 3)
    assert (literals.min(), literals.max()) == (least, 99)
    for column in literals.T:
        assert abs(chi_square(np.bincount(column, minlength=100)[least:])) < 5
    assert np.abs(np.corrcoef(literals.T) - np.eye(3)).max() < 0.03


def test_digits_to_memorize_are_uniform():
    texts, _ = sample('copy', 1, 6, count=20_000)
    for place, characters in enumerate(zip(*texts, strict=True)):
        assert abs(chi_square(counts_of(characters, '0123456789'[place == 0 :]))) < 5


def test_operations_turns_and_comparators_are_uniform():
    texts, _ = sample('program', 1, 3, count=20_000)
    kinds = [re.search(r'for|if|[-+*]', text).group() for text in texts]
    assert abs(chi_square(counts_of(kinds, ['+', '-', '*', 'if', 'for']))) < 5
    turns = [found.group(1) for found in map(re.compile(r'\[(.)\]').search, texts) if found]
    assert abs(chi_square(counts_of(turns, '123456789'))) < 5
    comparators = [found.group() for found in map(re.compile('[<>]').search, texts) if found]
    assert abs(chi_square(counts_of(comparators, '<>'))) < 5


def test_what_zaremba_samples_is_uniform():
    texts, _ = sample('program', 1, 3, 'zaremba', count=20_000)
    kinds = [
        next(x for x in ('for', 'if', '*', '=', '(') if x in text.replace('print(', ''))
        for text in texts
    ]
    assert abs(chi_square(counts_of(kinds, ['for', 'if', '*', '=', '(']))) < 5
    turns = [found.group(1) for found in map(re.compile(r'range\((\d+)').search, texts) if found]
    assert abs(chi_square(counts_of(turns, [str(x) for x in range(1, 13)]))) < 5
    for name, signs in (('for', '[-+]='), ('if', '[<>]'), ('=', r'[-+]'), ('(', r'[-+]')):
        found = [
            re.search(signs, x).group()
            for x, kind in zip(texts, kinds, strict=True)
            if kind == name
        ]
        assert abs(chi_square(list(map(found.count, set(found))))) < 5
        assert len(set(found)) == 2
    names = [text[0] for text, kind in zip(texts, kinds, strict=True) if kind in ('for', '=')]
    assert abs(chi_square(counts_of(names, 'abcdefghij'))) < 5


def test_the_nested_program_is_any_operand_of_zaremba():
    texts, _ = sample('program', 2, 1, 'zaremba', count=40_000)
    inner = r'\(\d[-+]\d\)'
    for patterns in (
        [rf'print\(\({inner}[-+]\d\)\)', rf'print\(\(\d[-+]{inner}\)\)'],
        [rf'.={inner}\nprint\(\(.[-+]\d\)\)', rf'.=\d\nprint\(\(.[-+]{inner}\)\)'],
        [rf'.={inner}\nfor.*:..=\d\n.*', rf'.=\d\nfor.*:..={inner}\n.*'],
        [
            rf'print\(\({inner} if \d.\d else \d\)\)',
            rf'print\(\(\d if {inner}.\d else \d\)\)',
            rf'print\(\(\d if \d.{inner} else \d\)\)',
            rf'print\(\(\d if \d.\d else {inner}\)\)',
        ],
        [rf'print\(\({inner}\*\d\)\)', rf'print\(\(\d\*{inner}\)\)'],
    ):
        counts = [sum(bool(re.fullmatch(pattern, text)) for text in texts) for pattern in patterns]
        assert sum(counts) > 1000
        assert abs(chi_square(counts)) < 5


@pytest.mark.parametrize(
    ('setting', 'count'),
    [
        (('program', 3, 5), 30_000),
        (('program', 2, 3, 'zaremba'), 30_000),
        (('addition', 1, 2), 30_000),
        (('copy', 1, 9), 20_000),
    ],
)
def test_no_text_is_of_two_splits_and_shares_are_8_1_1(setting, count):
    setting = setting_lib.Setting(*setting)
    rng = np.random.default_rng(3)
    nesting = rng.integers(1, setting.nesting + 1, count)
    length = rng.integers(1, setting.length + 1, count)
    samples = programs.sample(setting, nesting, length, rng)
    splits = programs.split_of(samples)
    texts = read(samples.text, samples.lengths)
    known = dict(zip(texts, splits.tolist(), strict=True))
    assert [known[text] for text in texts] == splits.tolist()
    shares = np.bincount(list(known.values()), minlength=3) / len(known)
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=5 * 0.4 / np.sqrt(len(known)))


def test_a_split_depends_on_the_text_and_on_nothing_else():
    texts, _ = sample('addition', 1, 2)
    ids = np.zeros((len(texts), 5), np.uint8)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = [setting_lib.CHARACTERS.index(character) for character in text]
    nothing = np.zeros(len(texts), np.int32)
    alone = programs.split_of(programs.Samples(ids, nothing, ids[:, :0], nothing))
    wide = np.pad(ids, ((0, 0), (0, 60)))
    wider = programs.split_of(programs.Samples(wide, nothing + 5, wide, nothing + 1))
    np.testing.assert_array_equal(alone, wider)
    assert set(alone.tolist()) == {0, 1, 2}


def test_even_the_smallest_task_has_all_splits():
    samples = programs.sample(
        setting_lib.Setting('copy', 1, 1),
        np.ones(500, int),
        np.ones(500, int),
        np.random.default_rng(4),
    )
    pairs = {
        (int(text), int(x))
        for (text,), x in zip(samples.text, programs.split_of(samples), strict=True)
    }
    assert sorted(split for _, split in pairs) == [0] * 7 + [1, 2]


def test_splits_have_the_same_distribution_of_digits():
    setting = setting_lib.Setting('addition', 1, 3)
    size = np.ones(60_000, int)
    samples = programs.sample(setting, size, 3 * size, np.random.default_rng(5))
    splits = programs.split_of(samples)
    for split in range(3):
        for place in (1, 2, 5, 6):
            digits = samples.text[splits == split, place] - setting_lib.CHARACTERS.index('0')
            assert abs(chi_square(np.bincount(digits, minlength=10))) < 5


def test_a_generator_in_the_same_state_samples_the_same_and_another_does_not():
    same = [sample.__wrapped__('program', 2, 5, seed=seed) for seed in (7, 7, 8)]
    assert same[0] == same[1]
    assert same[0] != same[2]


def test_characters_are_those_that_programs_have():
    found = {setting_lib.CHARACTERS[setting_lib.PAD]}
    for dialect in setting_lib.DIALECTS:
        for texts in sample('program', 3, 6, dialect):
            found |= set(''.join(texts))
    assert found == set(setting_lib.CHARACTERS)
    assert len(found) == len(setting_lib.CHARACTERS)


@pytest.mark.parametrize(
    'arguments',
    [
        ('program', 6, 8),
        ('addition', 4, 17),
        ('program', 9, 6, 'zaremba'),
        ('addition', 3, 18, 'zaremba'),
    ],
)
def test_the_largest_values_are_exact(arguments):
    setting = setting_lib.Setting(*arguments)
    nesting, length = np.full((2, 2000), [[setting.nesting], [setting.length]])
    for text, answer in zip(*read_samples(setting, nesting, length), strict=True):
        if setting.dialect == 'sonnet':
            assert answer == str(parse(text)[0] % 10 ** (setting.length + 1))
        else:
            assert answer == run(text)


@pytest.mark.parametrize(
    ('nesting', 'length', 'message'),
    [
        ([1, 3], [1, 1], 'wanted nesting from 1 to 2, got 1 to 3'),
        ([0, 1], [1, 1], 'wanted nesting from 1 to 2, got 0 to 1'),
        ([1, 1], [1, 6], 'wanted length from 1 to 5, got 1 to 6'),
        ([1], [1, 1], r'of one shape \[B\].*got \(1,\) and \(2,\)'),
        ([], [], r'B at least 1, got \(0,\) and \(0,\)'),
        (1, 1, r'of one shape \[B\].*got \(\) and \(\)'),
    ],
)
def test_difficulties_out_of_range_are_refused(nesting, length, message):
    with pytest.raises(ValueError, match=message):
        programs.sample(setting_lib.Setting(), nesting, length, np.random.default_rng(0))
