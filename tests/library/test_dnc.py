"""The Differentiable Neural Computer, against a float64 loop, literals and laws."""

import functools
from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational_rnn
from relational_rnn.baselines import dnc_memory

pytestmark = pytest.mark.usefixtures('compile_quickly')
T, B, D, N, W, R, H, SIZE, Y = 10, 4, 5, 7, 6, 3, 2, 8, 9


class Case(NamedTuple):
    """The choices that a run of the reference depends on."""

    controller: str
    layers: int
    heads: tuple[int, int]
    clip_value: float | None


CASES = {
    'lstm': Case('lstm', 2, (R, H), 20.0),
    'clipped_lstm_of_one_layer': Case('lstm', 1, (3, 1), 0.3),
    'feed_forward': Case('feed_forward', 3, (R, H), None),
}
LSTM = CASES['lstm']


@pytest.fixture(autouse=True)
def _strict_ranks():
    with jax.numpy_rank_promotion('raise'):
        yield


def make_core(case=LSTM):
    return relational_rnn.DNC(
        *(N, W, *case.heads, SIZE, Y),
        controller=case.controller,
        controller_layers=case.layers,
        clip_value=case.clip_value,
    )


def transformed(function):
    return hk.without_apply_rng(hk.transform(function))


def initial_state(case=LSTM, batch_size=B):
    return transformed(lambda: make_core(case).initial_state(batch_size)).apply({})


def pure(case=LSTM, unroll=relational_rnn.unroll):
    """An unroll as a pure function of parameters, inputs, state and, if any, flags."""
    return transformed(lambda inputs, state, *flags: unroll(make_core(case), inputs, state, *flags))


@functools.cache
def apply(case=LSTM):
    return jax.jit(pure(case).apply)


@functools.cache
def params(case=LSTM):
    """Parameters in float64, none of them zero or one, and spread enough to move every gate."""
    args = jnp.zeros((1, 1, D)), initial_state(case, 1)
    shapes = jax.eval_shape(pure(case).init, jax.random.key(0), *args)
    rng = np.random.default_rng(0)

    def number(leaf):
        spread = 2 * leaf.shape[0] ** -0.5 if leaf.ndim == 2 else 0.7
        return spread * rng.normal(size=leaf.shape)

    return jax.tree.map(number, shapes)


def single_params(case=LSTM):
    return jax.tree.map(np.float32, params(case))


def used_state(case=LSTM):
    """A state in float64 without ties: where rows are equally free, rounding would order them."""
    rng = np.random.default_rng(4)
    state = jax.tree.map(
        lambda leaf: 0.3 * np.tanh(rng.normal(size=leaf.shape)), initial_state(case)
    )
    weights = {
        name: 0.9 * rng.dirichlet(np.ones(N), size=getattr(state, name).shape[:-1])
        for name in ('read_weights', 'write_weights', 'precedence')
    }
    link = rng.uniform(size=state.link.shape) / N * (1 - np.eye(N))
    return state._replace(usage=rng.uniform(size=state.usage.shape), link=link, **weights)


def single_state():
    return jax.tree.map(np.float32, used_state())


def inputs_of(steps=T, seed=1):
    return np.random.default_rng(seed).normal(size=(steps, B, D)).astype(np.float32)


# --- A float64 loop over rows, heads and places, from the paper's equations


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _softmax(x):
    return np.exp(x) / np.exp(x).sum()


def _linear(numbers, x):
    return x @ numbers['w'] + numbers['b']


def _controller(numbers, case, x, memories):
    """Returns the output for an input and every layer's [hidden, cell]."""
    if case.controller == 'feed_forward':
        for layer in range(case.layers):
            x = np.maximum(_linear(numbers[f'dnc/~/controller/~/linear_{layer}'], x), 0)
        return x, memories
    outputs, after = [], []
    for layer, (hidden, cell) in enumerate(memories):
        seen = np.concatenate([x, *outputs[-1:], hidden])
        gates = _linear(numbers[f'dnc/~/controller_{layer}/linear'], seen).reshape(4, SIZE)
        write, candidate, keep, show = gates  # Haiku keeps by sigmoid(x + 1)
        cell = _sigmoid(keep + 1) * cell + _sigmoid(write) * np.tanh(candidate)
        outputs.append(_sigmoid(show) * np.tanh(cell))
        after.append([outputs[-1], cell])
    return np.concatenate(outputs), after


def _split(numbers, reads, writes):
    """The interface in the paper's order, each entry a list over its heads."""
    rest = list(numbers)

    def take(count, width=None):
        taken = [np.array([rest.pop(0) for _ in range(width or 1)]) for _ in range(count)]
        return taken if width else [x[0] for x in taken]

    def oneplus(values):
        return [1 + np.log(1 + np.exp(x)) for x in values]

    parts = {
        'read_keys': take(reads, W),
        'read_strengths': oneplus(take(reads)),
        'write_keys': take(writes, W),
        'write_strengths': oneplus(take(writes)),
        'erase': [_sigmoid(x) for x in take(writes, W)],
        'write_vectors': take(writes, W),
        'free_gates': [_sigmoid(x) for x in take(reads)],
        'allocation_gates': [_sigmoid(x) for x in take(writes)],
        'write_gates': [_sigmoid(x) for x in take(writes)],
        'read_modes': [_softmax(x) for x in take(reads, 1 + 2 * writes)],
    }
    assert not rest
    return parts


def _content(memory, key, strength):
    def norm(x):
        return np.sqrt(x @ x + 1e-6)

    return _softmax(np.array([strength * (key @ row) / norm(key) / norm(row) for row in memory]))


def _allocation(usage):
    free = sorted(range(len(usage)), key=lambda row: (usage[row], row))
    weights, product = np.zeros(len(usage)), 1.0
    for row in free:
        weights[row] = (1 - usage[row]) * product
        product *= usage[row]
    return weights


def _access(parts, s, reads, writes):
    """One step of the memory of one row of a batch, a dictionary of arrays, to the next."""
    written = 1 - np.prod([1 - w for w in s['write_weights']], axis=0)
    psi = np.prod([1 - parts['free_gates'][r] * s['read_weights'][r] for r in range(reads)], axis=0)
    usage = (s['usage'] + written - s['usage'] * written) * psi
    simulated, write_weights = usage.copy(), []
    for h in range(writes):
        gate, mix = parts['write_gates'][h], parts['allocation_gates'][h]
        content = _content(s['memory'], parts['write_keys'][h], parts['write_strengths'][h])
        allocated = _allocation(simulated)
        simulated = simulated + (1 - simulated) * gate * mix * allocated
        write_weights.append(gate * (mix * allocated + (1 - mix) * content))
    memory = s['memory'].copy()
    for h in range(writes):
        memory *= 1 - np.outer(write_weights[h], parts['erase'][h])
    for h in range(writes):
        memory += np.outer(write_weights[h], parts['write_vectors'][h])
    link, precedence = np.zeros((writes, N, N)), np.zeros((writes, N))
    for h, w in enumerate(write_weights):
        for i in range(N):
            for j in range(N):
                if i != j:
                    link[h, i, j] = (1 - w[i] - w[j]) * s['link'][h, i, j]
                    link[h, i, j] += w[i] * s['precedence'][h, j]
        precedence[h] = (1 - w.sum()) * s['precedence'][h] + w
    read_weights = np.zeros((reads, N))
    for r in range(reads):
        modes, old = parts['read_modes'][r], s['read_weights'][r]
        found = _content(memory, parts['read_keys'][r], parts['read_strengths'][r])
        read_weights[r] = modes[writes] * found
        for h in range(writes):
            read_weights[r] += modes[h] * (link[h].T @ old) + modes[writes + 1 + h] * link[h] @ old
    return {
        'memory': memory,
        'read_vectors': read_weights @ memory,
        'read_weights': read_weights,
        'write_weights': np.array(write_weights),
        'usage': usage,
        'link': link,
        'precedence': precedence,
    }


def reference(numbers, case, inputs):
    """Outputs of all rows, and the state after the last step, from the used state."""
    reads, writes = case.heads
    limit = case.clip_value or np.inf
    outputs, states = np.zeros((T, B, Y)), []
    for b in range(B):
        state = jax.tree.map(lambda leaf, b=b: leaf[b], used_state(case))._asdict()
        layers = np.reshape(jax.tree.leaves(state.pop('controller')), (-1, 2, SIZE))
        for t in range(T):
            x = np.concatenate([inputs[t, b], state['read_vectors'].flatten()])
            hidden, layers = _controller(numbers, case, x, layers)
            hidden, layers = np.clip(hidden, -limit, limit), np.clip(layers, -limit, limit)
            told = _linear(numbers['dnc/~/interface'], hidden)
            state = _access(_split(told, reads, writes), state, reads, writes)
            shown = np.concatenate([hidden, state['read_vectors'].flatten()])
            output = _linear(numbers['dnc/~/output'], shown)
            outputs[t, b] = np.clip(output, -limit, limit)
        controller = list(np.reshape(layers, (-1, SIZE))) if case.controller == 'lstm' else []
        states.append([*state.values(), *controller])
    return outputs, [np.stack(leaves) for leaves in zip(*states, strict=True)]


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_many_steps_are_those_of_a_float64_loop(case):
    inputs = inputs_of().astype(float)
    wanted, wanted_state = reference(params(case), case, inputs)
    with jax.enable_x64(True):
        outputs, state = jax.jit(pure(case).apply)(params(case), inputs, used_state(case))
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-11)
    for leaf, wanted_leaf in zip(jax.tree.leaves(state), wanted_state, strict=True):
        np.testing.assert_allclose(leaf, wanted_leaf, rtol=0, atol=1e-11)
    assert case.clip_value != 0.3 or np.mean(np.abs(wanted) == 0.3) > 0.1  # it is put to use


# --- Literals


@pytest.mark.parametrize(
    ('usage', 'wanted'),
    [
        ([0.9, 0.5, 0.2, 0.5], [0.005, 0.1, 0.8, 0.05]),  # the free list is 2, 1, 3, 0
        ([1, 0.5, 0, 1], [0, 0, 1, 0]),
        ([0, 0, 0], [1, 0, 0]),
        ([1, 1], [0, 0]),
    ],
)
def test_rows_are_allocated_in_the_order_of_their_usage_and_then_of_their_index(usage, wanted):
    got = jax.jit(dnc_memory.allocation)(np.array([usage, usage[::-1]], np.float32))
    np.testing.assert_allclose(got[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(got[1], _allocation(usage[::-1]), rtol=1e-6)


def test_each_write_head_finds_used_what_those_before_it_are_about_to_write():
    allocations = jax.jit(dnc_memory.allocations)
    got = allocations(jnp.zeros((1, 4)), jnp.array([[1, 0.5, 1]]))[0]
    # The second writes half of row 1; the third still finds row 2 wholly free, before row 1.
    np.testing.assert_array_equal(got, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    got = allocations(jnp.full((1, 2), 0.5), jnp.array([[0.8, 1]]))[0]
    # Row 0 goes to 0.5 + 0.5 * 0.8 * 0.5 = 0.7 and row 1, allocated 0.25, to 0.6.
    np.testing.assert_allclose(got, [[0.5, 0.25], [0.3 * 0.6, 0.4]], rtol=1e-6)


def test_content_is_weighed_by_the_cosine_and_not_by_length():
    memory = jnp.array([[3.0, 4], [400, -300], [-30, -40], [-0.4, 0.3]])
    got = jax.jit(dnc_memory.content_weighting)(
        memory, jnp.array([[6.0, 8]]), jnp.log(jnp.array([2.0]))
    )
    # Cosines 1, 0, -1 and 0 at a strength of log 2.
    np.testing.assert_allclose(got[0], np.array([2, 1, 0.5, 1]) / 4.5, rtol=1e-5)


def test_an_empty_memory_is_read_evenly():
    got = jax.jit(dnc_memory.content_weighting)(
        jnp.zeros((N, W)), jnp.ones((R, W)), jnp.full((R,), 3.0)
    )
    np.testing.assert_allclose(got, np.full((R, N), 1 / N), rtol=1e-6)


def test_usage_grows_by_writing_and_shrinks_by_reading_what_is_given_free():
    usage = jax.jit(dnc_memory.update_usage)(
        jnp.array([0.2, 0.5, 0, 1]),
        jnp.array([[0.5, 0, 0, 0], [0.5, 0, 0.25, 0]]),
        jnp.array([[0, 0, 0, 1.0], [0, 0.5, 0, 0]]),
        jnp.array([1, 0.4]),
    )
    np.testing.assert_allclose(usage, [0.2 + 0.8 * 0.75, 0.5 * 0.8, 0.25, 0], rtol=1e-6)


def test_a_write_erases_by_all_heads_and_then_adds():
    memory, weights = jnp.array([[1.0, 2], [4, 8]]), jnp.array([[0, 0.5], [0, 1.0]])
    erase, vectors = jnp.array([[1, 0.5], [0.5, 0.0]]), jnp.array([[10.0, 20], [1, 2]])
    got = jax.jit(dnc_memory.write)(memory, weights, erase, vectors)
    wanted = [[1, 2], [4 * 0.5 * 0.5 + 5 + 1, 8 * 0.75 + 10 + 2]]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_links_lead_from_what_was_written_last_to_what_is_written_now():
    link = jnp.zeros((1, 3, 3)).at[0, 0, 2].set(0.4).at[0, 2, 1].set(0.8)
    precedence, weights = jnp.array([[0.0, 0.5, 0.25]]), jnp.array([[0.5, 0.25, 0]])
    got = jax.jit(dnc_memory.update_link)(link, precedence, weights)[0]
    wanted = [[0, 0.5 * 0.5, 0.5 * 0.4 + 0.5 * 0.25], [0, 0, 0.25 * 0.25], [0, 0.75 * 0.8, 0]]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    after = dnc_memory.update_precedence(precedence, weights)
    np.testing.assert_allclose(after, [[0.5, 0.25 * 0.5 + 0.25, 0.25 * 0.25]], rtol=1e-6)


def _interface(**parts):
    """An interface of one head of each kind for words of three, all gates shut but those given."""
    zeros = dnc_memory.split_interface(jnp.zeros(dnc_memory.interface_size(1, 1, 3)), 1, 1, 3)
    shut = {name: jnp.zeros((1,)) for name in ('free_gates', 'allocation_gates', 'write_gates')}
    shut |= {'read_modes': jnp.zeros((1, 3)), 'read_strengths': jnp.full((1,), 50.0)}
    return zeros._replace(**shut)._replace(**{name: jnp.array(x) for name, x in parts.items()})


def test_words_are_written_to_free_rows_found_by_content_and_followed_in_time():
    words = np.eye(3) + 1
    core = transformed(lambda: relational_rnn.DNC(4, 3, 1, 1, 2).initial_state(None))
    state, step = core.apply({}), jax.jit(dnc_memory.step)
    for word in words:
        writing = {'write_gates': [1.0], 'allocation_gates': [1.0], 'write_vectors': [word]}
        state = step(_interface(**writing), state)
    np.testing.assert_allclose(state.memory, [*words, np.zeros(3)], rtol=1e-6)
    backward, content, forward = np.eye(3)
    for mode, key, wanted in ((content, 0, 0), (forward, 0, 1), (forward, 0, 2), (backward, 0, 1)):
        state = step(_interface(read_modes=[mode], read_keys=[words[key]]), state)
        np.testing.assert_allclose(state.read_vectors[0], words[wanted], rtol=0, atol=0.05)
    np.testing.assert_allclose(state.usage, [1, 1, 1, 0], rtol=1e-6)
    state = step(_interface(free_gates=[1.0]), state)
    np.testing.assert_allclose(state.usage, [1, 0, 1, 0], rtol=0, atol=0.05)


def test_an_interface_has_the_papers_size_and_ranges():
    assert dnc_memory.interface_size(4, 1, 64) == 64 * 4 + 3 * 64 + 5 * 4 + 3
    numbers = np.random.default_rng(3).normal(size=(B, dnc_memory.interface_size(R, H, W))) * 9
    parts = dnc_memory.split_interface(jnp.asarray(numbers, jnp.bfloat16), R, H, W)
    assert {x.dtype for x in parts} == {jnp.dtype(jnp.float32)}
    gates = parts.erase, parts.free_gates, parts.allocation_gates, parts.write_gates
    assert all(0 <= x.min() < 0.1 and 0.9 < x.max() <= 1 for x in gates)
    assert min(parts.read_strengths.min(), parts.write_strengths.min()) >= 1
    np.testing.assert_allclose(parts.read_modes.sum(-1), np.ones((B, R)), rtol=1e-6)


# --- Laws


def test_weights_usage_and_links_stay_in_their_ranges():
    state = initial_state()
    for inputs in np.split(3 * inputs_of(20, seed=5), 20):
        _, state = apply()(single_params(), inputs, state)
        positive = state.read_weights, state.write_weights, state.usage, state.link
        assert min(x.min() for x in (*positive, state.precedence)) >= 0
        assert state.usage.max() <= 1 + 1e-6
        sums = [x.sum(-1) for x in (*positive[:2], state.precedence, state.link)]
        assert max(x.max() for x in (*sums, state.link.sum(-2))) <= 1 + 1e-5
        assert not np.diagonal(state.link, axis1=-2, axis2=-1).any()
    assert min(np.abs(leaf).max() for leaf in jax.tree.leaves(state)) > 0.01


def test_the_initial_state_is_zero():
    state = initial_state()
    assert not any(leaf.any() for leaf in jax.tree.leaves(state))
    shapes = (N, W), (R, W), (R, N), (H, N), (N,), (H, N, N), (H, N), *[(SIZE,)] * 4
    chex.assert_shape(jax.tree.leaves(state), [(B, *shape) for shape in shapes])
    chex.assert_shape(jax.tree.leaves(initial_state(batch_size=None)), list(shapes))
    assert initial_state(CASES['feed_forward']).controller == ()


def test_gradients_at_the_initial_state_are_finite_and_reach_all_parameters():
    case = CASES['clipped_lstm_of_one_layer']

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2))
    def gradients(params, inputs, state):
        outputs, after = pure(case).apply(params, inputs, state)
        return jnp.mean(jnp.square(outputs)) + jnp.mean(after.memory)

    inputs, zeros = inputs_of().astype(jnp.bfloat16), initial_state(case)
    # Zero parameters write zeros to the memory, and ask for them with keys of zero.
    for numbers in (single_params(case), jax.tree.map(np.zeros_like, single_params(case))):
        got = jax.tree.map(np.float32, gradients(numbers, inputs, zeros))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
        assert numbers['dnc/~/output']['b'].any() == all(x.any() for x in jax.tree.leaves(got[:2]))


def test_derivatives_are_those_of_small_differences():
    case = CASES['feed_forward']
    with jax.enable_x64(True):
        inputs = inputs_of(4).astype(float)
        weights = np.random.default_rng(2).normal(size=(4, B, Y))
        direction = jax.tree.map(np.cos, params(case))

        @jax.jit
        @jax.value_and_grad
        def loss(scale):
            numbers = jax.tree.map(lambda x, d: x + scale * d, params(case), direction)
            return jnp.sum(weights * pure(case).apply(numbers, inputs, used_state(case))[0])

        (more, _), (_, derivative), (less, _) = (loss(scale) for scale in (1e-6, 0.0, -1e-6))
        np.testing.assert_allclose(derivative, (more - less) / 2e-6, rtol=1e-6)


# --- Errors


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'memory_size': 0}, 'memory_size is a whole number of at least 1, got 0'),
        ({'word_size': 0}, 'word_size is a whole number of at least 1, got 0'),
        ({'num_reads': 0}, 'num_reads is a whole number of at least 1, got 0'),
        ({'num_writes': -1}, 'num_writes is a whole number of at least 1, got -1'),
        ({'controller_size': 0}, 'controller_size is a whole number of at least 1, got 0'),
        ({'controller_layers': 0}, 'controller_layers is a whole number of at least 1, got 0'),
        ({'output_size': 0}, 'output_size is a whole number of at least 1, got 0'),
        ({'controller': 'gru'}, r"controller is one of \('lstm', 'feed_forward'\), got 'gru'"),
        ({'clip_value': 0.0}, 'clip_value is greater than 0, or None, got 0.0'),
        ({'clip_value': float('nan')}, 'clip_value is greater than 0, or None, got nan'),
    ],
)
def test_choices_that_make_no_core_are_refused(change, message):
    sizes = {'memory_size': N, 'word_size': W, 'num_reads': R, 'num_writes': H}
    arguments = {**sizes, 'controller_size': SIZE, **change}
    with pytest.raises(ValueError, match=message):
        transformed(lambda: relational_rnn.DNC(**arguments)).init(jax.random.key(0))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (lambda x, s: (x, s.memory), 'the state is of type DNCState and .*, got ArrayImpl'),
        (lambda x, s: (x, ()), r'the state is of type DNCState .*, got tuple of shapes \[\]'),
        (lambda x, s: (x, s._replace(usage=s.usage[:, 1:])), r'shapes .*\(4, 6\)'),
        (lambda x, s: (x, jax.tree.map(lambda leaf: leaf[None], s)), 'with or without B in front'),
        (lambda x, s: (x[1:], s), r'inputs are \[B, D\] with B = 4 .*, got shape \(3, 5\)'),
        (lambda x, s: (x[:, :0], s), r'none of them 0, got shape \(4, 0\)'),
        (
            lambda x, s: (x, initial_state(batch_size=None)),
            r'inputs are \[D\] for a state without B.* \(4, 5\)',
        ),
        (lambda x, s: (x.astype(int), s), 'inputs are of a floating dtype, got int32'),
        (
            lambda x, s: (x, jax.tree.map(lambda leaf: leaf.astype(int), s)),
            'the state is of a floating dtype, got int32',
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    step = transformed(lambda *args: make_core()(*args))
    with pytest.raises(ValueError, match=message):
        step.apply(single_params(), *arguments(jnp.asarray(inputs_of()[0]), initial_state()))
