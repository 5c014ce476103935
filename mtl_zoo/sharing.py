"""Who shares what, as a graph that a model describes and a picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Part:
    """Layers that go together: a stage, an expert, a gate's sum, a head.

    Attributes:
        name: Unique among the parts.
        label: What is written on it.
        column: How deep it lies, 0 being the inputs.
        row: Where it lies across, 0 being the top.
        task: The task it belongs to; empty for what is shared.
    """

    name: str
    label: str
    column: float
    row: float
    task: str = ""


@dataclass
class Sharing:
    """Parts of a model, and which reads which how much.

    Attributes:
        tasks: Names of the tasks.
        parts: By name.
        reads: `{(source, target): weight}`; 1 for what is read as it is.
    """

    tasks: tuple[str, ...]
    parts: dict[str, Part] = field(default_factory=dict)
    reads: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(
        self, name: str, label: str, column: float, row: float, task: str = ""
    ) -> str:
        """Add a part; return its name."""
        self.parts[name] = Part(name, label, column, row, task)
        return name

    def read(self, source: str, target: str, weight: float = 1.0) -> None:
        """Add that `target` reads `source`."""
        self.reads[source, target] = float(weight)

    def add_chain(
        self,
        stages: Sequence[str],
        source: str,
        column: float,
        row: float,
        prefix: str = "",
        task: str = "",
    ) -> str:
        """Add stages one behind the other; return the name of the last."""
        for number, stage in enumerate(stages):
            name = self.add(f"{prefix}{stage}", stage, column + number, row, task)
            self.read(source, name)
            source = name
        return source

    def add_heads(self, sources: Sequence[str], column: float) -> None:
        """Add a head for each task, that reads the source of its number."""
        for row, (task, source) in enumerate(zip(self.tasks, sources, strict=True)):
            name = self.add(f"head_{task}", task, column, row, task)
            self.read(source, name)

    def mix(self, sources: Sequence[str], targets: Sequence[str], weights: Any) -> None:
        """Add that targets read sources, weights `(targets, sources)`."""
        for i, target in enumerate(targets):
            for j, source in enumerate(sources):
                self.read(source, target, np.asarray(weights)[i, j])


def middle(count: int) -> float:
    """Return the row in the middle of so many."""
    return (count - 1) / 2
