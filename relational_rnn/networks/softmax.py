"""Exact softmax over large vocabularies, in memory that does not grow with T · B · V.

Two ways from hidden vectors to words, both normalised over the whole vocabulary:

* `FullSoftmax`: one logit a word, with the input embeddings as weights.
* `AdaptiveSoftmax` (Grave, Joulin, Cissé, Grangier and Jégou, 2017, "Efficient softmax
  approximation for GPUs", https://arxiv.org/abs/1609.04309): the words are sorted by frequency; a
  head holds the frequent ones and one logit for each tail of rarer words, and a tail is a softmax
  of its own over a narrower projection, computed only for the tokens whose target lies in it.

The full softmax is the adaptive one without tails, so both are the same functions of other
parameters, `log_probs`, `cross_entropy` and `distribution`. The first two hold the logits of one
chunk of tokens at a time, see `chunked_softmax`.

Glossary of shapes:
  ...: any leading shape, `[T, B]` for time-major sequences; N: its product, all tokens.
  E: size of the hidden vectors and the embeddings; V: words of the vocabulary; L: number of tails.
  H: words in the head, V where there are no tails; S: words of a tail; P: size of its projection.
"""

import itertools
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import losses
from relational_rnn.networks import chunked_softmax

_TAIL_SHARE = 8  # the chunks of a tail are planned for one token in so many


class Tail(NamedTuple):
    """A softmax over rare words."""

    projection: jax.Array  # [E, P]
    output: chunked_softmax.Output  # [S, P] and [S]


class Params(NamedTuple):
    """All parameters of a softmax."""

    embeddings: jax.Array  # [V, E], of which the first H are used
    bias: jax.Array  # [H + L] of the head
    clusters: jax.Array  # [L, E] the tails' embeddings in the head
    tails: tuple[Tail, ...] = ()  # L of them, from frequent words to rare


class FullSoftmax(hk.Module):
    """Makes the parameters of a softmax over all words; owns the bias `[V]`."""

    def __call__(self, embeddings: jax.Array) -> Params:
        """Returns the parameters for input embeddings `[V, E]`."""
        bias = hk.get_parameter('bias', embeddings.shape[:1], init=jnp.zeros)
        return Params(embeddings, bias, clusters=embeddings[:0])


class AdaptiveSoftmax(hk.Module):
    """Makes the parameters of a head and tails; owns all but the embeddings of the head's words."""

    def __init__(
        self, cutoffs: tuple[int, ...] | None = None, division: int = 4, name: str | None = None
    ):
        """Takes the split of the words.

        Args:
          cutoffs: the id of the first word of each tail, increasing; default `default_cutoffs`.
          division: tail i of 1 … L is projected to `P = E // division**i` numbers.
          name: the module's name.
        """
        super().__init__(name)
        self._cutoffs = cutoffs
        self._division = division

    def __call__(self, embeddings: jax.Array) -> Params:
        """Returns the parameters for input embeddings `[V, E]`.

        Raises:
          ValueError: where a tail would have no words or no width.
        """
        vocab_size, size = embeddings.shape
        cutoffs = default_cutoffs(vocab_size) if self._cutoffs is None else self._cutoffs
        _check_split(cutoffs, self._division, vocab_size, size)
        head_size, num_tails = cutoffs[0], len(cutoffs)
        return Params(
            embeddings,
            hk.get_parameter('bias', (head_size + num_tails,), init=jnp.zeros),
            _matrix('clusters', (num_tails, size), fan_in=size),
            tuple(
                _tail(index, end - start, size, size // self._division**index)
                for index, (start, end) in enumerate(itertools.pairwise((*cutoffs, vocab_size)), 1)
            ),
        )


def log_probs(
    hidden: jax.Array, targets: jax.Array, params: Params, chunk_size: int | None = None
) -> jax.Array:
    """Returns the log-probability of each target.

    Args:
      hidden: vectors `[..., E]`; the products are computed in their dtype.
      targets: word ids `[...]`, integers in 0 … V - 1; with tails, frequent words first.
      params: the parameters.
      chunk_size: tokens whose logits are held at a time; by default as many as fit
        `chunked_softmax.CHUNK_BYTES`.

    Returns:
      Natural log-probabilities `[...]`, float32. A word of a tail has the tail's in the head plus
      its own in the tail.
    """
    values = jnp.zeros(targets.size)
    for part in _parts(hidden, targets, params, chunk_size):
        values += chunked_softmax.log_probs(
            part.hidden, part.targets, part.members, part.output, part.chunk_size
        )
    return values.reshape(targets.shape)


def cross_entropy(
    hidden: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    params: Params,
    chunk_size: int | None = None,
) -> losses.WeightedSum:
    """Returns the weighted sum of the negative log-probabilities of the targets.

    Args:
      hidden: as for `log_probs`.
      targets: as for `log_probs`.
      weights: weight of each position `[...]`; 0 is absent, whatever the other arguments hold.
      params: the parameters.
      chunk_size: as for `log_probs`.

    Returns:
      The sum in nats, and the sum of the weights.
    """
    chex.assert_equal_shape([targets, weights])
    weights = jax.lax.stop_gradient(weights.astype(jnp.float32))
    present = weights != 0
    hidden = jnp.where(present[..., None], hidden, 0)
    targets = jnp.where(present, targets, 0)
    total = jnp.zeros(())
    for part in _parts(hidden, targets, params, chunk_size):
        own = weights.reshape(-1) * part.members
        total += chunked_softmax.cross_entropy(
            part.hidden, part.targets, own, part.output, part.chunk_size
        )
    return losses.WeightedSum(total, jnp.sum(weights))


def distribution(hidden: jax.Array, params: Params) -> jax.Array:
    """Returns the log-probabilities `[..., V]` of all words, given hidden `[..., E]`."""
    vectors = hidden.reshape(-1, hidden.shape[-1])
    head = jax.nn.log_softmax(chunked_softmax.logits(vectors, _head(params, hidden.dtype)), axis=0)
    head_size = _head_size(params)
    pieces = [head[:head_size]]
    for index, tail in enumerate(params.tails):
        logits = chunked_softmax.logits(
            _project(vectors, tail), chunked_softmax.cast(tail.output, hidden.dtype)
        )
        pieces.append(head[head_size + index][None] + jax.nn.log_softmax(logits, axis=0))
    return jnp.concatenate(pieces).T.reshape(*hidden.shape[:-1], -1)


def default_cutoffs(vocab_size: int) -> tuple[int, int]:
    """Returns a head of a sixteenth of the words, and a first tail up to a fourth of them."""
    if vocab_size < 16:
        raise ValueError(
            f'adaptive softmax: wanted at least 16 words, got {vocab_size}; use the full softmax'
        )
    return vocab_size // 16, vocab_size // 4


def _tail(index: int, num_words: int, size: int, projection_size: int) -> Tail:
    """Makes or gets the parameters of a tail."""
    name = f'tail_{index}'
    projection = _matrix(f'{name}_projection', (size, projection_size), size)
    embeddings = _matrix(f'{name}_embeddings', (num_words, projection_size), projection_size)
    bias = hk.get_parameter(f'{name}_bias', (num_words,), init=jnp.zeros)
    return Tail(projection, chunked_softmax.Output(embeddings, bias))


def _matrix(name: str, shape: tuple[int, int], fan_in: int) -> jax.Array:
    """Makes or gets a parameter that keeps the variance of what it multiplies."""
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


class _Part(NamedTuple):
    """The head or a tail, and the tokens whose targets lie in it."""

    hidden: jax.Array  # [N, E] or [N, P]
    targets: jax.Array  # [N]
    members: jax.Array  # [N] bool
    output: chunked_softmax.Output
    chunk_size: int


def _parts(
    hidden: jax.Array, targets: jax.Array, params: Params, chunk_size: int | None
) -> list[_Part]:
    """Splits a softmax into the head, for all tokens, and the tails, each for its own."""
    chex.assert_axis_dimension(params.embeddings, 1, hidden.shape[-1])
    chex.assert_shape(targets, hidden.shape[:-1])
    chex.assert_type(targets, int)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f'chunk_size: wanted at least 1 token, got {chunk_size}')
    vectors, targets = hidden.reshape(-1, hidden.shape[-1]), jnp.ravel(targets)
    head_targets, everyone, tails = targets, jnp.ones(targets.shape, bool), []
    head_size = start = _head_size(params)
    for index, tail in enumerate(params.tails):
        num_words = tail.output.bias.shape[0]
        members = (targets >= start) & (targets < start + num_words)
        head_targets = jnp.where(members, head_size + index, head_targets)
        own = jnp.where(members, targets - start, 0)
        size = chunk_size or chunked_softmax.default_chunk_size(
            -(-targets.size // _TAIL_SHARE), num_words
        )
        output = chunked_softmax.cast(tail.output, hidden.dtype)
        tails.append(_Part(_project(vectors, tail), own, members, output, size))
        start += num_words
    size = chunk_size or chunked_softmax.default_chunk_size(targets.size, params.bias.shape[0])
    return [_Part(vectors, head_targets, everyone, _head(params, hidden.dtype), size), *tails]


def _head_size(params: Params) -> int:
    return params.bias.shape[0] - len(params.tails)


def _head(params: Params, dtype: Any) -> chunked_softmax.Output:
    """Returns the output layer of the head: the frequent words, then one row a tail."""
    words = params.embeddings[: _head_size(params)]
    rows = jnp.concatenate([words, params.clusters.astype(words.dtype)])
    return chunked_softmax.cast(chunked_softmax.Output(rows, params.bias), dtype)


def _project(hidden: jax.Array, tail: Tail) -> jax.Array:
    return hidden @ tail.projection.astype(hidden.dtype)
