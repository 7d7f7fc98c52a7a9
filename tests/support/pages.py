"""The pages of the documentation, and what running their code gives."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text('utf-8')
    for path in [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted(ROOT.glob('docs/**/*.md'))]
}


def blocks(page):
    """Returns the language and the text of a page's code blocks."""
    return re.findall(r'^```(\w*)\n(.*?)^```$', PAGES[page], re.DOTALL | re.MULTILINE)


def run(page, smaller=()):
    """Runs the Python of a page in one namespace and returns it.

    Args:
      page: its path.
      smaller: pairs of a text in the code and what to run in its place, to take less time.
    """
    names = {}
    for language, text in blocks(page):
        if language == 'python':
            for size, other_size in smaller:
                text = text.replace(size, other_size)
            exec(text, names)
    return names
