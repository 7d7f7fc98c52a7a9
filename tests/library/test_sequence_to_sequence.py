"""The encoder-decoder: answers of single steps, and answers that see no target."""

import functools

import chex
import haiku as hk
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn.networks import sequence_to_sequence

pytestmark = pytest.mark.usefixtures('compile_quickly')
B = 3
STEPS, ANSWER, CLASSES, SIZE = 6, 4, 5, 8  # T, A, V, D
LENGTHS = np.array([6, 3, 1])
PAIRS = {
    'lstm': lambda: hk.LSTM(7),
    'rmc': lambda: relational_rnn.RelationalMemory(mem_slots=2, head_size=3, num_heads=4),
    'transformer': lambda: relational_rnn.Transformer(2, 3, 4, memory_size=4),
    'dnc': lambda: relational_rnn.DNC(3, 4, 2, 1, controller_size=5),
    'entnet': lambda: relational_rnn.EntityNetwork(3, 6),
}


@functools.cache
def _translator(core, decoding, teacher=False, shared=True):
    """Returns the network's initialiser and itself, as a function of inputs, lengths, targets."""

    def run(*batch):
        encoder = PAIRS[core]()
        decoder = encoder if shared else PAIRS[core]()
        network = sequence_to_sequence.SequenceToSequence(encoder, decoder, CLASSES, (9, 7))
        return network(*batch, decoding=decoding, is_training=teacher)

    network = hk.without_apply_rng(hk.transform(run))
    return jax.jit(network.init), jax.jit(network.apply)


@functools.cache
def _translator_params(core, shared=True):
    """Returns parameters with which no class is favoured, so that different ones are chosen."""
    init, apply = _translator(core, 'non_autoregressive', shared=shared)
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(init, jax.random.key(0), *_question())

    def number(leaf):
        scale = 3 * leaf.shape[0] ** -0.5 if len(leaf.shape) > 1 else 0.3
        return (scale * rng.normal(size=leaf.shape)).astype(np.float32)

    params = jax.tree.map(number, shapes)
    logits = params['sequence_to_sequence/~/head/~/logits']
    logits['b'] -= np.asarray(apply(params, *_question())).mean((0, 1))
    return params


def _question(seed=1):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(STEPS, B, SIZE)).astype(np.float32)
    return inputs, LENGTHS, rng.integers(0, CLASSES, (ANSWER, B)).astype(np.int32)


def _head(params, output):
    """The MLP and the logits in float64."""
    for layer in range(2):
        numbers = params[f'sequence_to_sequence/~/head/~/mlp/~/linear_{layer}']
        output = np.maximum(output @ np.float64(numbers['w']) + numbers['b'], 0)
    numbers = params['sequence_to_sequence/~/head/~/logits']
    return output @ np.float64(numbers['w']) + numbers['b']


def _answered_alone(core, params, batch, decoding, teacher, shared):
    """Returns logits [A, B, V] of single steps of the cores, one row after another."""
    step = jax.jit(hk.without_apply_rng(hk.transform(lambda *args: PAIRS[core]()(*args))).apply)
    module = {'rmc': 'relational_memory', 'entnet': 'entity_network'}.get(core, core)

    def numbers(of):
        """The parameters of one of the cores under the name that it has when it is alone."""
        split = [(name.split('/'), values) for name, values in params.items()]
        return {'/'.join([module, *n[1:]]): values for n, values in split if n[0] == of}

    encoder, decoder = numbers(module), numbers(module if shared else f'{module}_1')
    initial = hk.without_apply_rng(hk.transform(lambda: PAIRS[core]().initial_state(1))).apply({})
    inputs, lengths, targets = batch
    result = np.zeros((ANSWER, B, CLASSES))
    for b in range(B):
        state, fed = initial, np.zeros((1, SIZE), np.float32)
        for t in range(lengths[b]):
            _, state = step(encoder, inputs[t, b : b + 1], state)
        for a in range(ANSWER):
            output, state = step(decoder, fed, state)
            result[a, b] = _head(params, np.float64(output[0]))
            if decoding != 'non_autoregressive':
                told = decoding == 'teacher_forcing' and teacher
                before = targets[a, b] if told else result[a, b].argmax()
                fed = np.eye(SIZE, dtype=np.float32)[[before]]
    return result


MIXED = [
    ('rmc', 'non_autoregressive'),
    ('lstm', 'autoregressive'),
    ('lstm', 'teacher_forcing'),
]
CASES = [
    *(('lstm', True, decoding, True) for decoding in sequence_to_sequence.DECODINGS),
    *(('rmc', False, decoding, True) for decoding in sequence_to_sequence.DECODINGS),
    ('lstm', True, 'teacher_forcing', False),
    ('lstm', False, 'autoregressive', False),
    ('transformer', True, 'autoregressive', False),
    ('dnc', True, 'non_autoregressive', False),
    ('entnet', True, 'teacher_forcing', True),
]


@pytest.mark.parametrize(('core', 'shared', 'decoding', 'teacher'), CASES)
def test_every_decoding_is_that_of_single_steps(core, shared, decoding, teacher):
    params, batch = _translator_params(core, shared), _question()
    _, apply = _translator(core, decoding, teacher, shared)
    wanted = _answered_alone(core, params, batch, decoding, teacher, shared)
    np.testing.assert_allclose(apply(params, *batch), wanted, rtol=1e-4, atol=1e-4)
    assert len(np.unique(wanted.argmax(2))) > 1  # it does not say the same all the time


@pytest.mark.parametrize(('core', 'decoding'), MIXED)
def test_what_is_past_the_lengths_changes_nothing(core, decoding):
    params, (inputs, lengths, targets) = _translator_params(core), _question()
    _, apply = _translator(core, decoding, True)
    behind = np.arange(STEPS)[:, None] >= lengths
    other = np.where(behind[..., None], np.nan, inputs)
    wanted = apply(params, inputs, lengths, targets)
    np.testing.assert_array_equal(apply(params, other, lengths, targets), wanted)
    longer = np.concatenate([inputs, inputs])  # more padding is no more than padding
    np.testing.assert_allclose(apply(params, longer, lengths, targets), wanted, atol=1e-5)
    assert np.abs(apply(params, inputs, lengths + (behind.any(0)), targets) - wanted).max() > 1e-3


@pytest.mark.parametrize(('core', 'decoding'), MIXED)
def test_batch_elements_are_apart(core, decoding):
    params, (inputs, lengths, targets) = _translator_params(core), _question()
    _, apply = _translator(core, decoding, True)
    wanted = np.array(apply(params, inputs, lengths, targets))
    inputs, targets = np.copy(inputs), np.copy(targets)
    inputs[:, 1] *= -2
    targets[:, 1] = (targets[:, 1] + 1) % CLASSES
    got = np.asarray(apply(params, inputs, np.array([6, 5, 1]), targets))
    np.testing.assert_array_equal(got[:, [0, 2]], wanted[:, [0, 2]])
    assert np.abs(got[:, 1] - wanted[:, 1]).max() > 1e-3


@pytest.mark.parametrize('decoding', sequence_to_sequence.DECODINGS)
def test_no_target_is_seen_without_a_teacher_and_the_last_never(decoding):
    params, (inputs, lengths, targets) = _translator_params('lstm'), _question()
    other = (targets + 1) % CLASSES
    for teacher in (False, True):
        _, apply = _translator('lstm', decoding, teacher)
        wanted = apply(params, inputs, lengths, targets)
        same = np.array_equal(apply(params, inputs, lengths, other), wanted)
        assert same is not (teacher and decoding == 'teacher_forcing')
        late = np.concatenate([targets[:-1], other[-1:]])
        np.testing.assert_array_equal(apply(params, inputs, lengths, late), wanted)


def test_the_parameters_do_not_depend_on_the_decoding_and_a_shared_core_has_them_once():
    made = [
        _translator('lstm', decoding, True)[0](jax.random.key(4), *_question())
        for decoding in sequence_to_sequence.DECODINGS
    ]
    chex.assert_trees_all_equal(*made)
    assert len(made[0]) == 1 + 2 + 1  # the core, the layers of the MLP, the logits
    apart, _ = _translator('lstm', 'autoregressive', shared=False)
    assert {*apart(jax.random.key(4), *_question())} == {*made[0], 'lstm_1/linear'}


def test_gradients_go_through_all_steps_but_not_through_choices():
    """To be fed one's own choices is to be told them: what is fed is a constant."""
    params, (inputs, lengths, _) = _translator_params('lstm'), _question()
    _, own = _translator('lstm', 'autoregressive')
    _, told = _translator('lstm', 'teacher_forcing', True)
    said = np.asarray(own(params, inputs, lengths, np.zeros((ANSWER, B), int))).argmax(2)

    def gradients(apply):
        def loss(params, inputs):
            return jnp.sum(jnp.sin(apply(params, inputs, lengths, said)))

        return jax.grad(loss, argnums=(0, 1))(params, inputs)

    got = gradients(own)
    chex.assert_trees_all_close(got, gradients(told), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(np.any(got[1], 2), np.arange(STEPS)[:, None] < lengths)


def test_what_a_decoder_is_told_is_the_class_before_and_first_nothing():
    got = sequence_to_sequence.shifted_one_hots(jnp.array([[2, 0], [1, 3], [0, 0]]), 4)
    wanted = [[[0] * 4] * 2, [[0, 0, 1, 0], [1, 0, 0, 0]], [[0, 1, 0, 0], [0, 0, 0, 1]]]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'decoding': 'free'}, r"decoding is one of \('non_autoregressive', .*, got 'free'"),
        ({'inputs': np.zeros((6, 3), np.float32)}, r'inputs are \[T, B, D\].*, got shape \(6, 3\)'),
        ({'inputs': np.zeros((6, 3, 4), np.float32)}, r'with room for 5 classes in D, got .* 4\)'),
        ({'inputs': np.zeros((0, 3, 8), np.float32)}, r'none of them 0.*got shape \(0, 3, 8\)'),
        ({'inputs': np.zeros((6, 3, 8), int)}, 'inputs are of a floating dtype, got int'),
        ({'targets': np.zeros((4, 2), int)}, r'targets are \[A, B\] with B = 3 .* \(4, 2\)'),
        ({'targets': np.zeros((0, 3), int)}, r'at least one step, got shape \(0, 3\)'),
        ({'targets': np.zeros((4, 3))}, 'targets are of an integer dtype, got float'),
        ({'lengths': np.zeros(2, int)}, r'lengths is \[B\] like the inputs'),
        ({'decoder': lambda: hk.LSTM(6)}, r"state has the shapes of the encoder's, .*7.*got.*6"),
        ({'num_classes': 0}, 'num_classes is a whole number of at least 1, got 0'),
    ],
)
def test_questions_and_cores_that_do_not_fit_are_refused(change, message):
    inputs, lengths, targets = _question()
    facts = {'inputs': inputs, 'lengths': lengths, 'targets': targets, 'num_classes': CLASSES}
    facts = {**facts, 'decoder': PAIRS['lstm'], 'decoding': 'autoregressive', **change}

    def run():
        decoder, num_classes = facts.pop('decoder')(), facts.pop('num_classes')
        network = sequence_to_sequence.SequenceToSequence(PAIRS['lstm'](), decoder, num_classes)
        return network(**facts)

    with pytest.raises(ValueError, match=message):
        hk.transform(run).init(jax.random.key(0))
