"""A tiny text model: sentiment and entities, strings in."""

from __future__ import annotations

import keras
import keras_hub
import numpy as np

import mtl_zoo as mtl
from mtl_zoo.zoo.card import Card
from tests.zoo import tiny

NAME = "words-tiny-sentiment-ner"

CARD = Card(
    summary="Says something about words.",
    data="Made up.",
    licence="Apache-2.0.",
    limits=["Knows nothing."],
)

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *("the", "film", "was", "good", "bad", "in", "oslo", "jane", "new"),
    *("york", "saw"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *".,!?'-@#",
]
TEXTS = ["Jane saw the film in Oslo!", "bad", "", "New York, good; the film was not."]
TYPES = ("PER", "LOC")


def backbone(positions: int = 32) -> keras_hub.models.BertBackbone:
    """Two encoder layers of width 8, with random weights."""
    made = keras_hub.models.BertBackbone(
        vocabulary_size=len(VOCABULARY),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=positions,
    )
    rng = np.random.default_rng(0)
    for weight in made.weights:  # The defaults are so small that all is alike.
        weight.assign(weight + rng.normal(0.0, 0.3, weight.shape))
    return made


def tokenizer() -> keras_hub.models.BertTokenizer:
    """The tokenizer of the vocabulary above."""
    return keras_hub.models.BertTokenizer(
        VOCABULARY, lowercase=True, strip_accents=True
    )


def trunk(sequence_length: int = 16, overlap: int = 4, **kwargs) -> mtl.trunks.Trunk:
    """A trunk of that backbone."""
    return mtl.trunks.from_text_backbone(
        backbone(),
        tokenizer(),
        sequence_length=sequence_length,
        overlap=overlap,
        name="tiny",
        **kwargs,
    )


def tasks() -> list[mtl.Task]:
    """Sentiment of texts, and entities in them."""
    return [
        mtl.Task(
            "sentiment",
            mtl.heads.Classification(
                2, feature="sentence", class_names=("negative", "positive")
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        ),
        mtl.Task(
            "ner",
            mtl.heads.Tagging(TYPES, max_entities=6),
            mtl.losses.Tags(),
            [mtl.evaluation.EntityF1()],
        ),
    ]


def model(seed: int = 0, **kwargs) -> mtl.architectures.HardSharing:
    """A compiled model."""
    keras.utils.set_random_seed(seed)
    network = mtl.architectures.HardSharing(trunk(**kwargs), tasks(), name="words")
    network.build((None,))
    rng = np.random.default_rng(seed)
    emissions = network.task("ner").head.emissions
    emissions.kernel.assign(rng.normal(0.0, 1.0, emissions.kernel.shape))
    network.compile("adam")
    return network


def metrics() -> dict:
    """A legal metrics.json, with tables of classes and types."""
    results = {
        "sentiment": {"accuracy": {"mean": 0.75, "sd": 0.01, "n": 2}},
        "ner": {"f1": {"mean": 0.5, "sd": 0.02, "n": 2}},
    }
    row = {"precision": 0.5, "recall": 0.25, "f1": 0.3333, "count": 12}
    tables = {"ner": {"PER": row, "LOC": row}}
    return {
        **tiny.metrics(),
        "recipe": "words",
        "results": {"multi_task": results, "single_task": results},
        "tables": {"multi_task": tables, "single_task": tables},
    }
