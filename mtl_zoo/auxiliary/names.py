"""Does a text hold a name?"""

from __future__ import annotations

from typing import Any

from mtl_zoo.auxiliary.auxiliary import OfTexts
from mtl_zoo.auxiliary.hints import yes_or_no
from mtl_zoo.data.text_batches import LabelledTexts
from mtl_zoo.task import Task


class NamePresence(OfTexts):
    """Tell whether a text holds a name, or any entity (Cheng et al., 2015).

    Args:
        of: The labels of the texts that have the words' tags, 0 for no entity. Defaults
            to `"ner"`.
        name: Defaults to `"name_presence"`.

    Reference:
        - [Cheng et al., 2015](https://aclanthology.org/D15-1085)
    """

    def __init__(self, of: str = "ner", name: str = "name_presence") -> None:
        super().__init__(name)
        self.of = of

    def labels(self, data: LabelledTexts) -> list[int]:
        """Return 1 for each text with a tag other than 0, else 0.

        Raises:
            ValueError: When the texts have no such tags.
        """
        if self.of not in data.labels:
            raise ValueError(
                f"The labels of {self.name!r} are made of those of {self.of!r}. "
                f"Received labels of {sorted(data.labels)}."
            )
        return [int(any(tag > 0 for tag in one.tags)) for one in data.labels[self.of]]

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a classification of two classes; see `heads.Classification`."""
        return yes_or_no(self.name, weight, head)
