"""The means of what updates report between two lines of the log, and the time."""

import math
import time

import pytest

from launch.training import meter as meter_lib
from launch.training import update as update_lib
from relational_rnn import losses
from tests.support import toy_task


def _report(num_updates, **sums):
    sums = {name: losses.WeightedSum(*pair) for name, pair in sums.items()}
    return update_lib.Report(num_updates, True, sums)


def test_a_meter_divides_totals_by_weights_and_leaves_out_what_had_none():
    meter = meter_lib.Meter(toy_task.make())
    meter.add(_report(1, loss=(6, 2), grad_norm=(3, 1), right=(1, 2), episode=(3, 1)))
    meter.add(_report(2, loss=(8, 5), grad_norm=(9, 2), right=(2.5, 5), episode=(5, 3)))
    with meter.paused():
        time.sleep(0.3)
    values = meter.read()
    assert values['loss'] == pytest.approx(2.0)
    assert values['perplexity'] == pytest.approx(math.exp(2.0))
    assert values['grad_norm'] == pytest.approx(4.0)
    assert (values['right'], values['episode']) == (0.5, 2.0)
    assert values['seconds'] < 0.2
    assert values['words_per_second'] == pytest.approx(7 / values['seconds'])
    assert meter.num_updates == 0
    meter.add(_report(1, loss=(6, 2), grad_norm=(3, 1), episode=(0, 0)))
    assert not {'right', 'episode'} & meter.read().keys()
