"""The flags that agents share, what they may be, and settings of an agent that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", appendix A.3,
https://arxiv.org/abs/1806.01822: IMPALA with batches of 32 trajectories of 40 steps, discount 0.99,
entropy cost 0.005, a step size between 1e-5 and 2e-4, and a memory of 4 slots, 4 heads and 1024
units with memory gates. Not stated: optimizer, clipping, the cost of the value, how cells enter the
memory and the LSTM's size. For the first three the settings `paper` take what IMPALA did on Atari,
Espeholt et al. 2018, https://arxiv.org/abs/1802.01561: RMSProp with decay 0.99 and epsilon 0.01,
clipping at a norm of 40, a cost of 0.5. Their losses are sums over the 32 x 40 steps and ours are
means, so epsilon is 0.01 / 1280^2 here and the norm 40 / 1280.
"""

import dataclasses
from typing import Any, Literal

from launch.runs import flags as flags_lib
from launch.runs import processes
from launch.training import cores, loop

_PAPER: dict[str, Any] = {
    'batch_size': 32,
    'unroll': 40,
    'discount': 0.99,
    'entropy_cost': 0.005,
    'value_cost': 0.5,
    'optimizer': 'rmsprop',
    'rmsprop_epsilon': 6e-9,
    'clip_norm': 0.03,
    'learning_rate': 2e-4,
    'schedule': 'constant',
    'warmup_steps': 0,
    'num_steps': 800_000,  # of 1280 environment steps, 1e9 in all
    'evaluate_every': 5000,
    'save_every': 5000,
    'log_every': 500,
}
# By the preset's name. 512 units of an LSTM remember as many numbers as 1024 units of the memory.
PAPER: dict[str, dict[str, Any]] = {
    'paper': {'core': 'rmc', 'cells': 'rows', **_PAPER},
    'paper-lstm': {'core': 'lstm', 'lstm_size': 512, **_PAPER},
    'paper-conv-lstm': {'core': 'conv_lstm', **_PAPER},
}
CPU: dict[str, Any] = {
    'core': 'rmc',
    'mem_slots': 4,
    'total_units': 256,
    'num_heads': 4,
    'cells': 'flat',
    'batch_size': 32,
    'unroll': 40,
    'optimizer': 'adam',
    'learning_rate': 1e-3,
    'clip_norm': 1.0,
    'log_every': 50,
    'evaluate_every': 1000,
    'save_every': 500,
    'evaluation_size': 64,
}


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, loop.Config, processes.Config):
    """The flags of an agent."""

    mode: Literal['train', 'evaluate'] = flags_lib.flag('train', 'what to do', 'free')
    core: Literal['rmc', 'lstm', 'transformer', 'dnc', 'entnet', 'conv_lstm', 'feed_forward'] = (
        flags_lib.flag('rmc', 'the recurrent core', 'fixed')  # type: ignore[assignment]
    )
    mem_slots: int = flags_lib.flag(4, 'rmc: slots of the memory', 'fixed', minimum=1)
    total_units: int = flags_lib.flag(1024, 'rmc: units of all slots together', 'fixed', minimum=1)
    attention_mlp_layers: int = flags_lib.flag(2, 'rmc: layers of the MLP', 'fixed', minimum=1)
    gate_style: Literal['unit', 'memory', 'none'] = flags_lib.flag('memory', 'rmc: gates', 'fixed')
    lstm_size: int = flags_lib.flag(
        0, 'lstm: units of a layer; 0 for as many parameters as rmc, cells flat', 'fixed', 0
    )
    conv_lstm_channels: int = flags_lib.flag(64, 'conv_lstm: channels', 'fixed', minimum=1)
    feed_forward_size: int = flags_lib.flag(256, 'feed_forward: units', 'fixed', minimum=1)
    cells: Literal['rows', 'flat'] = flags_lib.flag(
        'rows', 'rmc: how it gets the cells of the picture: rows, each apart, or flat', 'fixed'
    )
    batch_size: int = flags_lib.flag(
        32, 'environments, played side by side, over all devices', 'fixed', minimum=1
    )
    unroll: int = flags_lib.flag(40, 'steps that each is played in an update', 'fixed', minimum=1)
    discount: float = flags_lib.flag(0.99, 'of the rewards to come, a step', 'warn', 0, 1)
    entropy_cost: float = flags_lib.flag(0.005, 'weight of the entropy in the loss', 'warn', 0)
    value_cost: float = flags_lib.flag(
        0.5, "weight of the values' halved squared errors in the loss", 'warn', 0
    )
    reward_scale: float = flags_lib.flag(
        1.0, 'what rewards are multiplied by for the loss', 'warn', minimum=0
    )
    rho_bar: float = flags_lib.flag(1.0, "V-trace's limit of a step's weight", 'warn', 0.001)
    c_bar: float = flags_lib.flag(1.0, "V-trace's limit of a trace's weight", 'warn', 0.001)
    trace_lambda: float = flags_lib.flag(1.0, "V-trace's lambda", 'warn', 0, 1)
    evaluation_size: int = flags_lib.flag(
        100, 'episodes of an evaluation in training', 'free', minimum=2
    )
    final_evaluation_size: int = flags_lib.flag(
        1000, 'those of the evaluation at the end and of evaluate', 'free', minimum=2
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        loop.Config.__post_init__(self)
        processes.Config.__post_init__(self)
        self.shared_core()
        if self.mode == 'evaluate':
            processes.check_reader(self.mode, self.run_dir, self.num_processes)

    def shared_core(self) -> cores.Config:
        """Returns the flags of the cores that other programs have too."""
        names = [field.name for field in dataclasses.fields(cores.Config)]
        flags = {name: getattr(self, name) for name in names}
        return cores.Config(**{**flags, 'core': self.core if self.core in cores.NAMES else 'rmc'})

    @property
    def frames(self) -> int:
        """Returns how many environment steps an update takes."""
        return self.batch_size * self.unroll
