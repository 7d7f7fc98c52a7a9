"""The word-level language model of `lm` as pure functions: loss, perplexity and samples.

Glossary of shapes:
  T: words of a window; B: streams; V: words of the vocabulary.
"""

from collections.abc import Callable, Sequence
import re
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from relational_rnn import losses, networks, sampling, softmax
from tasks import base, language_modeling, vocabulary


class Model(NamedTuple):
    """The network as pure functions."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]  # key -> parameters
    initial_state: Callable[[int], chex.ArrayTree]  # B -> state [B, ...]
    # (params, inputs, targets, weights, resets, state, keys) -> weighted sum, state
    cross_entropy: Callable[..., tuple[losses.WeightedSum, chex.ArrayTree]]
    next_word: Callable[..., tuple[chex.Array, chex.ArrayTree]]  # params, ids [B], state


def make_model(
    make_core: Callable[[], hk.RNNCore],
    vocab_size: int,
    embedding_size: int,
    dropout: float,
    output_dropout: float,
    adaptive: bool,
) -> Model:
    """Returns a language model.

    Args:
      make_core: makes the core, inside `hk.transform`.
      vocab_size: V.
      embedding_size: the width of the tied embeddings.
      dropout: of the embeddings.
      output_dropout: of what the softmax sees.
      adaptive: whether the softmax is adaptive instead of full.
    """

    def build() -> tuple[Callable, Any]:
        output_layer = softmax.AdaptiveSoftmax() if adaptive else softmax.FullSoftmax()
        model = networks.LanguageModel(
            make_core(), vocab_size, embedding_size, dropout, output_dropout, output_layer
        )

        def init() -> None:
            words = jnp.zeros((1, 1), jnp.int32)
            model.cross_entropy(words, words, jnp.ones((1, 1)), words > 0, model.initial_state(1))

        return init, (model.initial_state, model.cross_entropy, model.next_word)

    transformed = hk.multi_transform(build)
    initial_state, cross_entropy, next_word = transformed.apply
    return Model(
        init=jax.jit(transformed.init),
        initial_state=lambda batch_size: initial_state({}, None, batch_size),
        cross_entropy=lambda params, *args: cross_entropy(params, None, *args),
        next_word=lambda params, *args: next_word(params, None, *args),
    )


def make_measure(
    model: Model,
    words: vocabulary.Vocabulary,
    batch_size: int,
    unroll_length: int,
    check: Callable[[], None],
) -> Callable[[chex.ArrayTree, np.ndarray], float]:
    """Returns a function that measures a split: (params, ids [N]) -> nats a word.

    Args:
      model: the model.
      words: its vocabulary.
      batch_size: B; the split is read as so many streams, the state carried along each.
      unroll_length: T.
      check: is called before every window and may raise.
    """

    @jax.jit
    def score(params: chex.ArrayTree, batch: base.Batch, state: chex.ArrayTree) -> tuple:
        return model.cross_entropy(params, *batch, state)

    def measure(params: chex.ArrayTree, tokens: np.ndarray) -> float:
        params = jax.device_put(params)  # once, not for every window
        streams = min(batch_size, len(tokens))
        state, total, weight = model.initial_state(streams), 0.0, 0.0
        for batch in language_modeling.evaluation_windows(
            tokens, words.eos, streams, unroll_length, len(words)
        ):
            check()
            value, state = score(params, batch, state)
            total, weight = total + float(value.total), weight + float(value.weight)
        return total / weight

    return measure


def generate(
    model: Model,
    params: chex.ArrayTree,
    words: vocabulary.Vocabulary,
    prompt: Sequence[str],
    num_words: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> str:
    """Samples a text that goes on from a prompt; `<unk>` is never sampled.

    Args:
      model: the model.
      params: its parameters.
      words: its vocabulary.
      prompt: words to begin with, after an `<eos>`; none for the beginning of a text.
      num_words: how many to sample.
      temperature: see `sampling.sample`.
      top_p: see `sampling.sample`.
      seed: of the sampling.

    Returns:
      The prompt and the sampled words, with a new line for each `<eos>`.
    """
    ids = np.concatenate([[words.eos], words.encode(prompt)]).astype(np.int32)

    def read(state: chex.ArrayTree, word: chex.Array) -> tuple[chex.ArrayTree, chex.Array]:
        log_probs, state = model.next_word(params, word[None], state)
        return state, log_probs[0]

    def write(carry: tuple, key: chex.PRNGKey) -> tuple[tuple, chex.Array]:
        state, log_probs = carry
        allowed = jnp.where(jnp.arange(len(words)) == words.unk, -jnp.inf, log_probs)
        word = sampling.sample(key, allowed, temperature, top_p).astype(jnp.int32)
        return read(state, word), word

    @jax.jit
    def run(ids: chex.Array, key: chex.PRNGKey) -> chex.Array:
        state, all_log_probs = jax.lax.scan(read, model.initial_state(1), ids)
        keys = jax.random.split(key, num_words)
        return jax.lax.scan(write, (state, all_log_probs[-1]), keys)[1]

    sampled = words.decode(run(ids, jax.random.key(seed)).tolist())
    text = ['\n' if word == vocabulary.EOS else word for word in (*prompt, *sampled)]
    return re.sub(' ?\n ?', '\n', ' '.join(text))
