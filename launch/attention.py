"""Looks inside the Relational Memory Core of a trained run.

  python -m launch.attention --run_dir=RUN
  python -m launch.attention --run_dir=runs/lm-pydoc-rmc --prompt="returns a list of"

writes two files beside the run's checkpoints. `attention.html` is a page without network, on which
a person steps through sequences and sees at every step which slot attends to which, the gates, what
changes in the memory, and what the model answers. `attention.png` is figure 3 of Santoro et al.
2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822: every head's
attention at every step. Any program takes part that has a file `inspection/of_PROGRAM.py`, see
`subjects`.
"""

import dataclasses
import os
import pathlib
import sys

from launch.inspection import figure, subjects
from launch.inspection import page as page_lib
from launch.runs import directory, errors, flags


@dataclasses.dataclass(frozen=True)
class Config:
    """Shows what happens inside a trained Relational Memory Core, as a page and as a picture."""

    run_dir: str | None = flags.flag(None, 'of a run whose core is the RMC', 'free')
    output: str | None = flags.flag(
        None, 'the page, NAME.html, and beside it NAME.png; default RUN/attention.html', 'free'
    )
    num_examples: int = flags.flag(4, 'sequences on the page', 'free', 1, 100)
    max_steps: int = flags.flag(40, 'the longest that a sequence may be', 'free', 1, 1000)
    seed: int = flags.flag(0, 'of the choice of sequences', 'free', minimum=0)
    prompt: str = flags.flag('', 'of lm: the text, which the model then goes on with', 'free')

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        if self.output is not None and not self.output.endswith('.html'):
            raise ValueError(f'--output: wanted a name that ends in .html, got {self.output!r}')


def run(config: Config) -> dict[str, str]:
    """Writes the page and the picture, and prints where they are.

    Args:
      config: the flags.

    Returns:
      Their paths, by 'page' and 'picture'.

    Raises:
      RunError, DataError: the run cannot be looked at, or a file not be written.
    """
    run_dir = config.run_dir
    if run_dir is None:
        message = '--run_dir: wanted the directory of a trained run, got none'
        raise errors.RunError(errors.USAGE, message)
    if not os.path.isdir(os.path.join(run_dir, 'checkpoints')):
        message = f'--run_dir={run_dir}: wanted the directory of a trained run, it has none'
        raise errors.RunError(errors.BAD_DATA, message)
    page = pathlib.Path(config.output or os.path.join(run_dir, 'attention.html'))
    if not page.parent.is_dir():
        message = f'--output={page}: wanted a folder that is there, {page.parent} is not'
        raise errors.RunError(errors.CANNOT_SAVE, message)
    asked = config.num_examples, config.max_steps, config.seed, config.prompt
    with directory.RunDirectory(run_dir):
        subject = subjects.open_run(subjects.Request(run_dir, *asked))
    looks = subjects.look_inside(subject)
    picture = page.with_suffix('.png')
    try:
        page.write_text(page_lib.render(subject, looks), 'utf-8')
        figure.draw(subject.examples[0], looks[0], picture, subject.title)
    except OSError as error:
        message = f'{error.filename or page} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(f'page         {page}')
    print(f'picture      {picture}')
    return {'page': str(page), 'picture': str(picture)}


if __name__ == '__main__':
    sys.exit(flags.main(Config, run, 'attention'))
