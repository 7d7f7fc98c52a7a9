"""Relational recurrent neural networks (Santoro et al. 2018) in JAX and Haiku."""

from relational_rnn.baselines.dnc import DNC as DNC
from relational_rnn.baselines.entity_network import EntityNetwork as EntityNetwork
from relational_rnn.baselines.transformer import Transformer as Transformer
from relational_rnn.conversion import params_from_haiku as params_from_haiku
from relational_rnn.conversion import params_to_haiku as params_to_haiku
from relational_rnn.core import RelationalMemory as RelationalMemory
from relational_rnn.memory import GatedState as GatedState
from relational_rnn.memory import MemoryConfig as MemoryConfig
from relational_rnn.memory import MemoryParams as MemoryParams
from relational_rnn.sonnet import params_from_sonnet as params_from_sonnet
from relational_rnn.sonnet import params_to_sonnet as params_to_sonnet
from relational_rnn.unrolling import unroll as unroll
from relational_rnn.unrolling import unroll_attention as unroll_attention
from relational_rnn.unrolling import unroll_inside as unroll_inside
