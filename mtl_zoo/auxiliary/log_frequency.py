"""How frequent is a word?"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mtl_zoo.auxiliary.auxiliary import OfTexts
from mtl_zoo.data.text_batches import LabelledTexts, WordClasses
from mtl_zoo.heads import WordClassification
from mtl_zoo.losses import Tags
from mtl_zoo.task import Task

_RUN = re.compile(r"\S+")


class LogFrequency(OfTexts):
    """Say for each word how frequent it is: `int(log(n))`, `n` its number of times.

    A statistical task (Plank et al., 2016), which tells rare words from common ones; a
    word that the training texts do not have is of class 0. Words are what blanks
    separate, in lower case.

    Args:
        texts: Training texts, which are counted.
        name: Defaults to `"log_frequency"`.

    Raises:
        ValueError: When the texts have no word more than twice: all would be alike.

    Example:
        >>> frequency = LogFrequency(["the cat the dog the end"])
        >>> frequency.labels(["the mouse"])
        [WordClasses(starts=(0, 4), classes=(1, 0))]

    Reference:
        - [Plank et al., 2016](https://aclanthology.org/P16-2067)
    """

    def __init__(self, texts: Iterable[str], name: str = "log_frequency") -> None:
        super().__init__(name)
        found = Counter(word for text in texts for word in _RUN.findall(text.lower()))
        self.classes = {word: int(math.log(n)) for word, n in found.items()}
        self.class_names = [
            str(n) for n in range(1 + max(self.classes.values(), default=0))
        ]
        if len(self.class_names) < 2:
            raise ValueError(
                "Expected texts with words that come more than twice. Received texts "
                f"with {len(found)} words."
            )

    def labels(self, data: LabelledTexts | Iterable[str]) -> list[WordClasses]:
        """Return the classes of each text's words."""
        texts = data.texts if isinstance(data, LabelledTexts) else data
        return [self._of(text) for text in texts]

    def _of(self, text: str) -> WordClasses:
        runs = list(_RUN.finditer(text))
        return WordClasses(
            tuple(run.start() for run in runs),
            tuple(self.classes.get(run[0].lower(), 0) for run in runs),
        )

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a classification of each word; see `heads.WordClassification`."""
        return Task(
            self.name,
            WordClassification(self.class_names, **head),
            Tags(),
            weight=weight,
            role="auxiliary",
        )
