"""The flags of `learning_to_execute`, what they may be, and the settings that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.2 and appendix A.2,
https://arxiv.org/abs/1806.01822, is `--preset=paper` and those whose names begin so, one a core.
"""

import dataclasses
from typing import Literal

from launch.runs import flags, processes
from launch.training import cores, loop
from tasks.learning_to_execute import programs


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, loop.Config, processes.Config):
    """Program evaluation; see --preset=paper for Santoro et al. 2018, appendix A.2."""

    preset: str = flags.flag('cpu', 'defaults of the other flags', 'free')
    mode: Literal['train', 'evaluate'] = flags.flag('train', 'what to do', 'free')
    task: Literal['addition', 'control', 'program', 'algebra', 'copy', 'reverse', 'double'] = (
        flags.flag('program', 'what the programs do', 'fixed')
    )
    nesting: int = flags.flag(
        2,
        'operations in a program, one within the other; 1 for copy, reverse, double',
        'fixed',
        1,
    )
    length: int = flags.flag(5, 'digits of a number', 'fixed', 1, 1000)
    dialect: Literal['sonnet', 'zaremba'] = flags.flag(
        'sonnet',
        "of the programs: sonnet, the authors' generator, or zaremba, as Zaremba & Sutskever 2014",
        'fixed',
    )
    curriculum: Literal['mix', 'baseline', 'naive', 'combined'] = flags.flag(
        'mix',
        'how hard the programs of a batch are: mix, all that there are; baseline, the hardest; '
        'naive, harder and harder; combined, naive with a fifth of mix',
        'fixed',
    )
    curriculum_every: int = flags.flag(
        500, 'naive, combined: updates between looks at the accuracy', 'fixed', minimum=1
    )
    curriculum_threshold: float = flags.flag(
        0.95,
        'naive, combined: validation accuracy a character from which it gets harder',
        'fixed',
        0,
        1,
    )
    curriculum_patience: int = flags.flag(
        20, 'naive, combined: looks in vain after which it gets harder all the same', 'fixed', 1
    )
    decoding: Literal['non_autoregressive', 'autoregressive', 'teacher_forcing'] = flags.flag(
        'non_autoregressive',
        "what the decoder is fed: zeros (non_autoregressive), the model's last answer "
        '(autoregressive), or in training the true one (teacher_forcing)',
        'fixed',
    )
    hint_weight: float = flags.flag(
        0.0,
        'of the loss that teaches to say what operations take in and give; 0 for none; no effect '
        'on tasks without operations and with --dialect=zaremba',
        'fixed',
        minimum=0,
    )
    shared_core: bool = flags.flag(True, 'whether one core reads and answers', 'fixed')
    evaluation_size: int = flags.flag(
        1280, 'validation programs of an evaluation in training', 'free', minimum=1
    )
    final_evaluation_size: int = flags.flag(
        12_800, 'test programs of the evaluation at the end and of evaluate', 'free', minimum=1
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        loop.Config.__post_init__(self)
        processes.Config.__post_init__(self)
        if self.mode == 'evaluate':
            processes.check_reader(self.mode, self.run_dir, self.num_processes)
        self.setting()

    def uses_hints(self) -> bool:
        """Returns whether the network is taught to say what operations are about."""
        return self.hint_weight > 0 and bool(self.setting().operations)

    def setting(self) -> programs.Setting:
        """Returns what the programs are; raises a ValueError if there are none such."""
        try:
            return programs.Setting(self.task, self.nesting, self.length, self.dialect)
        except ValueError as error:
            raise ValueError(f'--task={self.task}: {error}') from error


# What the paper states for all cores. Of the sizes that it tried, it says of the RMC's that 4 slots
# and 4 heads did well; which of 1024 and 2048 units (and of the LSTM's and the EntNet's 1024 and
# 2048) gave its table is not stated, nor the depth of the MLP, where 2 is the default of the
# authors' module. Of the DNC's controllers 128, 256 and 512 were tried.
_PAPER = Config(
    preset='paper',
    core='rmc',
    mem_slots=4,
    total_units=2048,
    num_heads=4,
    num_blocks=1,
    attention_mlp_layers=2,
    gate_style='memory',
    batch_size=128,
    learning_rate=1e-3,
    schedule='constant',
    warmup_steps=0,
    clip_norm=0.0,
    curriculum='mix',
    decoding='non_autoregressive',
    num_steps=200_000,
    evaluate_every=1000,
    save_every=1000,
)
_PAPER_DNC = dataclasses.replace(
    _PAPER,
    preset='paper-dnc',
    core='dnc',
    dnc_memory_size=80,
    dnc_word_size=64,
    dnc_reads=4,
    dnc_writes=1,
    dnc_controller='lstm',
    dnc_controller_layers=2,
    dnc_controller_size=256,
)
PRESETS = {
    'cpu': Config(
        preset='cpu',
        core='rmc',
        mem_slots=4,
        total_units=512,
        num_heads=4,
        num_blocks=1,
        attention_mlp_layers=2,
        gate_style='memory',
        batch_size=128,
        accumulate=8,  # parts of programs of about one length
        learning_rate=2e-3,
        schedule='cosine',
        warmup_steps=200,
        clip_norm=1.0,
        hint_weight=8.0,
        num_steps=20_000,
        evaluate_every=1000,
        save_every=1000,
    ),
    'paper': _PAPER,
    'paper-lstm': dataclasses.replace(
        _PAPER, preset='paper-lstm', core='lstm', lstm_layers=2, lstm_size=1024
    ),
    'paper-dnc': _PAPER_DNC,
    'paper-dnc-memorization': dataclasses.replace(
        _PAPER_DNC,
        preset='paper-dnc-memorization',
        task='copy',
        nesting=1,
        length=50,
        dnc_controller='feed_forward',
    ),
    'paper-entnet': dataclasses.replace(
        _PAPER, preset='paper-entnet', core='entnet', entnet_cells=4, entnet_size=256
    ),
}
