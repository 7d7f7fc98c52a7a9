"""How a text becomes tokens, and tokens become a text again.

Words drop the spaces between them:
  whitespace  what stands between ASCII white space; a no-break space belongs to its word.
  words       runs of letters, digits and underscores, and every other visible character alone.
              Marks, as vowel signs of Indic scripts and accents that are characters of their own,
              belong to their letter, and so do the joiners U+200C and U+200D, as in Persian.
Pieces keep the whole text, so that every text of a known alphabet can be put together again:
  characters  code points of Unicode; those that are not in the training split become `<unk>`.
  bytes       of UTF-8, written as in byte-level BPE: one visible character each (`BYTES`).
  subwords    strings of bytes, written the same way; they are learned, see `subwords`.
Among pieces `<eos>` is the line break itself.
"""

from collections.abc import Callable, Sequence
import dataclasses
import re
import unicodedata

from tasks.text import vocabulary

WORDS = ('whitespace', 'words')
SUBWORDS = 'subwords'
PIECES = ('characters', 'bytes', SUBWORDS)
NAMES = (*WORDS, *PIECES)
_EOS, _UNK = vocabulary.EOS, vocabulary.UNK
_NOT_SPACE = re.compile(r'[^ \t\n\r\f\v]+')
_CODES = (*range(1 << 17), *range(0xE0100, 0xE01F0))  # marks are nowhere else
_MARKS = {'\u200c', '\u200d', *(x for x in map(chr, _CODES) if unicodedata.category(x)[0] == 'M')}
_ALONE = rf'{_UNK}|{_EOS}|[^\w\s]'
_WORDS = re.compile(rf'\w+|{_ALONE}')
# The look-ahead spares most letters the long class: it is four times faster.
_MARKED_WORDS = re.compile(rf'\w+(?:(?=[^\x00-\u02ff])[{"".join(sorted(_MARKS))}]\w*)*|{_ALONE}')
_OTHER_SPACES = [chr(i) for i in range(1 << 16) if chr(i).isspace() and _NOT_SPACE.match(chr(i))]


def _byte_characters() -> str:
    """The visible character of each byte, as GPT-2's encoder.py and `tokenizers` write them."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return ''.join(chr(i if i in visible else next(others)) for i in range(0x100))


BYTES = _byte_characters()  # [256]
_TO_BYTES = str.maketrans(dict(zip(map(chr, range(0x100)), BYTES, strict=True)) | {'\n': '\n'})
_FROM_BYTES = str.maketrans(dict(zip(BYTES, map(chr, range(0x100)), strict=True)))


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A way to cut texts into tokens."""

    unit: str  # what a token is: word, character, byte or subword
    cut: Callable[[str], list[str]]  # a text -> its tokens
    join: Callable[[Sequence[str]], str]  # tokens, `<eos>` among them -> a text
    always: tuple[str, ...] = ()  # tokens that are in every vocabulary
    learned: str = ''  # subwords as the library `tokenizers` writes them, JSON


def make(name: str) -> Tokenizer:
    """Returns the tokenizer of a name of `NAMES`; that of subwords cannot cut: none are learned."""
    return _TOKENIZERS[name]


def _split_at_ascii_space(text: str) -> list[str]:
    if any(mark in text for mark in _OTHER_SPACES):
        return _NOT_SPACE.findall(text)
    return text.split()  # the same words in half the time


def _split_into_words(text: str) -> list[str]:
    if text.isascii() or _MARKS.isdisjoint(text):
        return _WORDS.findall(text)  # the same words, faster
    return _MARKED_WORDS.findall(text)


def _join_words(words: Sequence[str]) -> str:
    text = ' '.join('\n' if word == _EOS else word for word in words)
    return re.sub(' ?\n ?', '\n', text)


def _characters(text: str) -> list[str]:
    return [_EOS if character == '\n' else character for character in text]


def _join_characters(characters: Sequence[str]) -> str:
    return ''.join('\n' if character == _EOS else character for character in characters)


def _bytes(text: str) -> list[str]:
    # A prompt of a command line that is not UTF-8 has its bytes as surrogates.
    encoded = text.encode(errors='surrogateescape')
    return _characters(encoded.decode('latin-1').translate(_TO_BYTES))


def _join_bytes(tokens: Sequence[str]) -> str:
    text = _join_characters([token for token in tokens if token != _UNK])
    return text.translate(_FROM_BYTES).encode('latin-1').decode(errors='replace')


def _cut_into_nothing(text: str) -> list[str]:
    raise ValueError(f'subwords are learned from a corpus before they cut texts, got {text[:40]!r}')


_TOKENIZERS = {
    'whitespace': Tokenizer('word', _split_at_ascii_space, _join_words),
    'words': Tokenizer('word', _split_into_words, _join_words),
    'characters': Tokenizer('character', _characters, _join_characters),
    'bytes': Tokenizer('byte', _bytes, _join_bytes, tuple(BYTES.replace(BYTES[10], ''))),
    SUBWORDS: Tokenizer('subword', _cut_into_nothing, _join_bytes),
}
