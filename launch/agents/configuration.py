"""The flags that agents share, and values of them that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", appendix A.3,
https://arxiv.org/abs/1806.01822: IMPALA with batches of 32 trajectories of 40 steps, discount 0.99,
entropy cost 0.005, a step size between 1e-5 and 2e-4, and a memory of 4 slots, 4 heads and 1024
units with memory gates. Not stated: optimizer, clipping, the cost of the value, how cells enter the
memory and the LSTM's size. For the first three `PAPER` takes what IMPALA did on Atari, Espeholt et
al. 2018, https://arxiv.org/abs/1802.01561: RMSProp with decay 0.99 and epsilon 0.01, clipping at a
norm of 40, a cost of 0.5. Their losses are sums over the 32 x 40 steps and ours are means, so
epsilon is 0.01 / 1280^2 here and the norm 40 / 1280.
"""

import dataclasses
from typing import Any, ClassVar, Literal, TypeVar

from launch.runs import flags
from launch.training import cores, experiment

AnyConfig = TypeVar('AnyConfig', bound='Config')


@dataclasses.dataclass(frozen=True)
class Config(cores.Config, experiment.Config):
    """The flags of an agent."""

    GROUPS: ClassVar = {
        'training': '*',
        'model': 'conv_lstm_channels feed_forward_size cells',
        'evaluation': 'evaluation_size final_evaluation_size',
    }

    core: Literal[  # more than other programs have
        'rmc', 'lstm', 'transformer', 'dnc', 'entnet', 'conv_lstm', 'feed_forward'
    ] = flags.flag('rmc', 'the recurrent core', 'fixed')  # type: ignore[assignment]
    mem_slots: int = flags.flag(4, 'rmc: slots of the memory', 'fixed', 1, 10_000)
    total_units: int = flags.flag(1024, 'rmc: units of all slots together', 'fixed', 1, 100_000)
    attention_mlp_layers: int = flags.flag(2, 'rmc: layers of the MLP', 'fixed', 1, 100)
    gate_style: Literal['unit', 'memory', 'none'] = flags.flag('memory', 'rmc: gates', 'fixed')
    conv_lstm_channels: int = flags.flag(64, 'conv_lstm: channels', 'fixed', 1, 10_000)
    feed_forward_size: int = flags.flag(256, 'feed_forward: units', 'fixed', 1, 100_000)
    cells: Literal['rows', 'flat'] = flags.flag(
        'rows', 'rmc: cells of the picture as input vectors (rows), or as one (flat)', 'fixed'
    )
    batch_size: int = flags.flag(
        32, 'environments in a batch, over all devices', 'fixed', 1, 100_000
    )
    unroll: int = flags.flag(40, 'steps of each environment in an update', 'fixed', 1, 10_000)
    discount: float = flags.flag(0.99, 'of future rewards, a step', 'warn', 0, 1)
    entropy_cost: float = flags.flag(0.005, 'weight of the entropy in the loss', 'warn', 0)
    value_cost: float = flags.flag(
        0.5, "weight of the values' halved squared errors in the loss", 'warn', 0
    )
    reward_scale: float = flags.flag(1.0, 'factor of the rewards in the loss', 'warn', 0)
    rho_bar: float = flags.flag(1.0, "V-trace's limit of a step's weight", 'warn', 0.001)
    c_bar: float = flags.flag(1.0, "V-trace's limit of a trace's weight", 'warn', 0.001)
    trace_lambda: float = flags.flag(1.0, "V-trace's lambda", 'warn', 0, 1)
    evaluation_size: int = flags.flag(
        100, 'episodes of an evaluation in training', 'free', 2, 100_000
    )
    final_evaluation_size: int = flags.flag(
        1000, 'those of the evaluation at the end and of --mode=evaluate', 'free', 2, 100_000
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        cores.Config.__post_init__(self)
        experiment.Config.__post_init__(self)

    @property
    def frames(self) -> int:
        """The environment steps of an update."""
        return self.batch_size * self.unroll


def derive(config_type: type[AnyConfig], base: Config, **values: Any) -> AnyConfig:
    """Returns a configuration of a program with an agent's flags and further values."""
    return config_type(**{**dataclasses.asdict(base), **values})


PAPER = Config(
    preset='paper',
    core='rmc',
    cells='rows',
    batch_size=32,
    unroll=40,
    discount=0.99,
    entropy_cost=0.005,
    value_cost=0.5,
    optimizer='rmsprop',
    rmsprop_epsilon=6e-9,
    clip_norm=0.03,
    learning_rate=2e-4,
    num_steps=800_000,  # of 1280 environment steps, 1e9 in all
    evaluate_every=5000,
    save_every=5000,
    log_every=500,
)
# 512 units of an LSTM remember as many numbers as 1024 units of the memory.
PAPER_LSTM = dataclasses.replace(PAPER, preset='paper-lstm', core='lstm', lstm_size=512)
PAPER_CONV_LSTM = dataclasses.replace(PAPER, preset='paper-conv-lstm', core='conv_lstm')
CPU = Config(
    preset='cpu',
    core='rmc',
    total_units=256,
    cells='flat',
    optimizer='adam',
    learning_rate=1e-3,
    schedule='cosine',
    clip_norm=1.0,
    evaluate_every=1000,
    evaluation_size=64,
)
