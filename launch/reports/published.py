"""All numbers that others published, with which runs are compared.

Santoro et al. 2018, "Relational recurrent neural networks", https://arxiv.org/abs/1806.01822. Its
Table 2 calls "LSTM" what its Table 3 shows to be an LSTM with Hebbian softmax (Rae et al. 2018);
that name is used here. Figures 10 and 12 were read by eye. Dehghani et al. 2019, "Universal
Transformers", https://arxiv.org/abs/1807.03819, Tables 5 and 6.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Values = Sequence[float | None]

# Section 5.1: accuracy on 8 vectors of 16 dimensions, from the answers alone.
NTH_FARTHEST = {"the paper's RMC": 0.91}
# Section 5.3: episode returns of Mini PacMan 'regular', of curves that rise further, by the
# window's size; 0 for the full view.
MINI_PACMAN = {
    5: {"the paper's RMC": 677, "the paper's LSTM": 550},
    0: {"the paper's RMC": 1159, "the paper's LSTM": 598},
}
# Appendix A.3: share of BoxWorld levels with success, window of 5.
BOXWORLD = {"the paper's RMC": 0.98, "the paper's ConvLSTM": 0.73}

# Learning to Execute, Table 1.
RMC = 'RMC (Santoro et al. 2018)'  # the paper's own model
_TASKS = ('addition', 'control', 'program', 'copy', 'reverse', 'double')
# In % per character, of whole answers in parentheses, in the digits that were printed.
_SCORES = {
    'LSTM (Santoro et al. 2018)': ('99.8', '97.4', '66.1', '99.8', '99.7', '99.7'),
    'EntNet (Santoro et al. 2018)': ('98.4', '98.0', '73.4', '91.8', '100.0', '62.3'),
    'DNC (Santoro et al. 2018)': ('99.4', '83.8', '69.5', '100.0', '100.0', '100.0'),
    RMC: ('99.9', '99.6', '79.0', '100.0', '100.0', '99.8'),
    'LSTM (Dehghani et al. 2019)': ('83 (11)', '68 (21)', '53 (12)', '78', '91', '51'),
    'Transformer (Dehghani et al. 2019)': ('100 (100)', '93 (66)', '71 (29)', '98', '81', '94'),
    'Universal Transformer (Dehghani et al. 2019)': (
        *('100 (100)', '100 (100)', '89 (63)'),
        *('100', '100', '100'),
    ),
}
TABLE_1: Mapping[str, Mapping[str, str]] = {  # by model, by task
    model: dict(zip(_TASKS, scores, strict=True)) for model, scores in _SCORES.items()
}


class Corpus(NamedTuple):
    """The paper's numbers for a corpus, by model."""

    splits: Mapping[str, Values]  # Table 2: validation, test
    bands: Mapping[str, Values]  # Table 3: one for each of `BANDS`, and all
    increases: Mapping[str, Values]  # Figure 12: one for each of `UNROLL_LENGTHS`
    difference: str  # of its corpus from the one that runs here; empty if it is the same


CORPORA = {
    'wikitext103': Corpus(
        splits={
            'LSTM (Grave et al. 2016)': (None, 48.7),
            'temporal CNN (Bai et al. 2018)': (None, 45.2),
            'gated CNN (Dauphin et al. 2016)': (None, 37.2),
            'LSTM + Hebbian': (34.1, 34.3),
            'quasi-RNN (Merity et al. 2018)': (32.0, 33.0),
            'RMC': (30.8, 31.6),
        },
        bands={},
        increases={
            'LSTM, by eye': (21, 10.2, 4.6, 1.6, 0.7, 0),
            'RMC, by eye': (21, 5.8, 1.2, 0.6, 0.7, 0),
        },
        difference='',
    ),
    'gutenberg': Corpus(
        splits={'LSTM + Hebbian': (41.8, 45.5), 'RMC': (39.2, 42.0)},
        bands={},
        increases={},
        difference='other books, 180 M words',
    ),
    'gigaword': Corpus(
        splits={'LSTM + Hebbian': (None, 43.7), 'RMC': (None, 38.3)},
        bands={
            'LSTM': (39.4, 6.5e3, 3.7e4, 53.5),
            'LSTM + Hebbian': (33.2, 3.2e3, 1.6e4, 43.7),
            'RMC': (28.3, 3.1e3, 6.9e4, 38.3),
        },
        increases={},
        difference='GigaWord v5, 4 B words',
    ),
}
