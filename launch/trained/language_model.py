"""A trained run of `lm`.

Glossary of shapes:
  T: tokens of a text; B: batch; V: vocabulary size. Where B is 1, its axis may be left out.
"""

from collections.abc import Iterator
import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch import lm
from launch.language import corpus as corpus_lib
from launch.language import model as model_lib
from launch.trained import exporting
from launch.trained import run as run_lib
from launch.training import experiment
from tasks.text import tokenizing
from tasks.text import vocabulary as vocabulary_lib


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LanguageModel(run_lib.Run):
    """A trained language model; what it calls logits are log-probabilities, in nats."""

    vocabulary: vocabulary_lib.Vocabulary  # of V words, or tokens of another kind
    tokenizer: tokenizing.Tokenizer  # cuts texts into them and joins them
    model: model_lib.Model  # as pure functions of the parameters

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids [T] int32 of a text: `<eos>`, with which texts begin, and its words.

        The text is cut as in the corpus of the run, into words or tokens of another kind; those
        outside the vocabulary are `<unk>`.
        """
        return self.vocabulary.encode([vocabulary_lib.EOS, *self.tokenizer.cut(text)])

    def decode(self, ids: Any) -> str:
        """Returns ids [T] as a text, with a new line for each `<eos>`."""
        return self.tokenizer.join(self.vocabulary.decode(np.asarray(ids).tolist()))

    def initial_state(self, batch_size: int = 1) -> chex.ArrayTree:
        """Returns the state before the first word of B texts, [B, ...]."""
        return self.model.initial_state(batch_size)

    def step(self, word: Any, state: chex.ArrayTree) -> tuple[chex.Array, chex.ArrayTree]:
        """Reads one word of each text.

        Args:
          word: id, [B] or [].
          state: [B, ...], of `initial_state` or of the step before.

        Returns:
          Logits [B, V] or [V] of the word after it, and the state after this word.
        """
        ids = jnp.asarray(word, jnp.int32)
        logits, state = self._step(self.params, jnp.atleast_1d(ids), state)
        return logits if ids.ndim else logits[0], state

    def logits(
        self, ids: Any, state: chex.ArrayTree | None = None
    ) -> tuple[chex.Array, chex.ArrayTree]:
        """Reads texts, or their next parts.

        Args:
          ids: of their words, [T, B] or [T].
          state: [B, ...], from before the first of them; None for the initial one.

        Returns:
          Logits [T, B, V] or [T, V] of the word after each, and the state after the last.
        """
        ids = jnp.asarray(ids, jnp.int32)
        columns = ids if ids.ndim == 2 else ids[:, None]
        state = self.initial_state(columns.shape[1]) if state is None else state
        logits, state = self._read(self.params, columns, state)
        return logits if ids.ndim == 2 else logits[:, 0], state

    def likeliest(self, logits: Any, count: int = 5) -> list[tuple[str, float]]:
        """Returns the words of the greatest logits [V], with their probabilities."""
        logits = np.asarray(logits)
        order = np.argsort(-logits, kind='stable')[:count].tolist()
        return [(self.vocabulary.words[i], float(np.exp(logits[i]))) for i in order]

    def stream(
        self,
        prompt: str = '',
        num_words: int = 40,
        temperature: float = 0.8,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> Iterator[str]:
        """Samples a continuation of a text and yields each word as soon as it is sampled.

        Tokens of all kinds come as in the vocabulary; `tokenizer.join` makes a text of them.

        Args:
          prompt: the text; '' for the start of one.
          num_words: how many to sample.
          temperature: see `sampling.sample`.
          top_p: see `sampling.sample`.
          seed: of the sampling.
        """
        logits, state = self.logits(self.encode(prompt))
        logits = logits[-1]
        for key in jax.random.split(jax.random.key(seed), num_words):
            word = self._sample(logits, key, temperature, top_p)
            yield self.vocabulary.words[int(word)]
            logits, state = self.step(word, state)

    def generate(
        self,
        prompt: str = '',
        num_words: int = 40,
        temperature: float = 0.8,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> str:
        """Returns a text with its continuation; the arguments are those of `stream`."""
        words = self.vocabulary.decode(self.encode(prompt)[1:].tolist())
        sampled = self.stream(prompt, num_words, temperature, top_p, seed)
        return self.tokenizer.join([*words, *sampled])

    def servable(self) -> exporting.Servable:
        """Returns `step`, of 'words' [B] to 'log_probs' [B, V]."""

        def call(params: chex.ArrayTree, inputs: dict, state: chex.ArrayTree) -> tuple:
            log_probs, state = self.model.next_word(params, inputs['words'], state)
            return {'log_probs': log_probs}, state

        files = corpus_lib.files(self.vocabulary, self.tokenizer)
        return exporting.Servable(
            call, {'words': ('int32', 'b')}, self.initial_state(), files=files
        )

    @functools.cached_property
    def _step(self) -> Any:
        return jax.jit(self.model.next_word)

    @functools.cached_property
    def _read(self) -> Any:
        def read(params: chex.ArrayTree, ids: chex.Array, state: chex.ArrayTree) -> tuple:
            def step(state: chex.ArrayTree, words: chex.Array) -> tuple:
                log_probs, state = self.model.next_word(params, words, state)
                return state, log_probs

            scanned: tuple[chex.ArrayTree, chex.Array] = jax.lax.scan(step, state, ids)
            return scanned[1], scanned[0]

        return jax.jit(read)

    @functools.cached_property
    def _sample(self) -> Any:
        sample = functools.partial(model_lib.sample_word, self.vocabulary)
        return jax.jit(sample, static_argnums=(2, 3))


def load(run_dir: str) -> LanguageModel:
    """Loads a run of `lm`; raises as `loading.load`."""
    config, _, metadata = experiment.read(lm.EXPERIMENT, run_dir)
    vocabulary = corpus_lib.load_vocabulary(run_dir, metadata)
    model = lm.make_model(config, len(vocabulary))
    params, step = experiment.load_params(run_dir, model.init)
    run = run_dir, 'lm', config, metadata, step, params
    tokenizer = corpus_lib.load_tokenizer(config, run_dir, metadata)
    return LanguageModel(*run, vocabulary, tokenizer, model)
