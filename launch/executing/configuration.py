"""The flags of Learning to Execute."""

import dataclasses
from typing import ClassVar, Literal

from launch.runs import flags
from launch.training import cores, experiment
from launch.training import curriculum as curriculum_lib
from tasks.learning_to_execute import setting


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, curriculum_lib.Config, experiment.Config):
    """Program evaluation; see --preset=paper for Santoro et al. 2018, appendix A.2."""

    GROUPS: ClassVar = {
        'data': '*',
        'training': 'curriculum',
        'model': 'decoding shared_core',
        'evaluation': 'evaluation_size final_evaluation_size',
    }

    task: Literal['addition', 'control', 'program', 'algebra', 'copy', 'reverse', 'double'] = (
        flags.flag('program', 'what programs do', 'fixed')
    )
    nesting: int = flags.flag(2, 'nested operations; 1 for copy, reverse, double', 'fixed', 1, 100)
    length: int = flags.flag(5, 'digits of a number', 'fixed', 1, 1000)
    dialect: Literal['sonnet', 'zaremba'] = flags.flag(
        'sonnet', "of programs: the authors' generator, or Zaremba & Sutskever 2014", 'fixed'
    )
    curriculum: Literal['mix', 'baseline', 'naive', 'combined'] = flags.flag(
        'mix',
        'difficulties in a batch: mix, all of them; baseline, the hardest; naive, increasing; '
        'combined, naive with a fifth of mix',
        'fixed',
    )
    decoding: Literal['non_autoregressive', 'autoregressive', 'teacher_forcing'] = flags.flag(
        'non_autoregressive',
        "what the decoder is fed: zeros, the network's last answer, or in training the true one",
        'fixed',
    )
    shared_core: bool = flags.flag(True, 'whether one core reads and answers', 'fixed')
    evaluation_size: int = flags.flag(
        1280, 'validation programs of an evaluation', 'free', 1, 10_000_000
    )
    final_evaluation_size: int = flags.flag(
        12_800,
        'test programs of the evaluation at the end and of --mode=evaluate',
        'free',
        1,
        10_000_000,
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        experiment.Config.__post_init__(self)
        self.setting()

    def setting(self) -> setting.Setting:
        """Returns what the programs are; raises a ValueError if there are none such."""
        try:
            return setting.Setting(self.task, self.nesting, self.length, self.dialect)
        except ValueError as error:
            raise ValueError(f'--task={self.task}: {error}') from error
