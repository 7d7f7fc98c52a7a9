"""The language model as pure functions, and what is read off them: nll and samples.

A word is a token of any kind: a word, a subword, a character or a byte.

Glossary of shapes:
  T: words of a window; B: streams; V: vocabulary size; N: words of a text.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple, Protocol

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from relational_rnn import losses
from relational_rnn.networks import language_model, sampling, softmax
from tasks import base
from tasks.text import vocabulary as vocabulary_lib
from tasks.text import windows


class Model(NamedTuple):
    """The network as pure functions."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]  # key -> parameters
    initial_state: Callable[[int], chex.ArrayTree]  # B -> state [B, ...]
    # (params, inputs, targets, weights, resets, state, keys) -> weighted sum, state
    cross_entropy: Callable[..., tuple[losses.WeightedSum, chex.ArrayTree]]
    # (params, inputs, targets, resets, state) -> log-probabilities of the targets [T, B], state
    log_probs: Callable[..., tuple[chex.Array, chex.ArrayTree]]
    next_word: Callable[..., tuple[chex.Array, chex.ArrayTree]]  # params, ids [B], state


class Score(Protocol):
    """Returns the nll of every word of a text, in nats; see `make_score`."""

    def __call__(
        self,
        params: chex.ArrayTree,
        tokens: np.ndarray,
        batch_size: int,
        unroll_length: int,
        count: Callable[[int], None] | None = None,
        reset_every: int | None = None,
    ) -> np.ndarray:
        """Returns the nll [N]."""


def make(
    make_core: Callable[[], hk.RNNCore],
    vocab_size: int,
    embedding_size: int,
    dropout: float,
    output_dropout: float,
    adaptive: bool,
    dtype: str = 'float32',
    embedding_dropout: float = 0.0,
    variational_dropout: bool = False,
) -> Model:
    """Returns a language model.

    Args:
      make_core: makes the core, inside `hk.transform`.
      vocab_size: V.
      embedding_size: the width of the tied embeddings.
      dropout: of the embeddings.
      output_dropout: of the softmax's input.
      adaptive: whether the softmax is adaptive instead of full.
      dtype: of the matrix products, 'float32' or 'bfloat16'.
      embedding_dropout: of whole words.
      variational_dropout: whether `dropout` and `output_dropout` have one mask for a window.
    """

    def build() -> tuple[Callable, Any]:
        output_layer = softmax.AdaptiveSoftmax() if adaptive else softmax.FullSoftmax()
        model = language_model.LanguageModel(
            make_core(),
            vocab_size,
            embedding_size,
            dropout,
            output_dropout,
            output_layer,
            dtype,
            embedding_dropout,
            variational_dropout,
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


def make_score(model: Model, vocabulary: vocabulary_lib.Vocabulary) -> Score:
    """Returns what measures the nll of each word of a text.

    Its arguments are the parameters, the ids [N], B, T, and a function that is called before every
    window with the number of its words. It reads the text as B streams in windows of T words, the
    state carried along each stream, and returns the nll of every word in nats, [N] float32, in the
    order of the text. With `reset_every` the state is reset after so many words, counted from the
    start of the text for every B; the word before is still the input.

    Args:
      model: the model.
      vocabulary: of V words.
    """

    @jax.jit
    def read(params: chex.ArrayTree, batch: base.Batch, state: chex.ArrayTree) -> tuple:
        values, state = model.log_probs(params, batch.inputs, batch.targets, batch.resets, state)
        return -values, state

    return _make_score(read, lambda params, streams: model.initial_state(streams), vocabulary)


def make_dynamic_score(
    model: Model, vocabulary: vocabulary_lib.Vocabulary, learning_rate: float, decay: float
) -> Score:
    """Returns what measures the nll of each word of a text, and learns from the words before it.

    Dynamic evaluation, in its form with stochastic gradient descent: Krause, Kahembwe, Murray and
    Renals 2018, "Dynamic evaluation of neural sequence models", https://arxiv.org/abs/1709.07432.
    After each window, whose words are measured first, the parameters p make a step down the
    gradient g of its mean nll, and back towards the trained ones, p0:

      p <- p - learning_rate g + decay (p0 - p)

    Read in several streams at once, a word would be measured after words that follow it in
    the text; so a number that is to be reported is one of a single stream.

    Args:
      model: the model.
      vocabulary: of V words.
      learning_rate: the step size.
      decay: the share of the way back to the trained parameters, 0 to 1.
    """
    learn = _make_learn(model, learning_rate, decay)

    def read(trained: chex.ArrayTree, batch: base.Batch, state: tuple) -> tuple:
        params, core_state = state
        values, params, core_state = learn(trained, params, batch, core_state)
        return values, (params, core_state)

    def start(params: chex.ArrayTree, streams: int) -> tuple:
        return jax.tree.map(jnp.copy, params), model.initial_state(streams)

    return _make_score(read, start, vocabulary)


def _make_learn(model: Model, learning_rate: float, decay: float) -> Callable[..., tuple]:
    """Returns (trained parameters, parameters, batch, state) -> nll [T, B], parameters, state."""

    @functools.partial(jax.jit, donate_argnums=1)
    def learn(
        trained: chex.ArrayTree, params: chex.ArrayTree, batch: base.Batch, state: chex.ArrayTree
    ) -> tuple:
        def loss(params: chex.ArrayTree) -> tuple:
            inputs = batch.inputs, batch.targets, batch.resets
            values, after = model.log_probs(params, *inputs, state)
            return -jnp.sum(batch.weights * values) / jnp.sum(batch.weights), (values, after)

        def step(now: chex.Array, grad: chex.Array, start: chex.Array) -> chex.Array:
            return now - learning_rate * grad + decay * (start - now)

        grads, (values, after) = jax.grad(loss, has_aux=True)(params)
        return -values, jax.tree.map(step, params, grads, trained), after

    return learn


def _make_score(
    read: Callable[..., tuple],
    start: Callable[[chex.ArrayTree, int], Any],
    vocabulary: vocabulary_lib.Vocabulary,
) -> Score:
    """Returns a score.

    Args:
      read: (parameters, batch, state) -> the nll [T, B] of the batch, and the next state.
      start: (parameters, B) -> the state before the first window.
      vocabulary: of V words.
    """

    def score(
        params: chex.ArrayTree,
        tokens: np.ndarray,
        batch_size: int,
        unroll_length: int,
        count: Callable[[int], None] | None = None,
        reset_every: int | None = None,
    ) -> np.ndarray:
        params = jax.device_put(params)  # once, not for every window
        streams = min(batch_size, len(tokens))
        state = start(params, streams)
        nll: list[Any] = []
        present = []
        for batch in windows.evaluation_windows(
            tokens, vocabulary.eos, streams, unroll_length, len(vocabulary), reset_every
        ):
            if count is not None:
                count(int(np.count_nonzero(batch.weights)))
            values, state = read(params, batch, state)
            nll.append(values)
            present.append(batch.weights != 0)
            nll[-2:-1] = [np.asarray(values) for values in nll[-2:-1]]  # one window is under way
        return np.concatenate(nll).T[np.concatenate(present).T]

    return score


def generate(
    model: Model,
    params: chex.ArrayTree,
    vocabulary: vocabulary_lib.Vocabulary,
    prompt: Sequence[str],
    num_words: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> list[str]:
    """Samples a text that continues a prompt; `<unk>` is never sampled.

    Args:
      model: the model.
      params: its parameters.
      vocabulary: of V words.
      prompt: the first words, after an `<eos>`; none for the start of a text.
      num_words: how many to sample.
      temperature: see `sampling.sample`.
      top_p: see `sampling.sample`.
      seed: of the sampling.

    Returns:
      The prompt and the sampled words, as in the vocabulary.
    """
    ids = np.concatenate([[vocabulary.eos], vocabulary.encode(prompt)]).astype(np.int32)

    def read(state: chex.ArrayTree, word: chex.Array) -> tuple[chex.ArrayTree, chex.Array]:
        log_probs, state = model.next_word(params, word[None], state)
        return state, log_probs[0]

    def write(carry: tuple, key: chex.PRNGKey) -> tuple[tuple, chex.Array]:
        state, log_probs = carry
        word = sample_word(vocabulary, log_probs, key, temperature, top_p)
        return read(state, word), word

    @jax.jit
    def run(ids: chex.Array, key: chex.PRNGKey) -> chex.Array:
        state, all_log_probs = jax.lax.scan(read, model.initial_state(1), ids)
        keys = jax.random.split(key, num_words)
        return jax.lax.scan(write, (state, all_log_probs[-1]), keys)[1]

    sampled = vocabulary.decode(run(ids, jax.random.key(seed)).tolist())
    return [*prompt, *sampled]


def sample_word(
    vocabulary: vocabulary_lib.Vocabulary,
    log_probs: chex.Array,
    key: chex.PRNGKey,
    temperature: float,
    top_p: float,
) -> chex.Array:
    """Samples the id [] of a word, never of `<unk>`, from log-probabilities [V]."""
    allowed = jnp.where(jnp.arange(len(vocabulary)) == vocabulary.unk, -jnp.inf, log_probs)
    return sampling.sample(key, allowed, temperature, top_p).astype(jnp.int32)
