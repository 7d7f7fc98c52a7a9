"""The recurrent cores that programs offer, behind one factory and one set of flags.

Glossary of shapes:
  D: input size; P: parameters; of an LSTM L: layers, h: their units; F, L, H: model size, layers
  and heads of a Transformer; of a DNC W: word size, R: read heads, L: layers of the controller, h:
  their units; of an EntNet K: cells, h: their units.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
import re
from typing import Any, Literal

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.runs import flags
import relational_rnn

NAMES = ('rmc', 'lstm', 'transformer', 'dnc', 'entnet')
# What Haiku calls their modules, and numbers if there are several.
_MODULES = re.compile('(relational_memory|lstm|transformer|dnc|entity_network)(_[0-9]+)?(/.*)?')


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of a core; Santoro et al. 2018, appendix A.4, chose the defaults for words."""

    core: Literal['rmc', 'lstm', 'transformer', 'dnc', 'entnet'] = flags.flag(
        'rmc', 'the recurrent core', 'fixed'
    )
    mem_slots: int = flags.flag(1, 'rmc: slots of the memory', 'fixed', minimum=1)
    total_units: int = flags.flag(2500, 'rmc: units of all slots together', 'fixed', minimum=1)
    num_heads: int = flags.flag(4, 'rmc: attention heads', 'fixed', minimum=1)
    num_blocks: int = flags.flag(1, 'rmc: rounds of attention a step', 'fixed', minimum=1)
    attention_mlp_layers: int = flags.flag(5, 'rmc: layers of the MLP', 'fixed', minimum=1)
    gate_style: Literal['unit', 'memory', 'none'] = flags.flag('unit', 'rmc: gates', 'fixed')
    output_gate: bool = flags.flag(False, "rmc: the paper's equations with output gate", 'fixed')
    lstm_size: int = flags.flag(
        0, 'lstm: units of a layer; 0 for as many parameters as rmc', 'fixed', 0
    )
    lstm_layers: int = flags.flag(
        1, 'lstm: layers; several all see the input and are all seen', 'fixed', minimum=1
    )
    transformer_layers: int = flags.flag(4, 'transformer: layers', 'fixed', minimum=1)
    transformer_heads: int = flags.flag(4, 'transformer: attention heads', 'fixed', minimum=1)
    transformer_size: int = flags.flag(
        0, 'transformer: width; 0 for as many parameters as rmc', 'fixed', minimum=0
    )
    transformer_memory: int = flags.flag(
        64, 'transformer: steps back that a layer attends to', 'fixed', minimum=1
    )
    dnc_memory_size: int = flags.flag(16, 'dnc: rows of the memory', 'fixed', minimum=1)
    dnc_word_size: int = flags.flag(128, 'dnc: width of a row', 'fixed', minimum=1)
    dnc_reads: int = flags.flag(4, 'dnc: read heads', 'fixed', minimum=1)
    dnc_writes: int = flags.flag(1, 'dnc: write heads', 'fixed', minimum=1)
    dnc_controller: Literal['lstm', 'feed_forward'] = flags.flag('lstm', 'dnc: controller', 'fixed')
    dnc_controller_size: int = flags.flag(
        0, 'dnc: units of a layer; 0 for as many parameters as rmc', 'fixed', minimum=0
    )
    dnc_controller_layers: int = flags.flag(2, 'dnc: layers of the controller', 'fixed', minimum=1)
    entnet_cells: int = flags.flag(4, 'entnet: memory cells', 'fixed', minimum=1)
    entnet_size: int = flags.flag(
        0, 'entnet: units of a cell; 0 for as many parameters as rmc', 'fixed', minimum=0
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


def make(config: Config, input_size: int) -> hk.RNNCore:
    """Returns the core that a configuration asks for; to be called inside `hk.transform`.

    Args:
      config: the flags.
      input_size: D, by which the other cores find their sizes.
    """
    if config.core == 'lstm':
        return _lstm(config, input_size)
    if config.core == 'transformer':
        return _transformer(config, input_size)
    if config.core == 'dnc':
        return _dnc(config, input_size)
    if config.core == 'entnet':
        return _entnet(config, input_size)
    return _relational_memory(config)


def count(params: Mapping[str, Mapping[str, Any]]) -> int:
    """Counts the parameters of the cores among those of a whole network."""
    modules = [module for module in params if _MODULES.fullmatch(module)]
    return hk.data_structures.tree_size([params[module] for module in modules])


def sizes(init: Callable[[chex.PRNGKey], Any]) -> tuple[int, int]:
    """Counts the parameters of a network, and those of the core among them.

    Args:
      init: makes the parameters of a key.
    """
    shapes = jax.eval_shape(init, jax.random.key(0))
    return hk.data_structures.tree_size(shapes), count(shapes)


def num_parameters(config: Config, input_size: int) -> int:
    """Counts the parameters P of the Relational Memory Core with these flags."""

    def run(inputs: jax.Array) -> jax.Array:
        core = _relational_memory(config)
        return core(inputs, core.initial_state(1))[0]

    inputs = jax.ShapeDtypeStruct((1, input_size), jnp.float32)
    params = jax.eval_shape(hk.transform(run).init, jax.random.key(0), inputs)
    return count(params)


def lstm_size(num_params: int, input_size: int, num_layers: int = 1) -> int:
    """Returns the units h of a layer of the LSTM with at most P parameters, at least 1.

    The first layer has 4 h (D + h + 1), and each other, which also sees the one before it,
    4 h (D + 2 h + 1): P = 4 (2 L - 1) h^2 + 4 L (D + 1) h.
    """
    return max(1, _largest(4 * (2 * num_layers - 1), 4 * num_layers * (input_size + 1), num_params))


def transformer_size(num_params: int, input_size: int, num_layers: int, num_heads: int) -> int:
    """Returns the model size F of the Transformer with at most P parameters.

    P = 12 L F^2 + (D + 13 L + 3) F: queries, keys, values and output are 4 F^2 of each layer, the
    MLP 8 F^2. F is a multiple of 2 H, for heads are of even size, and at least 2 H.
    """
    size = _largest(12 * num_layers, input_size + 13 * num_layers + 3, num_params)
    return 2 * num_heads * max(1, size // (2 * num_heads))


def entnet_size(num_params: int, input_size: int, num_cells: int) -> int:
    """Returns the units h of an EntNet's cells with at most P parameters, at least 1.

    The input's map has (D + 1) h, the keys K h and the LSTM, which all cells share and which sees
    input, key and its own output, 4 h (3 h + 1): P = 12 h^2 + (D + K + 5) h.
    """
    return max(1, _largest(12, input_size + num_cells + 5, num_params))


def dnc_controller_size(config: Config, num_params: int, input_size: int) -> int:
    """Returns the units h of a DNC's controller, with at most P parameters, at least 1.

    With S = W R + 1 numbers read and a bias, an interface of I numbers and an output of h, an LSTM
    controller has 4 h (D + S + h) parameters in its first layer and 4 h^2 more in each other, and
    interface and output see the L h units of all its layers:
    P = (9 L - 4) h^2 + (4 L (D + S) + L I + S) h + I. A feed-forward controller hands on from
    layer to layer: P = L h^2 + (D + 2 S + L - 1 + I) h + I.
    """
    layers, reads, word = config.dnc_controller_layers, config.dnc_reads, config.dnc_word_size
    seen = word * reads + 1
    interface = relational_rnn.baselines.dnc.interface_size(reads, config.dnc_writes, word)
    squares, units = layers, input_size + 2 * seen + layers - 1 + interface
    if config.dnc_controller == 'lstm':
        squares = 9 * layers - 4
        units = 4 * layers * (input_size + seen) + layers * interface + seen
    return max(1, _largest(squares, units, num_params - interface))


def _largest(squares: int, units: int, limit: int) -> int:
    """Returns the largest whole number n with squares n^2 + units n <= limit, at least 0."""
    discriminant = units * units + 4 * squares * max(0, limit)
    return (math.isqrt(discriminant) - units) // (2 * squares)


def _lstm(config: Config, input_size: int) -> hk.RNNCore:
    layers = config.lstm_layers
    size = config.lstm_size or lstm_size(num_parameters(config, input_size), input_size, layers)
    if layers == 1:
        return hk.LSTM(size)
    return hk.deep_rnn_with_skip_connections([hk.LSTM(size) for _ in range(layers)])


def _entnet(config: Config, input_size: int) -> relational_rnn.EntityNetwork:
    cells = config.entnet_cells
    size = config.entnet_size or entnet_size(num_parameters(config, input_size), input_size, cells)
    return relational_rnn.EntityNetwork(cells, size)


def _dnc(config: Config, input_size: int) -> relational_rnn.DNC:
    return relational_rnn.DNC(
        config.dnc_memory_size,
        config.dnc_word_size,
        config.dnc_reads,
        config.dnc_writes,
        controller_size=config.dnc_controller_size
        or dnc_controller_size(config, num_parameters(config, input_size), input_size),
        controller=config.dnc_controller,
        controller_layers=config.dnc_controller_layers,
    )


def _transformer(config: Config, input_size: int) -> relational_rnn.Transformer:
    layers, heads = config.transformer_layers, config.transformer_heads
    size = config.transformer_size or transformer_size(
        num_parameters(config, input_size), input_size, layers, heads
    )
    return relational_rnn.Transformer(layers, heads, size // heads, config.transformer_memory)


def _relational_memory(config: Config) -> relational_rnn.RelationalMemory:
    return relational_rnn.RelationalMemory(
        mem_slots=config.mem_slots,
        head_size=config.total_units // config.mem_slots // config.num_heads,
        num_heads=config.num_heads,
        num_blocks=config.num_blocks,
        gate_style=None if config.gate_style == 'none' else config.gate_style,
        attention_mlp_layers=config.attention_mlp_layers,
        output_gate=config.output_gate,
    )
