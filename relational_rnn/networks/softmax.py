"""Exact softmax over large vocabularies, in memory that does not grow with T · B · V.

Two ways from hidden vectors to words, both normalised over the whole vocabulary:

* `FullSoftmax`: one logit a word, with the input embeddings as weights.
* `AdaptiveSoftmax` (Grave, Joulin, Cissé, Grangier and Jégou, 2017, "Efficient softmax
  approximation for GPUs", https://arxiv.org/abs/1609.04309): the words are sorted by frequency; a
  head holds the frequent ones and one logit for each tail of rarer words, and a tail is a softmax
  of its own over a narrower projection, computed only for the tokens whose target lies in it.

The full softmax is the adaptive one without tails, so both take the same way: each softmax walks
over the tokens that are its own in chunks of C, and holds the logits of one chunk at a time.
`cross_entropy` computes its gradients in the same walk, three matrix products in all: the weights
are known, so the gradient of a chunk is known as soon as its logits are. `log_probs` walks a second
time for its gradient, four products in all. Logits and sums are float32, whatever the inputs.
Gradients are first order and reverse mode, and weights count as constants.

Glossary of shapes
    ...: any leading shape, `[T, B]` for time-major sequences.   N: its product, all tokens.
    E: size of the hidden vectors and the embeddings.   V: words of the vocabulary.   C: chunk.
    H: words in the head, V where there are no tails.   L: number of tails.
    S: words of one tail.   P: size of its projection.
"""

import functools
import itertools
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
from jax import lax
import jax.numpy as jnp

from relational_rnn import losses

CHUNK_BYTES = 2**27  # of float32 logits held at a time, by default
_TAIL_SHARE = 8  # the chunks of a tail are planned for one token in so many


class Output(NamedTuple):
    """An output layer, or the gradient in its place."""

    embeddings: chex.Array  # [V, E]
    bias: chex.Array  # [V]


class Tail(NamedTuple):
    """A softmax over rare words."""

    projection: chex.Array  # [E, P]
    output: Output  # [S, P] and [S]


class Params(NamedTuple):
    """What a softmax owns beside the embeddings."""

    bias: chex.Array  # [H + L] of the head
    clusters: chex.Array  # [L, E] the rows of the tails in the head
    tails: tuple[Tail, ...] = ()  # L of them, from frequent words to rare


class _Part(NamedTuple):
    """The head or a tail, and the tokens that are its own."""

    hidden: chex.Array  # [N, E] or [N, P]
    targets: chex.Array  # [N]
    members: chex.Array  # [N] bool
    output: Output
    chunk_size: int


class _Gradients(NamedTuple):
    """Gradients of a weighted sum of negative log-probabilities, float32."""

    hidden: chex.Array  # [N, E]
    output: Output


def log_probs(
    hidden: chex.Array,
    targets: chex.Array,
    embeddings: chex.Array,
    params: Params,
    chunk_size: int | None = None,
) -> chex.Array:
    """Returns the log-probability of each target.

    Args:
        hidden: vectors `[..., E]`; the products are computed in their dtype.
        targets: word ids `[...]`, integers in 0 … V - 1; with tails, frequent words first.
        embeddings: `[V, E]`, of which the first H rows are used.
        params: the other parameters.
        chunk_size: tokens whose logits are held at a time; default by `default_chunk_size`.

    Returns:
        Natural log-probabilities `[...]`, float32. A word of a tail has the tail's in the head
        plus its own in the tail.
    """
    values = jnp.zeros(targets.size)
    for part in _parts(hidden, targets, embeddings, params, chunk_size):
        values += _log_probs(part.hidden, part.targets, part.members, part.output, part.chunk_size)
    return values.reshape(targets.shape)


def cross_entropy(
    hidden: chex.Array,
    targets: chex.Array,
    weights: chex.Array,
    embeddings: chex.Array,
    params: Params,
    chunk_size: int | None = None,
) -> losses.WeightedSum:
    """Returns the weighted sum of the negative log-probabilities of the targets.

    Args:
        hidden: vectors `[..., E]`; the products are computed in their dtype.
        targets: word ids `[...]`, integers in 0 … V - 1; with tails, frequent words first.
        weights: `[...]`; tokens of weight zero are skipped, whatever is in them.
        embeddings: `[V, E]`, of which the first H rows are used.
        params: the other parameters.
        chunk_size: tokens whose logits are held at a time; default by `default_chunk_size`.

    Returns:
        The sum in nats, and the sum of the weights.
    """
    chex.assert_equal_shape([targets, weights])
    weights = lax.stop_gradient(weights.astype(jnp.float32))
    present = weights != 0
    hidden = jnp.where(present[..., None], hidden, 0)
    targets = jnp.where(present, targets, 0)
    total = jnp.zeros(())
    for part in _parts(hidden, targets, embeddings, params, chunk_size):
        own = weights.reshape(-1) * part.members
        total += _cross_entropy(part.hidden, part.targets, own, part.output, part.chunk_size)
    return losses.WeightedSum(total, jnp.sum(weights))


def distribution(hidden: chex.Array, embeddings: chex.Array, params: Params) -> chex.Array:
    """Returns the log-probabilities `[..., V]` of all words, given hidden `[..., E]`."""
    vectors = hidden.reshape(-1, hidden.shape[-1])
    output = _cast(_head(embeddings, params), hidden.dtype)
    head = jax.nn.log_softmax(_logits(vectors, output), axis=0)
    head_size = _head_size(params)
    pieces = [head[:head_size]]
    for index, tail in enumerate(params.tails):
        output = _cast(tail.output, hidden.dtype)
        within = jax.nn.log_softmax(_logits(_project(vectors, tail), output), axis=0)
        pieces.append(head[head_size + index][None] + within)
    return jnp.concatenate(pieces).T.reshape(*hidden.shape[:-1], -1)


def default_chunk_size(num_tokens: int, vocab_size: int) -> int:
    """Returns how many tokens' logits fit `CHUNK_BYTES`, evened out over the chunks."""
    largest = max(1, CHUNK_BYTES // (4 * vocab_size))
    num_chunks = max(1, -(-num_tokens // largest))
    return max(1, -(-num_tokens // num_chunks))


def default_cutoffs(vocab_size: int) -> tuple[int, int]:
    """Returns a head of a sixteenth of the words, and a first tail up to a fourth of them."""
    if vocab_size < 16:
        raise ValueError(
            f'adaptive softmax: wanted at least 16 words, got {vocab_size}; use the full softmax'
        )
    return vocab_size // 16, vocab_size // 4


class FullSoftmax(hk.Module):
    """Softmax over all words with the input embeddings as weights; owns the bias `[V]`."""

    def __init__(self, chunk_size: int | None = None, name: str | None = None) -> None:
        """Takes the tokens whose logits are held at a time; default by `default_chunk_size`."""
        super().__init__(name=name)
        self._chunk_size = chunk_size

    def log_probs(
        self, hidden: chex.Array, targets: chex.Array, embeddings: chex.Array
    ) -> chex.Array:
        """Returns the targets' log-probabilities `[...]`; see `softmax.log_probs`."""
        return log_probs(hidden, targets, embeddings, self._params(embeddings), self._chunk_size)

    def cross_entropy(
        self,
        hidden: chex.Array,
        targets: chex.Array,
        weights: chex.Array,
        embeddings: chex.Array,
    ) -> losses.WeightedSum:
        """Returns the weighted sum in nats and the weight; see `softmax.cross_entropy`."""
        params = self._params(embeddings)
        return cross_entropy(hidden, targets, weights, embeddings, params, self._chunk_size)

    def distribution(self, hidden: chex.Array, embeddings: chex.Array) -> chex.Array:
        """Returns the log-probabilities `[..., V]` of all words, given hidden `[..., E]`."""
        return distribution(hidden, embeddings, self._params(embeddings))

    def _params(self, embeddings: chex.Array) -> Params:
        bias = hk.get_parameter('bias', embeddings.shape[:1], init=jnp.zeros)
        return Params(bias, clusters=embeddings[:0])


class AdaptiveSoftmax(FullSoftmax):
    """Softmax of a head of frequent words and tails of rare ones; owns all but the embeddings.

    The interface is that of `FullSoftmax`. Only the head's words share the input embeddings.
    """

    def __init__(
        self,
        cutoffs: tuple[int, ...] | None = None,
        division: int = 4,
        chunk_size: int | None = None,
        name: str | None = None,
    ) -> None:
        """Takes the split of the words.

        Args:
            cutoffs: the id of the first word of each tail, increasing; default `default_cutoffs`.
            division: tail i of 1 … L is projected to `P = E // division**i` numbers.
            chunk_size: tokens whose logits are held at a time; default by `default_chunk_size`.
            name: of the module.
        """
        super().__init__(chunk_size, name)
        self._cutoffs = cutoffs
        self._division = division

    def _params(self, embeddings: chex.Array) -> Params:
        vocab_size, size = embeddings.shape
        cutoffs = default_cutoffs(vocab_size) if self._cutoffs is None else self._cutoffs
        _check_split(cutoffs, self._division, vocab_size, size)
        head_size, num_tails = cutoffs[0], len(cutoffs)
        return Params(
            hk.get_parameter('bias', (head_size + num_tails,), init=jnp.zeros),
            _matrix('clusters', (num_tails, size), fan_in=size),
            tuple(
                _tail(index, end - start, size, size // self._division**index)
                for index, (start, end) in enumerate(itertools.pairwise((*cutoffs, vocab_size)), 1)
            ),
        )


def _tail(index: int, num_words: int, size: int, projection_size: int) -> Tail:
    """Creates or reads the parameters of a tail."""
    name = f'tail_{index}'
    projection = _matrix(f'{name}_projection', (size, projection_size), size)
    embeddings = _matrix(f'{name}_embeddings', (num_words, projection_size), projection_size)
    bias = hk.get_parameter(f'{name}_bias', (num_words,), init=jnp.zeros)
    return Tail(projection, Output(embeddings, bias))


def _matrix(name: str, shape: tuple[int, int], fan_in: int) -> chex.Array:
    """Creates or reads a parameter that keeps the variance of what it multiplies."""
    return hk.get_parameter(name, shape, init=hk.initializers.TruncatedNormal(fan_in**-0.5))


def _check_split(cutoffs: tuple[int, ...], division: int, vocab_size: int, size: int) -> None:
    """Raises where a tail would have no words or no width."""
    bounds = itertools.pairwise((0, *cutoffs, vocab_size))
    if not cutoffs or any(start >= end for start, end in bounds):
        raise ValueError(
            'cutoffs: wanted one or more word ids, increasing, above 0 and below the '
            f'{vocab_size} words, got {cutoffs}'
        )
    if division < 1 or size // division ** len(cutoffs) < 1:
        raise ValueError(
            f'division: wanted {size} // division**{len(cutoffs)} at least 1, '
            f'got division {division}; take a smaller division or fewer cutoffs'
        )


def _parts(
    hidden: chex.Array,
    targets: chex.Array,
    embeddings: chex.Array,
    params: Params,
    chunk_size: int | None,
) -> list[_Part]:
    """Splits a softmax into the head, for all tokens, and the tails, each for its own."""
    _check_inputs(hidden, targets, embeddings, params, chunk_size)
    vectors, targets = hidden.reshape(-1, hidden.shape[-1]), jnp.ravel(targets)
    head_targets, everyone, tails = targets, jnp.ones(targets.shape, bool), []
    head_size = start = _head_size(params)
    for index, tail in enumerate(params.tails):
        num_words = tail.output.bias.shape[0]
        members = (targets >= start) & (targets < start + num_words)
        head_targets = jnp.where(members, head_size + index, head_targets)
        own = jnp.where(members, targets - start, 0)
        size = chunk_size or default_chunk_size(-(-targets.size // _TAIL_SHARE), num_words)
        output = _cast(tail.output, hidden.dtype)
        tails.append(_Part(_project(vectors, tail), own, members, output, size))
        start += num_words
    size = chunk_size or default_chunk_size(targets.size, params.bias.shape[0])
    head = _cast(_head(embeddings, params), hidden.dtype)
    return [_Part(vectors, head_targets, everyone, head, size), *tails]


def _check_inputs(
    hidden: chex.Array,
    targets: chex.Array,
    embeddings: chex.Array,
    params: Params,
    chunk_size: int | None,
) -> None:
    """Raises where shapes do not fit each other."""
    num_words = _head_size(params) + sum(tail.output.bias.shape[0] for tail in params.tails)
    chex.assert_shape(embeddings, (num_words, hidden.shape[-1]))
    chex.assert_shape(targets, hidden.shape[:-1])
    chex.assert_type(targets, int)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f'chunk_size: wanted at least 1 token, got {chunk_size}')


def _head_size(params: Params) -> int:
    return params.bias.shape[0] - len(params.tails)


def _head(embeddings: chex.Array, params: Params) -> Output:
    """Returns the output layer of the head: the frequent words, then one row a tail."""
    rows = embeddings[: _head_size(params)], params.clusters.astype(embeddings.dtype)
    return Output(jnp.concatenate(rows), params.bias)


def _project(hidden: chex.Array, tail: Tail) -> chex.Array:
    return hidden @ tail.projection.astype(hidden.dtype)


def _cast(output: Output, dtype: Any) -> Output:
    """Casts the factors of the products; the bias is added in float32."""
    return Output(output.embeddings.astype(dtype), output.bias.astype(jnp.float32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _log_probs(
    hidden: chex.Array, targets: chex.Array, present: chex.Array, output: Output, chunk_size: int
) -> chex.Array:
    """Log-probabilities `[N]` of targets `[N]`, zero where not present."""
    rows, num_chunks = _visits(present, chunk_size)

    def body(index: chex.Array, values: chex.Array) -> chex.Array:
        chunk = lax.dynamic_slice_in_dim(rows, index * chunk_size, chunk_size)
        logits = _logits(_take(hidden, chunk), output)
        picked = _pick(logits, _take(targets, chunk))
        return values.at[chunk].set(picked - jax.nn.logsumexp(logits, axis=0), mode='drop')

    return lax.fori_loop(0, num_chunks, body, jnp.zeros(targets.shape))


def _log_probs_forward(
    hidden: chex.Array, targets: chex.Array, present: chex.Array, output: Output, chunk_size: int
) -> tuple[chex.Array, tuple[chex.Array, chex.Array, chex.Array, Output]]:
    values = _log_probs(hidden, targets, present, output, chunk_size)
    return values, (hidden, targets, present, output)


def _log_probs_backward(
    chunk_size: int,
    inputs: tuple[chex.Array, chex.Array, chex.Array, Output],
    cotangent: chex.Array,
) -> tuple[chex.Array, None, None, Output]:
    hidden, targets, present, output = inputs
    _, grads = _walk(hidden, targets, -cotangent * (present != 0), output, chunk_size)
    return grads.hidden.astype(hidden.dtype), None, None, _cast(grads.output, hidden.dtype)


_log_probs.defvjp(_log_probs_forward, _log_probs_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _cross_entropy(
    hidden: chex.Array, targets: chex.Array, weights: chex.Array, output: Output, chunk_size: int
) -> chex.Array:
    """Sum `[]` over N tokens of weight times negative log-probability."""
    return -jnp.sum(weights * _log_probs(hidden, targets, weights, output, chunk_size))


def _cross_entropy_forward(
    hidden: chex.Array, targets: chex.Array, weights: chex.Array, output: Output, chunk_size: int
) -> tuple[chex.Array, tuple[_Gradients, chex.Array]]:
    total, grads = _walk(hidden, targets, weights, output, chunk_size)
    # An empty array carries the dtype: the gradients stay float32 until they are scaled.
    return total, (grads, jnp.zeros(0, hidden.dtype))


def _cross_entropy_backward(
    chunk_size: int, residuals: tuple[_Gradients, chex.Array], cotangent: chex.Array
) -> tuple[chex.Array, None, None, Output]:
    del chunk_size  # the walk is over
    dtype = residuals[1].dtype
    grads = jax.tree.map(lambda grad: cotangent * grad, residuals[0])
    return grads.hidden.astype(dtype), None, None, _cast(grads.output, dtype)


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _walk(
    hidden: chex.Array, targets: chex.Array, weights: chex.Array, output: Output, chunk_size: int
) -> tuple[chex.Array, _Gradients]:
    """Returns the weighted sum of negative log-probabilities, and its gradients."""
    rows, num_chunks = _visits(weights, chunk_size)

    def body(
        index: chex.Array, carry: tuple[chex.Array, _Gradients]
    ) -> tuple[chex.Array, _Gradients]:
        total, grads = carry
        chunk = lax.dynamic_slice_in_dim(rows, index * chunk_size, chunk_size)
        inputs = _take(hidden, chunk)
        nll, errors = _chunk_errors(inputs, _take(targets, chunk), _take(weights, chunk), output)
        low = errors.astype(hidden.dtype)
        through = _dot(low.T, output.embeddings)
        return total + nll, _Gradients(
            grads.hidden.at[chunk].set(through, mode='drop'),
            Output(
                grads.output.embeddings + _dot(low, inputs),
                grads.output.bias + jnp.sum(errors, axis=1),
            ),
        )

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), _Gradients(hidden, output))
    return lax.fori_loop(0, num_chunks, body, (jnp.zeros(()), zeros))


def _chunk_errors(
    hidden: chex.Array, targets: chex.Array, weights: chex.Array, output: Output
) -> tuple[chex.Array, chex.Array]:
    """Returns a chunk's weighted sum `[]`, and its gradient `[V, C]` by the logits."""
    logits = _logits(hidden, output)
    largest = jnp.max(logits, axis=0)
    exps = jnp.exp(logits - largest[None])
    sums = jnp.sum(exps, axis=0)
    nll = jnp.log(sums) + largest - _pick(logits, targets)
    words = jnp.arange(logits.shape[0])[:, None]
    # Compared, not scattered: as fast here, and scatter-add is slow on some accelerators.
    wanted = jnp.where(words == targets[None], weights[None], 0)
    return jnp.sum(weights * nll), exps * (weights / sums)[None] - wanted


def _visits(weights: chex.Array, chunk_size: int) -> tuple[chex.Array, chex.Array]:
    """Returns the places that have a weight, padded with N to whole chunks, and their chunks."""
    num_tokens = weights.shape[0]
    padded_size = -(-num_tokens // chunk_size) * chunk_size
    (rows,) = jnp.nonzero(weights, size=padded_size, fill_value=num_tokens)
    return rows, -(-jnp.count_nonzero(weights) // chunk_size)


def _take(values: chex.Array, rows: chex.Array) -> chex.Array:
    """Gathers rows; those past the end are zero, and so without a weight."""
    return values.at[rows].get(mode='fill', fill_value=0)


def _logits(hidden: chex.Array, output: Output) -> chex.Array:
    """Logits `[V, C]` of a chunk: with the words first the three products are faster on CPU."""
    return _dot(output.embeddings, hidden.T) + output.bias[:, None]


def _pick(logits: chex.Array, targets: chex.Array) -> chex.Array:
    return jnp.take_along_axis(logits, targets[None], axis=0)[0]


def _dot(left: chex.Array, right: chex.Array) -> chex.Array:
    return jnp.dot(left, right, preferred_element_type=jnp.float32)
