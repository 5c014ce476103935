"""How a model for texts does on texts from elsewhere.

Sentiment on reviews of 14 kinds of products and of films (FDU-MTL, the test texts that
stand in no training file; without the domain `MR`, which is `sentence_polarity` again),
names on GUM's test documents of each genre group that the builder has. Nothing here was
looked at to choose a setting.

    MTL_ZOO_DATA=... python benchmarks/texts_elsewhere.py \
        --out=benchmarks/results/texts_elsewhere.json
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

import mtl_zoo as mtl
from mtl_zoo import evaluation
from mtl_zoo.data import fdu_mtl, gum, text_batches, text_sets
from mtl_zoo.evaluation import report

MODEL = flags.DEFINE_string(
    "model", "sentences-minilm_l6-sentiment-ner", "Model with `sentiment` and `ner`."
)
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

LEFT_OUT = "MR"


def sentiment(model: mtl.MultiTaskModel) -> dict[str, Any]:
    """Accuracy by domain, and over all texts."""
    right: dict[str, list[bool]] = {}
    data = fdu_mtl.load("test").filter(lambda one: tf.logical_not(one["leaked"]))
    for batch in data.batch(64).as_numpy_iterator():
        found = model.predict_tasks(tf.constant(batch["text"]), tasks=["sentiment"])
        guesses = np.asarray(found["sentiment"]["label"])
        for domain, label, guess in zip(
            batch["domain"], batch["label"], guesses, strict=True
        ):
            name = fdu_mtl.DOMAINS[domain]
            if name != LEFT_OUT:
                right.setdefault(name, []).append(bool(label == guess))
    return {
        "texts": sum(map(len, right.values())),
        "accuracy": float(np.mean([one for all_ in right.values() for one in all_])),
        "by_domain": {name: float(np.mean(all_)) for name, all_ in right.items()},
    }


def names(model: mtl.MultiTaskModel) -> dict[str, Any]:
    """Entity F1 on GUM's test documents."""
    texts = text_sets.labelled(gum.load("test"), {"ner": "tags"})
    # Every task wants a label; texts without one for sentiment do not count for it.
    batches = text_batches.evaluation_batches({"gum": texts}, model.trunk.prepare)

    def complete(inputs: Any, labels: dict, weights: dict) -> tuple:
        size = tf.shape(weights["ner"])[0]
        return (
            inputs,
            {**labels, "sentiment": tf.zeros([size], tf.int32)},
            {**weights, "sentiment": tf.zeros([size])},
        )

    found = evaluation.evaluate(model, batches.map(complete))
    return {"sentences": len(texts), **found["ner"]}


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    model = mtl.load(MODEL.value, compile=True)
    result = {
        "command": f"python benchmarks/texts_elsewhere.py --model={MODEL.value}",
        **report.provenance(),
        "sentiment_fdu_mtl": sentiment(model),
        "ner_gum": names(model),
    }
    print(json.dumps(result, indent=2))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
