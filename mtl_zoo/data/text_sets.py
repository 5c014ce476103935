"""What the text sets have in common: builders, and texts with labels out of them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives
from mtl_zoo.data.text_batches import LabelledTexts, WordTags, joined
from mtl_zoo.entities import tag_names

__all__ = ["TextSet", "labelled", "retagged"]


class TextSet(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of a set of texts that comes as an archive.

    A subclass says what its examples are made of and yields them.

    Args:
        source: The unpacked folder of the archive. Defaults to None: found by
            `archives.find`.
    """

    code_path = None  # Nothing is downloaded, so there is no file of checksums.
    VERSION = tfds.core.Version("1.0.0")

    DESCRIPTION: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    CITATION: ClassVar[str]
    LICENSE: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "validation", "test")

    def __init__(self, *, source: os.PathLike | None = None, **kwargs: Any) -> None:
        self._source = source
        super().__init__(**kwargs)

    def features(self) -> dict[str, Any]:
        """Return the features of an example."""
        raise NotImplementedError

    def examples(self, source: pathlib.Path, split: str) -> Iterable[dict[str, Any]]:
        """Yield the examples of a split from the unpacked folder."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(self.features()),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            license=self.LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        source = pathlib.Path(self._source or archives.find(self.name))
        return {name: self._generate_examples(source, name) for name in self.SPLITS}

    def _generate_examples(
        self, source: pathlib.Path, split: str
    ) -> Iterator[tuple[int, dict]]:
        yield from enumerate(self.examples(source, split))


def tagged_words(tags: Iterable[str]) -> dict[str, Any]:
    """Return the features of a sentence of tagged words."""
    return {
        "words": tfds.features.Sequence(tfds.features.Text()),
        "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=list(tags))),
    }


def load(
    builder: type[TextSet], split: str, data_dir: str | os.PathLike | None
) -> tf.data.Dataset:
    """Return the examples of a split of a builder of ours, in a fixed order.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return archives.prepared(builder, data_dir).as_dataset(
        split=split, shuffle_files=False
    )


def labelled(dataset: tf.data.Dataset, labels: Mapping[str, str]) -> LabelledTexts:
    """Return the examples of a dataset as texts with labels.

    Args:
        dataset: Examples with `words`, or else with `text`.
        labels: `{task: feature}`; `"tags"` are those of the words.

    Example:
        >>> data = tf.data.Dataset.from_tensors({"text": "fine", "label": 1})
        >>> labelled(data, {"sentiment": "label"})
        LabelledTexts(texts=['fine'], labels={'sentiment': [1]})
    """
    texts: list[str] = []
    found: dict[str, list] = {task: [] for task in labels}
    for example in dataset.as_numpy_iterator():
        if "words" in example:
            words = [word.decode("utf-8") for word in example["words"]]
            text, tags = joined(words, [int(tag) for tag in example["tags"]])
        else:
            text, tags = example["text"].decode("utf-8"), None
        texts.append(text)
        for task, feature in labels.items():
            found[task].append(tags if feature == "tags" else int(example[feature]))
    return LabelledTexts(texts, found)


def retagged(
    texts: LabelledTexts,
    types: Sequence[str],
    new_types: Sequence[str],
    names: Mapping[str, str],
) -> LabelledTexts:
    """Return texts whose tags are about other types.

    Args:
        texts: Texts with tags of words.
        types: Their types of entities.
        new_types: The types wanted.
        names: `{old type: new type}`; entities of others become `O`.

    Example:
        >>> text, tags = joined(["Oslo", "iPad"], [1, 3])
        >>> places = retagged(LabelledTexts([text], {"ner": [tags]}),
        ...                   ["city", "thing"], ["PER", "LOC"], {"city": "LOC"})
        >>> places.labels["ner"][0].tags
        (3, 0)
    """
    old, new = tag_names(types), tag_names(new_types)
    number = [
        new.index(f"{tag[:2]}{names[tag[2:]]}") if tag[2:] in names else 0
        for tag in old
    ]
    labels = {
        task: [
            WordTags(one.starts, tuple(number[t] for t in one.tags)) for one in found
        ]
        for task, found in texts.labels.items()
    }
    return LabelledTexts(texts.texts, labels)
