"""Folders of text that tests write, and the words that `corpora.load` reads from them."""

import itertools

from tasks.text import corpora


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def words_of(corpus, split):
    return list(itertools.chain.from_iterable(corpus.blocks(split)))


def read(folder, train, layout='{}.txt', tokenizer=None):
    """The words of a train split with this content."""
    contents = {'train': train, 'valid': 'v', 'test': 't'}
    files = {layout.format(split): content for split, content in contents.items()}
    return words_of(corpora.load('text', write(folder, files), tokenizer), 'train')
