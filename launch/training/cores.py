"""The recurrent cores that programs offer: one registry, one set of flags, one search for sizes.

A core is one entry of `CORES`. The size of every core but the RMC may be left to 0 and is then the
largest with which the core has at most as many parameters as the RMC with the same flags.

Glossary of shapes:
  D: input size; K: vectors of an input; H, W, C: height, width and channels of a picture.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, ClassVar, Literal, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from launch.runs import flags
import relational_rnn
from relational_rnn.baselines import feed_forward

Shape = tuple[int, ...]  # of one step's input without B: (D,), or (K, D) for the RMC, or (H, W, C)


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of a core; Santoro et al. 2018, appendix A.4, chose the defaults for words."""

    GROUPS: ClassVar = {'model': '*'}

    core: Literal['rmc', 'lstm', 'transformer', 'dnc', 'entnet'] = flags.flag(
        'rmc', 'the recurrent core', 'fixed'
    )
    mem_slots: int = flags.flag(1, 'rmc: slots of the memory', 'fixed', 1, 10_000)
    total_units: int = flags.flag(2500, 'rmc: units of all slots together', 'fixed', 1, 100_000)
    num_heads: int = flags.flag(4, 'rmc: attention heads', 'fixed', 1, 1000)
    num_blocks: int = flags.flag(1, 'rmc: attention blocks in a step', 'fixed', 1, 100)
    attention_mlp_layers: int = flags.flag(5, 'rmc: layers of the MLP', 'fixed', 1, 100)
    gate_style: Literal['unit', 'memory', 'none'] = flags.flag('unit', 'rmc: gates', 'fixed')
    output_gate: bool = flags.flag(False, "rmc: the paper's equations with output gate", 'fixed')
    lstm_size: int = flags.flag(
        0, 'lstm: units of a layer; 0 for as many parameters as rmc', 'fixed', 0, 100_000
    )
    lstm_layers: int = flags.flag(
        1, 'lstm: layers, with skip connections from the input and to the output', 'fixed', 1, 100
    )
    transformer_layers: int = flags.flag(4, 'transformer: layers', 'fixed', 1, 100)
    transformer_heads: int = flags.flag(4, 'transformer: attention heads', 'fixed', 1, 1000)
    transformer_size: int = flags.flag(
        0, 'transformer: width; 0 for as many parameters as rmc', 'fixed', 0, 100_000
    )
    transformer_memory: int = flags.flag(
        64, 'transformer: steps back that a layer attends to', 'fixed', 1, 100_000
    )
    dnc_memory_size: int = flags.flag(16, 'dnc: locations of the memory', 'fixed', 1, 10_000)
    dnc_word_size: int = flags.flag(128, 'dnc: numbers in a location', 'fixed', 1, 10_000)
    dnc_reads: int = flags.flag(4, 'dnc: read heads', 'fixed', 1, 100)
    dnc_writes: int = flags.flag(1, 'dnc: write heads', 'fixed', 1, 100)
    dnc_controller: Literal['lstm', 'feed_forward'] = flags.flag('lstm', 'dnc: controller', 'fixed')
    dnc_controller_size: int = flags.flag(
        0, 'dnc: units of a layer; 0 for as many parameters as rmc', 'fixed', 0, 100_000
    )
    dnc_controller_layers: int = flags.flag(2, 'dnc: layers of the controller', 'fixed', 1, 100)
    entnet_cells: int = flags.flag(4, 'entnet: memory cells', 'fixed', 1, 10_000)
    entnet_size: int = flags.flag(
        0, 'entnet: units of a cell; 0 for as many parameters as rmc', 'fixed', 0, 100_000
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        flags.check(self)
        if self.total_units % (self.mem_slots * self.num_heads):
            raise ValueError(
                f'--total_units: wanted a multiple of --mem_slots x --num_heads = '
                f'{self.mem_slots} x {self.num_heads}, got {self.total_units}'
            )
        if self.output_gate and self.gate_style == 'none':
            raise ValueError('--output_gate=True: wanted --gate_style=unit or memory, got none')
        if self.transformer_size % (2 * self.transformer_heads):
            raise ValueError(
                f'--transformer_size: wanted 0 or a multiple of 2 x --transformer_heads = '
                f'{2 * self.transformer_heads}, got {self.transformer_size}'
            )


class Core(NamedTuple):
    """How a core is made, inside `hk.transform`."""

    make: Callable[[Any, int, Shape], hk.RNNCore]  # of flags, size and the shape of an input
    size: str = ''  # the flag of its size; '' for a core that has none
    multiple: Callable[[Any], int] = lambda config: 1  # sizes are multiples of this


def _rmc(config: Any, size: int, shape: Shape) -> hk.RNNCore:
    del size, shape
    return relational_rnn.RelationalMemory(
        mem_slots=config.mem_slots,
        head_size=config.total_units // config.mem_slots // config.num_heads,
        num_heads=config.num_heads,
        num_blocks=config.num_blocks,
        gate_style=None if config.gate_style == 'none' else config.gate_style,
        attention_mlp_layers=config.attention_mlp_layers,
        output_gate=config.output_gate,
    )


def _lstm(config: Any, size: int, shape: Shape) -> hk.RNNCore:
    del shape
    if config.lstm_layers == 1:
        return hk.LSTM(size)
    return hk.deep_rnn_with_skip_connections([hk.LSTM(size) for _ in range(config.lstm_layers)])


def _transformer(config: Any, size: int, shape: Shape) -> hk.RNNCore:
    del shape
    layers, heads = config.transformer_layers, config.transformer_heads
    return relational_rnn.Transformer(layers, heads, size // heads, config.transformer_memory)


def _dnc(config: Any, size: int, shape: Shape) -> hk.RNNCore:
    del shape
    return relational_rnn.DNC(
        config.dnc_memory_size,
        config.dnc_word_size,
        config.dnc_reads,
        config.dnc_writes,
        controller_size=size,
        controller=config.dnc_controller,
        controller_layers=config.dnc_controller_layers,
    )


def _entnet(config: Any, size: int, shape: Shape) -> hk.RNNCore:
    del shape
    return relational_rnn.EntityNetwork(config.entnet_cells, size)


def _conv_lstm(config: Any, size: int, shape: Shape) -> hk.RNNCore:
    del config
    return hk.Conv2DLSTM(shape[:2], size, kernel_shape=2)


def _feed_forward(config: Any, size: int, shape: Shape) -> hk.RNNCore:
    del config, shape
    return feed_forward.FeedForward(size)


CORES: Mapping[str, Core] = {
    'rmc': Core(_rmc),
    'lstm': Core(_lstm, 'lstm_size'),
    'transformer': Core(
        _transformer, 'transformer_size', lambda config: 2 * config.transformer_heads
    ),
    'dnc': Core(_dnc, 'dnc_controller_size'),
    'entnet': Core(_entnet, 'entnet_size'),
    'conv_lstm': Core(_conv_lstm, 'conv_lstm_channels'),  # of agents, which have its flags
    'feed_forward': Core(_feed_forward, 'feed_forward_size'),
}


def make(config: Any, shape: Shape) -> hk.RNNCore:
    """Returns the core that a configuration names; to be called inside `hk.transform`.

    Args:
      config: the flags, with all that the core's entry reads.
      shape: of one step's input without B.
    """
    return CORES[config.core].make(config, size(config, shape), shape)


@functools.cache
def size(config: Any, shape: Shape) -> int:
    """Returns the size of a core: its flag, or that of as many parameters as the RMC has; or 0."""
    core = CORES[config.core]
    if not core.size:
        return 0
    limit = functools.partial(_count, _rmc, config, shape=shape)
    candidate = functools.partial(_count, core.make, config, shape=shape)
    step = core.multiple(config)
    return getattr(config, core.size) or step * _largest(lambda n: candidate(step * n), limit(0))


def num_parameters(config: Any, shape: Shape) -> int:
    """Counts the parameters of a core."""
    return _count(CORES[config.core].make, config, size(config, shape), shape=shape)


def _count(make_core: Callable[..., hk.RNNCore], config: Any, size: int, *, shape: Shape) -> int:
    def run(inputs: jax.Array) -> None:
        core = make_core(config, size, shape)
        core(inputs, core.initial_state(1))

    inputs = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    params = jax.eval_shape(hk.transform(run).init, jax.random.key(0), inputs)
    return hk.data_structures.tree_size(params)


def _largest(count: Callable[[int], int], limit: int) -> int:
    """Returns the largest n with count(n) <= limit, at least 1; count must not fall.

    The first guess is where the square through three counts meets the limit: exact, but for
    rounding, where parameters are square matrices. The neighbours then decide.
    """
    places = [4, 8, 16]
    a, b, c = np.polyfit(places, [count(n) for n in places], 2)
    root = (-b + np.sqrt(max(b * b - 4 * a * (c - limit), 0.0))) / (2 * a)
    n = max(1, int(root))
    while n > 1 and count(n) > limit:
        n -= 1
    while count(n + 1) <= limit:
        n += 1
    return n
