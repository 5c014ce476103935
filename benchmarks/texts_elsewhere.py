"""The shipped text model on texts of other kinds than it was trained on.

Sentiment: the test reviews of FDU-MTL, whole texts of some 100 to 200 words; the model
has seen single sentences of film reviews alone. The domain `MR` is left out, since its
texts are in `sentence_polarity`. Names: the sentences of GUM's test split, by genre;
the train split of the same six genres is in the training data.

    python benchmarks/texts_elsewhere.py --out=benchmarks/results/texts_elsewhere.json
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict

import numpy as np
import tensorflow as tf
from absl import app, flags

import mtl_zoo as mtl
from mtl_zoo import evaluation
from mtl_zoo.data import fdu_mtl, gum, text_batches, text_sets
from mtl_zoo.evaluation import report

MODEL = flags.DEFINE_string(
    "model", "sentences-minilm_l6-sentiment-ner", "Name or path of the model."
)
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

_BATCH = 32


def sentiment_of_reviews(model: mtl.MultiTaskModel) -> dict[str, dict[str, float]]:
    """Return accuracy and number of reviews of each domain, and of all of them."""
    rows = [
        row
        for row in fdu_mtl.load("test").as_numpy_iterator()
        if fdu_mtl.DOMAINS[row["domain"]] != "MR"
    ]
    rows.sort(key=lambda row: len(row["text"]))
    right = defaultdict(list)
    for first in range(0, len(rows), _BATCH):
        part = rows[first : first + _BATCH]
        texts = tf.constant([row["text"] for row in part])
        labels = np.asarray(model.predict_tasks(texts)["sentiment"]["label"])
        for row, label in zip(part, labels, strict=True):
            right[fdu_mtl.DOMAINS[row["domain"]]].append(label == row["label"])
    right = {domain: right[domain] for domain in sorted(right)}
    right["all"] = [hit for hits in right.values() for hit in hits]
    return {
        domain: {"accuracy": round(float(np.mean(hits)), 4), "count": len(hits)}
        for domain, hits in right.items()
    }


def names_in_edited_english(model: mtl.MultiTaskModel) -> dict[str, dict]:
    """Return F1 of GUM's test split, and the table of its types."""
    texts = text_sets.labelled(gum.load("test"), {"ner": "tags"})
    (task,) = (task for task in model.tasks if task.name == "ner")
    names = mtl.architectures.HardSharing(model.trunk, [task])
    names.build((None,))
    names.compile()
    batches = text_batches.evaluation_batches({"gum": texts}, model.trunk.prepare)
    return {
        "f1": evaluation.evaluate(names, batches)["ner"]["f1"],
        "types": evaluation.tables(names, batches)["ner"],
    }


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    model = mtl.load(MODEL.value)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "commit": report.commit(),
        "versions": report.versions(),
        "device": report.device(),
        "model": MODEL.value,
        "fdu_mtl_test": sentiment_of_reviews(model),
        "gum_test": names_in_edited_english(model),
    }
    print(json.dumps(result, indent=1))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
