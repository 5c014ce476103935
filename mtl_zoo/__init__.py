"""Multi-task models for TensorFlow and Keras 3: train, compare, ship, serve.

    data -> trunk -> architecture -> heads -> losses -> balancing -> training
            stages   who shares what per task per task  one step     fit

         -> evaluation -> export
            delta_m       serving

Each word is a subpackage, except that losses, metrics and head of a task travel
together in a `Task`, and that every architecture is a `MultiTaskModel`. Saved models
are found by name:

    >>> import mtl_zoo as mtl
    >>> isinstance(mtl.list_models("*nuclei*"), list)
    True

Everything is imported when it is first used: listing models does not load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public names in the order of the dataflow, and the module that holds each. A
# subpackage holds itself.
_HOMES = {
    "data": "mtl_zoo.data",
    "Task": "mtl_zoo.task",
    "trunks": "mtl_zoo.trunks",
    "MultiTaskModel": "mtl_zoo.model",
    "architectures": "mtl_zoo.architectures",
    "priors": "mtl_zoo.priors",
    "heads": "mtl_zoo.heads",
    "losses": "mtl_zoo.losses",
    "auxiliary": "mtl_zoo.auxiliary",
    "balancing": "mtl_zoo.balancing",
    "training": "mtl_zoo.training",
    "evaluation": "mtl_zoo.evaluation",
    "export": "mtl_zoo.export",
    "zoo": "mtl_zoo.zoo",
    "list_models": "mtl_zoo.zoo",
    "show": "mtl_zoo.zoo",
    "load": "mtl_zoo.zoo",
}

__all__ = [  # noqa: RUF022 (the order is the dataflow)
    "data",
    "Task",
    "trunks",
    "MultiTaskModel",
    "architectures",
    "priors",
    "heads",
    "losses",
    "auxiliary",
    "balancing",
    "training",
    "evaluation",
    "export",
    "zoo",
    "list_models",
    "show",
    "load",
]

if TYPE_CHECKING:
    from mtl_zoo import (
        architectures,
        auxiliary,
        balancing,
        data,
        evaluation,
        export,
        heads,
        losses,
        priors,
        training,
        trunks,
        zoo,
    )
    from mtl_zoo.model import MultiTaskModel
    from mtl_zoo.task import Task
    from mtl_zoo.zoo import list_models, load, show


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}. Public names: "
            f"{', '.join(_HOMES)}"
        )
    home = importlib.import_module(_HOMES[name])
    value = home if _HOMES[name] == f"{__name__}.{name}" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
