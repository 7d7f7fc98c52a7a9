"""Shows what happens inside the Relational Memory Core of a trained run.

  python -m launch.attention --run_dir=RUN
  python -m launch.attention --run_dir=runs/lm-pydoc-rmc --prompt="returns a list of"

writes two files next to the run's checkpoints. `attention.html` is a page that needs no network, to
step through sequences and see at every step the attention between slots, the gates, the change of
the memory, and the answers of the model. `attention.png` is figure 3 of Santoro et al. 2018,
"Relational recurrent neural networks": every head's attention at every step.
"""

from collections.abc import Callable
import dataclasses
import os
import pathlib

from launch.inspection import (
    agents,
    attention_figure,
    learning_to_execute,
    lm,
    nth_farthest,
    tracing,
)
from launch.inspection import page as page_lib
from launch.runs import directory, errors, flags
from tasks import storage

INSPECTORS = {
    'boxworld': agents.inspect,
    'learning_to_execute': learning_to_execute.inspect,
    'lm': lm.inspect,
    'mini_pacman': agents.inspect,
    'nth_farthest': nth_farthest.inspect,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Shows what happens inside a trained Relational Memory Core, as a page and as a picture."""

    run_dir: str | None = flags.flag(None, 'of a run whose core is the RMC', 'free', path=True)
    output: str | None = flags.flag(
        None,
        'the page, NAME.html, next to it NAME.png; default RUN/attention.html, or attention.html '
        'here where nothing can be written into RUN',
        'free',
        path=True,
    )
    num_examples: int = flags.flag(4, 'sequences on the page', 'free', 1, 100)
    max_steps: int = flags.flag(40, 'the longest sequence', 'free', 1, 1000)
    picture_steps: int = flags.flag(40, 'first steps in the picture', 'free', 1, 1000)
    seed: int = flags.flag(0, 'of the choice of sequences', 'free', minimum=0)
    prompt: str = flags.flag('', 'of lm: the text, which the model continues', 'free')

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        directory.check_path('run_dir', self.run_dir)
        directory.check_path('output', self.output)
        if self.output is not None and not self.output.endswith('.html'):
            raise ValueError(f'--output: wanted a name that ends in .html, got {self.output!r}')


def run(config: Config) -> dict[str, str]:
    """Writes the page and the picture, and prints their paths.

    Args:
      config: the flags.

    Returns:
      The paths, by 'page' and 'picture'.

    Raises:
      RunError, DataError: the run cannot be opened, or a file not be written.
    """
    if config.run_dir is None:
        message = '--run_dir: wanted the directory of a trained run, got none'
        raise errors.RunError(errors.USAGE, message)
    inspect = _inspector(config.run_dir)
    folder = config.run_dir if os.access(config.run_dir, os.W_OK) else '.'
    page = pathlib.Path(config.output or os.path.join(folder, 'attention.html'))
    if not page.parent.is_dir():
        message = f'--output={page}: wanted an existing folder, got {page.parent}'
        raise errors.RunError(errors.CANNOT_SAVE, message)
    choice = config.num_examples, config.max_steps, config.seed, config.prompt
    subject = inspect(tracing.Request(config.run_dir, *choice))
    traces = tracing.trace(subject)
    picture = page.with_suffix('.png')
    try:
        storage.write_text(page, page_lib.render(subject, traces))
        first = subject.examples[0], traces[0]
        attention_figure.draw(*first, picture, subject.title, config.picture_steps)
    except OSError as error:
        message = f'{error.filename or page} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(f'page         {page}')
    print(f'picture      {picture}')
    return {'page': str(page), 'picture': str(picture)}


def _inspector(run_dir: str) -> Callable[[tracing.Request], tracing.Subject]:
    """Returns the function that opens a run of its program.

    Raises:
      RunError, DataError: there is no such run, or it cannot be inspected.
    """
    about = directory.require_description(run_dir, INSPECTORS)
    core = about['config'].get('core')
    if core != 'rmc':
        message = f'--run_dir={run_dir}: wanted a run with --core=rmc, got {core}'
        raise errors.RunError(errors.BAD_DATA, message)
    return INSPECTORS[about['program']]


if __name__ == '__main__':
    errors.leave(flags.main(Config, run, 'attention'))
