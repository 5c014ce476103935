"""What the linter finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that a server would refuse.

    Attributes:
        rule: Name of the rule, see the top of `mtl_zoo.export.linter`.
        message: What is wrong, and where.
    """

    rule: str
    message: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.message}"
