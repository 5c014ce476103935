"""What heads read of a text: its words and the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

OF_WORDS = ("starts", "ends", "cases")


@keras.saving.register_keras_serializable(package="mtl_zoo")
class TextFeatures(keras.layers.Layer):
    """Gather the hidden states of windows into features of texts.

    A word has the state of its first piece. A text has the mean state of its pieces,
    `[CLS]` and `[SEP]` included: the mean over the pieces of a window, then over the
    text's windows.

    Inputs:
        A mapping with what `WordPieces` returns, for `N` windows of `L` pieces of
        `batch` texts with up to `W` words, and the stages' hidden states
        `(N, L, width)`, of which the last is read.

    Returns:
        `words` `(batch, W, width)`, zero where there is no word; `sentence` `(batch,
        width)`; and, as they came, `starts`, `ends` and `cases` `(batch, W)`.
    """

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        states = inputs[list(inputs)[-1]]
        width = states.shape[-1]
        tokens = inputs["word_tokens"]
        words = ops.take(
            ops.reshape(states, (-1, width)), ops.maximum(tokens, 0), axis=0
        )
        present = ops.cast(tokens >= 0, states.dtype)
        mask = ops.cast(inputs["padding_mask"], states.dtype)
        windows = ops.sum(states, axis=1) / ops.sum(mask, axis=1, keepdims=True)
        rows = ops.arange(ops.shape(tokens)[0])
        belongs = ops.cast(
            ops.equal(ops.expand_dims(rows, 1), inputs["window_text"]), states.dtype
        )
        sentence = ops.matmul(belongs, windows)
        return {
            "words": words * ops.expand_dims(present, -1),
            "sentence": sentence / ops.sum(belongs, axis=1, keepdims=True),
            **{name: inputs[name] for name in OF_WORDS},
        }
