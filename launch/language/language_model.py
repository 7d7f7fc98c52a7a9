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

from relational_rnn import losses
from relational_rnn.networks import sampling, sequence_networks, softmax
from tasks import base
from tasks.text import vocabulary, windows

Score = Callable[..., np.ndarray]  # what `make_score` returns


class Model(NamedTuple):
    """The network as pure functions."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]  # key -> parameters
    initial_state: Callable[[int], chex.ArrayTree]  # B -> state [B, ...]
    # (params, inputs, targets, weights, resets, state, keys) -> weighted sum, state
    cross_entropy: Callable[..., tuple[losses.WeightedSum, chex.ArrayTree]]
    # (params, inputs, targets, resets, state) -> log-probabilities of the targets [T, B], state
    log_probs: Callable[..., tuple[chex.Array, chex.ArrayTree]]
    next_word: Callable[..., tuple[chex.Array, chex.ArrayTree]]  # params, ids [B], state


def make_model(
    make_core: Callable[[], hk.RNNCore],
    vocab_size: int,
    embedding_size: int,
    dropout: float,
    output_dropout: float,
    adaptive: bool,
    dtype: str = 'float32',
) -> Model:
    """Returns a language model.

    Args:
      make_core: makes the core, inside `hk.transform`.
      vocab_size: V.
      embedding_size: the width of the tied embeddings.
      dropout: of the embeddings.
      output_dropout: of what the softmax sees.
      adaptive: whether the softmax is adaptive instead of full.
      dtype: of the matrix products, 'float32' or 'bfloat16'.
    """

    def build() -> tuple[Callable, Any]:
        output_layer = softmax.AdaptiveSoftmax() if adaptive else softmax.FullSoftmax()
        model = sequence_networks.LanguageModel(
            make_core(), vocab_size, embedding_size, dropout, output_dropout, output_layer, dtype
        )

        def init() -> None:
            words = jnp.zeros((1, 1), jnp.int32)
            model.cross_entropy(words, words, jnp.ones((1, 1)), words > 0, model.initial_state(1))

        functions = model.initial_state, model.cross_entropy, model.log_probs, model.next_word
        return init, functions

    transformed = hk.multi_transform(build)
    initial_state, cross_entropy, log_probs, next_word = transformed.apply
    return Model(
        init=jax.jit(transformed.init),
        initial_state=lambda batch_size: initial_state({}, None, batch_size),
        cross_entropy=lambda params, *args: cross_entropy(params, None, *args),
        log_probs=lambda params, *args: log_probs(params, None, *args),
        next_word=lambda params, *args: next_word(params, None, *args),
    )


def make_score(model: Model, words: vocabulary.Vocabulary) -> Score:
    """Returns a function that says how badly a model predicts each word of a text.

    Its arguments are the parameters, the ids [N], B, T and a function that is called before every
    window with the number of its words and may raise. It reads the text as B streams in windows of
    T words, the state carried along each stream, and returns the nats of every word, [N] float32,
    in the order of the text. With `reset_every` the state starts anew after so many words, counted
    from the beginning of the text whatever B is; the word before is the input all the same.

    Args:
      model: the model.
      words: its vocabulary.
    """

    @jax.jit
    def read(params: chex.ArrayTree, batch: base.Batch, state: chex.ArrayTree) -> tuple:
        values, state = model.log_probs(params, batch.inputs, batch.targets, batch.resets, state)
        return -values, state

    def score(
        params: chex.ArrayTree,
        tokens: np.ndarray,
        batch_size: int,
        unroll_length: int,
        on_window: Callable[[int], None],
        reset_every: int | None = None,
    ) -> np.ndarray:
        params = jax.device_put(params)  # once, not for every window
        streams = min(batch_size, len(tokens))
        state = model.initial_state(streams)
        nats: list[Any] = []
        present = []
        for batch in windows.evaluation_windows(
            tokens, words.eos, streams, unroll_length, len(words), reset_every
        ):
            on_window(int(np.count_nonzero(batch.weights)))
            values, state = read(params, batch, state)
            nats.append(values)
            present.append(batch.weights != 0)
            nats[-2:-1] = [np.asarray(values) for values in nats[-2:-1]]  # one window is under way
        return np.concatenate(nats).T[np.concatenate(present).T]

    return score


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
