"""Strings to word pieces and back to characters, in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_text as tf_text

from mtl_zoo.letter_case import letter_cases
from mtl_zoo.text_pairs import SEPARATOR

# Where words end: as in BERT, and at all other Unicode spaces.
_GAP = r"\s|\p{Z}|\p{Cc}|\p{Cf}"
# Words of one character: punctuation and ideographs, as in BERT; and symbols such as
# emoji, which would otherwise make a word that they are glued to unknown.
_ALONE = (
    r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}|\p{So}|\p{Sk}"
    r"|[\x{4E00}-\x{9FFF}]|[\x{3400}-\x{4DBF}]|[\x{20000}-\x{2A6DF}]"
    r"|[\x{2A700}-\x{2B73F}]|[\x{2B740}-\x{2B81F}]|[\x{2B820}-\x{2CEAF}]"
    r"|[\x{F900}-\x{FAFF}]|[\x{2F800}-\x{2FA1F}]"
)
# Stands for the separator of a pair while control characters become blanks: a code
# point that Unicode reserves for such use and that is never a character.
_BETWEEN = "\ufdd0"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_LENGTH_MULTIPLE = 8

MAX_CHARACTERS = 100_000
"""Longer texts are refused, so that one of them can not keep a server busy for long."""


@keras.saving.register_keras_serializable(package="mtl_zoo")
class WordPieces(keras.layers.Layer):
    """Cut texts into words and word pieces, and lay them out in windows.

    A *word* is what BERT's tokenizer takes for one before it looks into its vocabulary:
    a run of characters without space, a punctuation mark, an ideograph; and each symbol
    (emoji) too. Every word knows where it stands in the text, in characters.

    Texts with more than `sequence_length - 2` pieces are cut into windows that overlap
    by `overlap` pieces; each word is read in the window where it has most text on both
    sides. Nothing is left out. A text of more than `MAX_CHARACTERS` is refused, with
    `tf.errors.InvalidArgumentError`.

    Two texts in one string, see `mtl_zoo.text_pairs.paired`, are read as a pair, with
    `[SEP]` between them and the second in segment 1. Words of both have their places in
    the whole string.

    Bytes that are not UTF-8 count as `bytes.decode("utf-8", "replace")` has it, and end
    a word.

    Args:
        vocabulary: The word pieces in the order of their numbers, with `[PAD]`,
            `[UNK]`, `[CLS]` and `[SEP]`; those that go on within a word begin with
            `##`. A list, or one string with a line each.
        sequence_length: Most pieces in a window, `[CLS]` and `[SEP]` included.
            Defaults to `128`.
        overlap: Pieces that a window has in common with the next. Defaults to a
            quarter of `sequence_length`.
        lowercase: Whether texts are lower-cased. Defaults to `True`.
        strip_accents: Whether accents are dropped. Defaults to `True`.

    Inputs:
        Strings `(batch,)`, UTF-8; a list will do.

    Returns:
        A dict of int32 tensors, `N` windows of `L` pieces for `batch` texts of at most
        `W` words, `N >= batch`: `token_ids`, `segment_ids` and `padding_mask`
        `(N, L)`; `window_text` `(N,)`, the text that a window belongs to;
        `word_tokens` `(batch, W)`, where in the `N * L` pieces a word begins, -1 where
        there is none; `starts` and `ends` `(batch, W)`, the word's characters in its
        text, the end exclusive; `cases` `(batch, W)`, which of its letters are
        capitals, see `mtl_zoo.letter_case`.

    Raises:
        ValueError: When a special piece is missing, or the lengths do not fit.

    Example:
        >>> pieces = WordPieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "new", "##s", "!"])
        >>> found = pieces(["News!"])
        >>> found["token_ids"].numpy()
        array([[2, 4, 5, 6, 3, 0, 0, 0]], dtype=int32)
        >>> found["starts"].numpy(), found["ends"].numpy()
        (array([[0, 4]], dtype=int32), array([[4, 5]], dtype=int32))
    """

    def __init__(
        self,
        vocabulary: Sequence[str] | str,
        sequence_length: int = 128,
        overlap: int | None = None,
        lowercase: bool = True,
        strip_accents: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "int32", **kwargs}, trainable=False)
        if overlap is None:
            overlap = sequence_length // 4
        pieces = vocabulary.split("\n") if isinstance(vocabulary, str) else vocabulary
        missing = [piece for piece in _SPECIAL if piece not in pieces]
        if missing:
            raise ValueError(
                f"A vocabulary of word pieces holds {', '.join(_SPECIAL)}. "
                f"Received {len(pieces)} pieces without {', '.join(missing)}."
            )
        if not 0 <= overlap < sequence_length - 2:
            raise ValueError(
                "Windows of `sequence_length` pieces, two of them special, must go "
                "forward: expected 0 <= overlap < sequence_length - 2. Received: "
                f"sequence_length={sequence_length}, overlap={overlap}"
            )
        self.vocabulary = tuple(pieces)
        self.sequence_length = sequence_length
        self.overlap = overlap
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self._pad, self._unknown, self._first, self._last = (
            self.vocabulary.index(piece) for piece in _SPECIAL
        )
        self._tokenizer = tf_text.FastWordpieceTokenizer(
            list(self.vocabulary),
            token_out_type=tf.int32,
            unknown_token="[UNK]",
            no_pretokenization=True,
            support_detokenization=False,
        )

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, **kwargs: Any) -> WordPieces:
        """Return the layer for a KerasHub tokenizer of BERT's kind.

        Args:
            tokenizer: `keras_hub.tokenizers.WordPieceTokenizer`, or one made from it,
                such as `BertTokenizer`.
            **kwargs: Further arguments of the constructor.

        Raises:
            TypeError: When the tokenizer works with something else than word pieces.
        """
        if not hasattr(tokenizer, "strip_accents"):
            raise TypeError(
                "Expected a tokenizer of word pieces, as BERT, DistilBERT and ELECTRA "
                f"have. Received: {tokenizer!r} of type {type(tokenizer).__name__}"
            )
        return cls(
            tokenizer.get_vocabulary(),
            lowercase=tokenizer.lowercase,
            strip_accents=tokenizer.strip_accents,
            **kwargs,
        )

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Numbers of the pieces that are no part of a text."""
        return self._pad, self._unknown, self._first, self._last

    @property
    def mask_id(self) -> int:
        """Number of the piece that hides another: `[MASK]`, or else `[UNK]`."""
        if "[MASK]" in self.vocabulary:
            return self.vocabulary.index("[MASK]")
        return self._unknown

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Keras would take a list of strings for a list of inputs.
        if isinstance(inputs, list | tuple):
            inputs = tf.constant(inputs, tf.string)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Any) -> dict[str, tf.Tensor]:
        return self.windows(**self.pieces(inputs))

    def pieces(self, texts: Any) -> dict[str, tf.RaggedTensor]:
        """Cut texts into words and pieces, for `windows` to lay out.

        Args:
            texts: Strings `(batch,)`.

        Returns:
            Ragged int32: `ids` `(batch, pieces)`; and of each word, `(batch, words)`,
            its first piece `firsts`, its characters `starts` to `ends`, and which of
            them are capitals, `cases`.
        """
        texts = tf.strings.regex_replace(texts, _BETWEEN, " ")
        texts = tf.strings.unicode_transcode(
            tf.strings.regex_replace(texts, SEPARATOR, _BETWEEN),
            "UTF-8",
            "UTF-8",
            errors="replace",
            replacement_char=ord(" "),
            replace_control_characters=True,  # else a text would end at a NUL
        )
        sizes = tf.strings.length(texts, unit="UTF8_CHAR")
        longest = tf.reduce_max(tf.concat([sizes, [0]], 0))
        too_long = tf.debugging.Assert(
            longest <= MAX_CHARACTERS,
            [
                f"Expected texts of at most {MAX_CHARACTERS} characters; pass longer "
                "ones in parts. Received one of:",
                longest,
            ],
        )
        with tf.control_dependencies([] if too_long is None else [too_long]):
            texts = tf.identity(texts)
        words, begins, ends = tf_text.regex_split_with_offsets(
            texts, f"{_GAP}|{_ALONE}|{_BETWEEN}", f"{_ALONE}|{_BETWEEN}"
        )
        plain = words.flat_values
        between = tf.equal(plain, _BETWEEN)
        if self.strip_accents:
            plain = tf_text.normalize_utf8(plain, "NFD")
            plain = tf.strings.regex_replace(plain, r"\p{Mn}", "")
        if self.lowercase:
            plain = tf_text.case_fold_utf8(plain)
        found = self._tokenizer.tokenize(plain).merge_dims(1, -1)
        found = found.with_flat_values(
            tf.where(
                tf.gather(between, found.value_rowids()), self._last, found.flat_values
            )
        )
        # A word of accents alone has nothing left; it still is a word.
        empty = tf.cast(found.row_lengths() == 0, tf.int64)[:, None]
        filler = tf.RaggedTensor.from_tensor(
            tf.fill([tf.shape(plain)[0], 1], self._unknown), lengths=empty[:, 0]
        )
        found = tf.concat([found, filler], axis=1)
        by_word = words.with_flat_values(found)
        lengths = words.with_flat_values(found.row_lengths())
        firsts = tf.cast(
            lengths.with_flat_values(
                tf.cumsum(lengths.flat_values, exclusive=True)
                - tf.gather(
                    tf.concat([[0], tf.cumsum(tf.reduce_sum(lengths, axis=1))], 0),
                    lengths.value_rowids(),
                )
            ),
            tf.int32,
        )
        starts, ends = _characters(texts, [begins, ends])
        cases = words.with_flat_values(letter_cases(words.flat_values))
        found = {"firsts": firsts, "starts": starts, "ends": ends, "cases": cases}
        is_word = words.with_flat_values(~between)
        return {
            "ids": by_word.merge_dims(1, 2),
            **{n: tf.ragged.boolean_mask(v, is_word) for n, v in found.items()},
        }

    def windows(
        self,
        ids: tf.RaggedTensor,
        firsts: tf.RaggedTensor,
        starts: tf.RaggedTensor,
        ends: tf.RaggedTensor,
        cases: tf.RaggedTensor,
    ) -> dict[str, tf.Tensor]:
        """Lay pieces out in windows: what `pieces` returns to what a trunk takes."""
        content = self.sequence_length - 2
        stride = content - self.overlap
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        counts = 1 + tf.maximum(0, -(-(lengths - content) // stride))
        text = tf.repeat(tf.range(tf.shape(lengths)[0]), counts)
        first_window = tf.cumsum(counts, exclusive=True)
        number = tf.range(tf.shape(text)[0]) - tf.gather(first_window, text)
        left = number * stride
        size = tf.minimum(content, tf.gather(lengths, text) - left)
        longest = tf.reduce_max(tf.concat([size, [0]], 0)) + 2
        length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
        length = tf.minimum(length, self.sequence_length)
        place = tf.range(length)[None] - 1
        row_starts = tf.cast(ids.row_starts(), tf.int32)
        source = tf.gather(row_starts, text)[:, None] + left[:, None] + place
        inside = (place >= 0) & (place < size[:, None])
        # Something to gather from, for texts that are all empty.
        flat = tf.concat([ids.flat_values, [self._pad]], 0)
        tokens = tf.gather(flat, tf.where(inside, source, tf.size(flat) - 1))
        tokens = tf.where(place == -1, self._first, tokens)
        tokens = tf.where(place == size[:, None], self._last, tokens)
        mask = tf.cast(place <= size[:, None], tf.int32)
        ended = tf.cumsum(
            tf.cast(tokens == self._last, tf.int32), axis=1, exclusive=True
        )

        window = firsts - self.overlap // 2
        window = firsts.with_flat_values(
            tf.clip_by_value(
                window.flat_values // stride,
                0,
                tf.gather(counts, firsts.value_rowids()) - 1,
            )
        )
        row = tf.gather(first_window, firsts.value_rowids()) + window.flat_values
        column = firsts.flat_values - window.flat_values * stride + 1
        word_tokens = firsts.with_flat_values(row * length + column)
        shape = tf.stack([firsts.nrows(), tf.maximum(firsts.bounding_shape(axis=1), 1)])
        return {
            "token_ids": tokens,
            "segment_ids": tf.minimum(ended, 1) * mask,
            "padding_mask": mask,
            "window_text": text,
            "word_tokens": word_tokens.to_tensor(-1, shape=shape),
            "starts": starts.to_tensor(0, shape=shape),
            "ends": ends.to_tensor(0, shape=shape),
            "cases": cases.to_tensor(0, shape=shape),
        }

    def compute_output_spec(self, inputs: Any) -> dict[str, keras.KerasTensor]:
        shapes = {
            "token_ids": (None, None),
            "segment_ids": (None, None),
            "padding_mask": (None, None),
            "window_text": (None,),
            "word_tokens": (None, None),
            "starts": (None, None),
            "ends": (None, None),
            "cases": (None, None),
        }
        return {name: keras.KerasTensor(s, "int32") for name, s in shapes.items()}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["trainable"]
        return {
            **config,
            "vocabulary": "\n".join(self.vocabulary),
            "sequence_length": self.sequence_length,
            "overlap": self.overlap,
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
        }


def _characters(
    texts: tf.Tensor, offsets: Sequence[tf.RaggedTensor]
) -> list[tf.RaggedTensor]:
    """Return offsets in bytes as offsets in characters, int32."""
    _, begins = tf.strings.unicode_split_with_offsets(texts, "UTF-8")
    size = tf.cast(
        tf.reduce_max(tf.concat([tf.strings.length(texts), [0]], 0)), "int64"
    )
    # One sorted list for all texts: a text's bytes come after those of the one before.
    keys = begins.flat_values + begins.value_rowids() * (size + 1)
    found = []
    for offset in offsets:
        rows = offset.value_rowids()
        wanted = tf.cast(offset.flat_values, tf.int64) + rows * (size + 1)
        places = tf.searchsorted(keys, wanted, out_type=tf.int64)
        places -= tf.gather(begins.row_starts(), rows)
        found.append(offset.with_flat_values(tf.cast(places, tf.int32)))
    return found
