"""What the text sets have in common: builders, and texts with labels out of them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives, conllu
from mtl_zoo.data.text_batches import (
    LabelledTexts,
    WordClasses,
    WordTags,
    WordTree,
    joined,
)
from mtl_zoo.entities import tag_names
from mtl_zoo.text_pairs import paired

__all__ = ["TextSet", "labelled", "retagged", "shorter"]


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


def parsed_words(upos: Iterable[str], relations: Iterable[str]) -> dict[str, Any]:
    """Return the features of a sentence with parts of speech and a tree."""
    sequence, label = tfds.features.Sequence, tfds.features.ClassLabel
    return {
        "words": sequence(tfds.features.Text()),
        "upos": sequence(label(names=list(upos))),
        "heads": sequence(tf.int64),
        "relations": sequence(label(names=list(relations))),
    }


def parsed(sentence: conllu.Sentence) -> dict[str, list]:
    """Return the example of a sentence, for `parsed_words`."""
    return {
        "words": list(sentence.words),
        "upos": list(sentence.upos),
        "heads": list(sentence.heads),
        "relations": list(sentence.relations),
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
        dataset: Examples with `words`, with `text`, or with `first` and `second`,
            which become a pair (`mtl_zoo.text_pairs`).
        labels: `{task: feature}`; `"tags"` (of entities) and `"upos"` are those of the
            words, `"tree"` stands for `heads` and `relations`.

    Example:
        >>> data = tf.data.Dataset.from_tensors({"text": "fine", "label": 1})
        >>> labelled(data, {"sentiment": "label"})
        LabelledTexts(texts=['fine'], labels={'sentiment': [1]})
    """
    texts: list[str] = []
    found: dict[str, list] = {task: [] for task in labels}
    for example in dataset.as_numpy_iterator():
        starts: Sequence[int] = ()
        if "words" in example:
            words = [word.decode("utf-8") for word in example["words"]]
            text, tags = joined(words, [0] * len(words))
            starts = tags.starts
        elif "first" in example:
            text = paired(*(example[n].decode("utf-8") for n in ("first", "second")))
        else:
            text = example["text"].decode("utf-8")
        texts.append(text)
        for task, feature in labels.items():
            found[task].append(_label(example, feature, starts))
    return LabelledTexts(texts, found)


def _label(example: Mapping[str, Any], feature: str, starts: Sequence[int]) -> Any:
    """Return the label of an example whose words begin at `starts`."""
    if feature == "tree":
        heads, relations = (
            tuple(int(x) for x in example[name]) for name in ("heads", "relations")
        )
        part = conllu.RELATIONS.index("goeswith")
        return WordTree(starts, heads, relations, part)
    value = example[feature]
    if value.ndim:
        numbers = tuple(int(x) for x in value)
        kind = WordTags if feature == "tags" else WordClasses
        return kind(starts, numbers)
    return float(value) if value.dtype.kind == "f" else int(value)


def shorter(texts: LabelledTexts, words: int) -> LabelledTexts:
    """Return the texts that have at most so many words, split at blanks.

    Such as for training, where the few long ones cost the most.

    Args:
        texts: Texts with labels.
        words: The number.

    Raises:
        ValueError: When none is left.

    Example:
        >>> shorter(LabelledTexts(["a b c", "d"], {"x": [1, 2]}), 2)
        LabelledTexts(texts=['d'], labels={'x': [2]})
    """
    kept = [i for i, text in enumerate(texts.texts) if len(text.split()) <= words]
    return LabelledTexts(
        [texts.texts[i] for i in kept],
        {task: [found[i] for i in kept] for task, found in texts.labels.items()},
    )


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
