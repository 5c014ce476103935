"""Saved models: find them by name, read their cards, load them, save new ones.

`list_models` and `show` read JSON and Markdown only; TensorFlow is imported by the
first use of anything else.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mtl_zoo.zoo.registry import (
    ModelNotFoundError,
    list_models,
    load,
    saved_models_dir,
    show,
)

__all__ = [
    "Card",
    "ModelNotFoundError",
    "Predictor",
    "TextPredictor",
    "list_models",
    "load",
    "save",
    "saved_models_dir",
    "show",
    "write_index",
]

_HOMES = {"Card": "card", "Predictor": "predictor", "save": "saving"}
_HOMES |= {"TextPredictor": "text_predictor", "write_index": "saving"}

if TYPE_CHECKING:
    from mtl_zoo.zoo.card import Card
    from mtl_zoo.zoo.predictor import Predictor
    from mtl_zoo.zoo.saving import save, write_index
    from mtl_zoo.zoo.text_predictor import TextPredictor


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
