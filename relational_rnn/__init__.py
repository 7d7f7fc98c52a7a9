"""Relational recurrent neural networks (Santoro et al. 2018) in JAX and Haiku."""

from relational_rnn.baselines.dnc import DNC
from relational_rnn.baselines.entity_network import EntityNetwork
from relational_rnn.baselines.transformer import Transformer
from relational_rnn.conversion import params_from_haiku, params_to_haiku
from relational_rnn.core import RelationalMemory
from relational_rnn.memory import GatedState, MemoryConfig, MemoryParams
from relational_rnn.sonnet import params_from_sonnet, params_to_sonnet
from relational_rnn.unrolling import unroll, unroll_attention, unroll_inside

__version__ = '0.2.0'
__all__ = [
    'DNC',
    'EntityNetwork',
    'GatedState',
    'MemoryConfig',
    'MemoryParams',
    'RelationalMemory',
    'Transformer',
    'params_from_haiku',
    'params_from_sonnet',
    'params_to_haiku',
    'params_to_sonnet',
    'unroll',
    'unroll_attention',
    'unroll_inside',
]
