"""Stanford Sentiment Treebank, positive or negative (SST-2).

The archive has sentences; GLUE trains on all phrases of their trees that are positive
or negative, and so does the split `train_phrases` here. The test sentences are partly
those of `sentence_polarity`: never train on one and test on the other.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import text_sets

__all__ = ["LABELS", "Sst2", "load"]

LABELS = ("negative", "positive")

_FILES = {
    "train": "sst2_train.tsv",
    "validation": "sst2_dev.tsv",
    "test": "sst2_test.tsv",
}
_NEUTRAL = 2
# The files of sentences write lrb for -LRB-.
_ESCAPES = {r"-LRB-|\blrb\b": "(", r"-RRB-|\brrb\b": ")", r"\\([/*])": r"\1"}
_TOKEN = re.compile(r"\((\d)|(\))|([^\s()]+)")


class Sst2(text_sets.TextSet):
    """TFDS builder of the sentences, and of the phrases in their trees."""

    name = "sst"
    SPLITS = ("train", "train_phrases", "validation", "test")
    DESCRIPTION = (
        "Sentences of film reviews, positive or negative. `train_phrases` has the "
        "phrases of the training trees that are not neutral, without those that are "
        "sentences of the validation or the test."
    )
    HOMEPAGE = "https://nlp.stanford.edu/sentiment/"
    CITATION = (
        "@inproceedings{socher2013recursive, title={Recursive Deep Models for Semantic "
        "Compositionality Over a Sentiment Treebank}, author={Socher, Richard and "
        "others}, booktitle={EMNLP}, year={2013}}"
    )
    LICENSE = "none stated"

    def features(self) -> dict:
        """See `TextSet`."""
        return {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=LABELS),
        }

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        if split != "train_phrases":
            for text, label in _sentences(source / _FILES[split]):
                yield {"text": text, "label": label}
            return
        held_out = {
            _bare(text)
            for other in ("validation", "test")
            for text, _ in _sentences(source / _FILES[other])
        }
        seen = set(held_out)
        rows = [*_sentences(source / _FILES["train"])]
        for line in (source / "trees_train.txt").read_text("utf-8").splitlines():
            rows += [
                (text, int(label > _NEUTRAL))
                for text, label in _phrases(line)
                if label != _NEUTRAL
            ]
        for text, label in rows:
            if (bare := _bare(text)) not in seen:
                seen.add(bare)
                yield {"text": text, "label": label}


def load(
    split: str = "train",
    data_dir: str | os.PathLike | None = None,
    source: str = "archive",
) -> tf.data.Dataset:
    """The sentences of a split, in a fixed order.

    Args:
        split: `"train"`, `"train_phrases"`, `"validation"` or `"test"`, or a slice of
            one. From TFDS, `"train"` has the phrases, and there is no test with
            labels: take the validation.
        data_dir: See `archives.find`; with TFDS, its folder.
        source: `"archive"`, or `"tfds"` for GLUE's SST-2 as TensorFlow Datasets
            downloads it.

    Returns:
        A dataset of `{"text": string, "label": int64, number of LABELS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
        ValueError: When `source` is unknown, or has no such labels.
    """
    if source == "archive":
        return text_sets.load(Sst2, split, data_dir)
    if source != "tfds":
        raise ValueError(f"Expected 'archive' or 'tfds'. Received: source={source!r}")
    if split.startswith("test"):
        raise ValueError(
            "GLUE keeps the labels of SST-2's test to itself: expected 'train' or "
            f"'validation'. Received: split={split!r}"
        )
    data = tfds.load(
        "glue/sst2", split=split.replace("train_phrases", "train"), data_dir=data_dir
    )
    return data.map(lambda x: {"text": x["sentence"], "label": x["label"]})


def _sentences(file: pathlib.Path) -> Iterator[tuple[str, int]]:
    for line in file.read_text("utf-8").split("\n"):
        if line.strip():
            text, label = line.rsplit("\t", 1)
            yield _unescaped(text.strip()), int(label)


def _phrases(tree: str) -> Iterator[tuple[str, int]]:
    """Yield the phrases of a tree such as `(3 (2 a) (3 gem))`, the inner ones first."""
    open_phrases: list[tuple[int, list[str]]] = []
    for label, closes, word in _TOKEN.findall(tree):
        if label:
            open_phrases.append((int(label), []))
        elif closes:
            number, words = open_phrases.pop()
            yield _unescaped(" ".join(words)), number
            if open_phrases:
                open_phrases[-1][1].extend(words)
        else:
            open_phrases[-1][1].append(word)


def _unescaped(text: str) -> str:
    """Undo the escapes of the Penn Treebank."""
    for escaped, plain in _ESCAPES.items():
        text = re.sub(escaped, plain, text)
    return text


def _bare(text: str) -> str:
    """Return letters and digits alone: the files differ in case and punctuation."""
    return re.sub(r"[\W_]+", "", text.lower())
