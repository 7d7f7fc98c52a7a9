import itertools
import sys

import pytest

from tasks import base
from tasks.text import python_docs

MODULE = b'''# -*- coding: latin-1 -*-
"""Module of caf\xe9."""
class A:
    """A class.

      It is indented."""
    def f(self):
        """Escapes \\d are old."""
        return '\\d'
    async def g(self): "One line."
def undocumented(): return "no docstring"
raise RuntimeError('imported')
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of a few files, and no topics."""
    monkeypatch.setattr(python_docs, '_library', lambda: tmp_path)
    monkeypatch.setattr(python_docs.topics, 'topics', {})
    for name in ('one.py', 'package/two.py', 'test/three.py', 'package/tests/four.py'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""Shared   text.\n\nOnly in {name}."""\nraise RuntimeError')
    (tmp_path / 'site-packages').mkdir()
    (tmp_path / 'site-packages/five.py').write_text('"""Installed."""')
    (tmp_path / 'six.py').write_text('"""Not Python."""\nprint 6')
    return tmp_path


def test_docstrings_are_read_without_importing_or_warning():
    wanted = ['Module of café.', 'A class.\n\nIt is indented.', 'Escapes \\d are old.']
    assert sorted(python_docs.docstrings(MODULE)) == sorted([*wanted, 'One line.'])


@pytest.mark.parametrize('source', [b'print 6', b'x = (', b'"""Text."""\0', b'# coding: nonsense'])
def test_what_is_not_valid_python_has_no_docstrings(source):
    assert python_docs.docstrings(source) == []


def test_paragraphs_are_prose_on_one_line():
    text = """Title
*****

First   line
second line.
 ---  --- |
New paragraph.

>>> 1 + 1
2

   or_test ::= and_test | or_test

The last, with é."""
    wanted = ['Title', 'First line second line.', 'New paragraph.', 'The last, with é.']
    assert python_docs.paragraphs(text) == wanted
    assert python_docs.paragraphs('\n \n---\n') == []


def test_tests_and_installed_packages_are_left_out_and_repetitions_dropped(library):
    documents = python_docs.documents.__wrapped__()
    assert documents == {
        'one.py': ('Shared text.', 'Only in one.py.'),
        'package/two.py': ('Only in package/two.py.',),
    }


def test_the_fingerprint_follows_the_sources(library):
    first = python_docs.fingerprint()
    assert python_docs.fingerprint() == first
    (library / 'test/three.py').write_text('"""Left out."""')
    assert python_docs.fingerprint() == first
    (library / 'one.py').write_text('"""Another."""')
    assert python_docs.fingerprint() != first


def test_the_fingerprint_follows_the_topics(library, monkeypatch):
    first = python_docs.fingerprint()
    monkeypatch.setattr(python_docs.topics, 'topics', {'lambda': 'Another topic.'})
    assert python_docs.fingerprint() != first


def test_a_python_without_sources_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(python_docs, '_library', lambda: tmp_path)
    with pytest.raises(base.DataError, match='no Python sources in'):
        python_docs.documents.__wrapped__()


def test_splits_are_fixed_by_name():
    names = ['topics/lambda', 'asyncio/events.py', 'topics/string-methods', 'heapq.py']
    first = [python_docs.split_of(name) for name in names]
    assert [python_docs.split_of(name) for name in reversed(names)] == first[::-1]
    splits = [python_docs.split_of(f'module_{i}.py') for i in range(2000)]
    assert 0.87 < splits.count('train') / 2000 < 0.93
    assert 0.03 < splits.count('valid') / 2000 < 0.07


class TestThisPython:
    def read(self, split):
        return list(itertools.chain.from_iterable(python_docs.read(split)))

    def test_there_are_about_three_hundred_thousand_words_in_three_splits(self):
        sizes = {
            split: sum(len(text.split()) for text in self.read(split))
            for split in ('train', 'valid', 'test')
        }
        total = sum(sizes.values())
        assert 200_000 < total < 400_000
        assert 0.02 * total < sizes['valid'] < 0.08 * total
        assert 0.02 * total < sizes['test'] < 0.08 * total

    def test_no_paragraph_occurs_twice(self):
        texts = [text.lower() for split in ('train', 'valid', 'test') for text in self.read(split)]
        assert len(texts) == len(set(texts)) > 10_000

    def test_topics_and_modules_are_there_and_tests_are_not(self):
        names = set(python_docs.documents())
        assert {'topics/lambda', 'asyncio/events.py', 'heapq.py'} <= names
        assert not any({'test', 'tests', 'idle_test'} & set(name.split('/')) for name in names)

    def test_nothing_is_imported(self):
        before = set(sys.modules)
        python_docs.documents()
        assert 'turtle' in {name.removesuffix('.py') for name in python_docs.documents()}
        assert 'turtle' not in set(sys.modules) - before
