"""The type of results: `{task: {metric: value}}`, in the order of the model's tasks."""

from __future__ import annotations

from collections.abc import Mapping

Results = Mapping[str, Mapping[str, float]]
