"""Does a text hold one of a few words?"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from mtl_zoo.auxiliary.auxiliary import OfTexts
from mtl_zoo.data.text_batches import LabelledTexts
from mtl_zoo.heads import Classification
from mtl_zoo.task import Task

_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Hint(OfTexts):
    """Tell whether a text holds one of some words, such as words of praise.

    A selective unsupervised task (Yu and Jiang, 2016): it needs no labels, and so can
    be trained on texts of a domain that has none. The words themselves would give the
    answer away; `hidden` takes them out of what the network reads, so that it has to
    know what goes with them.

    Args:
        words: The words, in lower case. `telling_words` finds some.
        name: Defaults to `"hint"`.

    Raises:
        ValueError: Without words.

    Example:
        >>> praise = Hint(["good", "great"], name="praise")
        >>> praise.labels(["A great film!", "A film about goods"])
        [1, 0]
        >>> praise.hidden("A great film!")
        'A   film!'

    Reference:
        - [Yu and Jiang, 2016](https://aclanthology.org/D16-1023)
    """

    def __init__(self, words: Iterable[str], name: str = "hint") -> None:
        super().__init__(name)
        self.words = frozenset(words)
        if not self.words:
            raise ValueError("Expected at least one word. Received: none.")

    def labels(self, data: LabelledTexts | Sequence[str]) -> list[int]:
        """Return 1 for each text that holds one of the words, else 0."""
        texts = data.texts if isinstance(data, LabelledTexts) else data
        return [int(not self.words.isdisjoint(words_of(text))) for text in texts]

    def hidden(self, text: str) -> str:
        """Return the text with a blank in place of each of the words."""
        return _WORD.sub(
            lambda found: " " if found[0].lower() in self.words else found[0], text
        )

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a classification of two classes; see `heads.Classification`."""
        return yes_or_no(self.name, weight, head)


def yes_or_no(name: str, weight: Any, head: dict) -> Task:
    """Return a classification of two classes, by default of the whole text."""
    return Task(
        name,
        Classification(2, **{"feature": "sentence", **head}),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        weight=weight,
        role="auxiliary",
    )


def words_of(text: str) -> frozenset[str]:
    """Return the different words of a text, in lower case."""
    return frozenset(word.lower() for word in _WORD.findall(text))


def telling_words(
    texts: Sequence[str], labels: Sequence[int], count: int
) -> tuple[list[str], list[str]]:
    """Return the words that speak most clearly for label 0, and those for label 1.

    By the log odds of being in a text of one label rather than the other, in units of
    its standard error, with half a text of each label added: as surprising as the word
    is, the fewer texts have it, the less it says. Nothing but the given texts decides,
    which should be training texts.

    Args:
        texts: The texts.
        labels: 0 or 1 for each.
        count: How many words for each label, at the most.

    Returns:
        Words for label 0, and for label 1, the clearest first.

    Raises:
        ValueError: When a label is neither 0 nor 1, or one of both is missing.

    Example:
        >>> texts = ["good film", "good plot", "bad film", "bad bad plot"]
        >>> telling_words(texts, [1, 1, 0, 0], count=1)
        (['bad'], ['good'])

    Reference:
        - [Monroe et al., 2008](https://doi.org/10.1093/pan/mpn018), section 3.3.1 on
          log odds, there with counts of words rather than texts.
    """
    if {int(label) for label in labels} != {0, 1}:
        raise ValueError(
            "Expected labels 0 and 1, both of them. Received: "
            f"{sorted({int(label) for label in labels})}"
        )
    found: tuple[Counter, Counter] = (Counter(), Counter())
    sizes = [0, 0]
    for text, label in zip(texts, labels, strict=True):
        found[int(label)].update(words_of(text))
        sizes[int(label)] += 1

    def clarity(word: str) -> float:
        with_word = [one[word] + 0.5 for one in found]
        without = [
            size - one[word] + 0.5 for size, one in zip(sizes, found, strict=True)
        ]
        odds = [math.log(a / b) for a, b in zip(with_word, without, strict=True)]
        error = math.sqrt(sum(1 / number for number in with_word + without))
        return (odds[1] - odds[0]) / error

    clear = {word: clarity(word) for word in found[0].keys() | found[1].keys()}
    order = sorted(clear, key=lambda word: (clear[word], word))
    negative = [word for word in order[:count] if clear[word] < 0]
    positive = [word for word in order[::-1][:count] if clear[word] > 0]
    return negative, positive
