"""A trunk of bidirectional LSTMs over the pieces of words."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.trunks.text import EMBEDDINGS, TokenEmbeddings
from mtl_zoo.trunks.text_features import TextFeatures
from mtl_zoo.trunks.trunk import Trunk
from mtl_zoo.trunks.word_pieces import WordPieces


def bilstm(
    word_pieces: WordPieces,
    width: int = 100,
    layers: int = 3,
    units: int = 100,
    dropout: float = 0.2,
    piece_dropout: float = 0.0,
    pairs: bool = False,
    name: str = "bilstm",
) -> Trunk:
    """Return a trunk of bidirectional LSTMs, strings in, one stage a layer.

    The stages are `embeddings`, then `lstm_1`, `lstm_2`, ...; states are zero where
    there is no piece. Features are those of `TextFeatures`.

    Args:
        word_pieces: Cuts texts into pieces. With a vocabulary of whole words, these are
            the words.
        width: Of the embeddings. Defaults to `100`.
        layers: How many LSTMs. Defaults to `3`.
        units: Of each direction. Defaults to `100`.
        dropout: Rate of the dropout on the inputs of each LSTM. Defaults to `0.2`.
        piece_dropout: See `TokenEmbeddings`. Defaults to `0.0`.
        pairs: See `TextFeatures`. Defaults to `False`.
        name: Name of the trunk. Defaults to `"bilstm"`.

    Returns:
        A `Trunk`.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film"]
        >>> pieces = WordPieces(words, sequence_length=8)
        >>> trunk = bilstm(pieces, width=4, layers=2, units=3)
        >>> features = trunk(trunk.prepare(["Good film"]))
        >>> tuple(features["lstm_1"].shape), tuple(features["words"].shape)
        ((1, 8, 6), (1, 2, 6))
    """
    if min(width, layers, units) < 1 or not 0 <= dropout < 1:
        raise ValueError(
            "Expected a width, layers and units of at least 1 and a dropout in [0, 1). "
            f"Received: width={width}, layers={layers}, units={units}, "
            f"dropout={dropout}"
        )
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    table = keras.layers.Embedding(len(word_pieces.vocabulary), width, name="pieces")
    stages: dict[str, keras.layers.Layer] = {
        EMBEDDINGS: TokenEmbeddings(
            keras.Model({"token_ids": ids}, table(ids), name="embed"),
            piece_dropout=piece_dropout,
            mask_id=word_pieces.mask_id,
            special_ids=word_pieces.special_ids,
            name=EMBEDDINGS,
        )
    }
    for number in range(1, layers + 1):
        stages[f"lstm_{number}"] = BiLSTM(units, dropout, name=f"lstm_{number}")
    return Trunk(
        stages,
        neck=TextFeatures(pairs=pairs, name="text_features"),
        prepare=word_pieces,
        name=name,
    )


@keras.saving.register_keras_serializable(package="mtl_zoo")
class BiLSTM(keras.layers.Layer):
    """A stage of one LSTM in both directions, on states that are zero in the padding.

    Args:
        units: Of each direction.
        dropout: Rate of the dropout on the inputs. Defaults to `0.0`.

    Inputs:
        States `(windows, pieces, width)`.

    Returns:
        States `(windows, pieces, 2 * units)`, zero where the inputs are.
    """

    def __init__(self, units: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout
        policy = self.dtype_policy
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.both = keras.layers.Bidirectional(
            keras.layers.LSTM(units, return_sequences=True, dtype=policy),
            dtype=policy,
            name="both",
        )

    def build(self, input_shape: Any) -> None:
        if not self.both.built:
            self.both.build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        mask = ops.any(ops.not_equal(inputs, 0), axis=-1)
        dropped = self.drop(inputs, training=training)
        states = self.both(dropped, mask=mask, training=training)
        return states * ops.expand_dims(ops.cast(mask, states.dtype), -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], 2 * self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}
