"""What a model wants images to be, and how an image of any size becomes that.

One of::

    {"kind": "native", "multiple": 32, "max_side": 1024}
    {"kind": "fit", "size": 224, "multiple": 32}
    {"kind": "resize", "size": 256}

`native` keeps the resolution, except that an image whose longer side exceeds `max_side`
is made smaller. `fit` makes the longer side `size`, which enlarges small images. Both
keep the proportions and pad with 0 at the bottom and on the right to a multiple of
`multiple`; for `fit`, a `multiple` equal to `size` gives squares. `resize` stretches
every image to a square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NATIVE = {"kind": "native", "multiple": 32, "max_side": 1024}

_KEYS = {
    "native": {"kind", "multiple", "max_side"},
    "fit": {"kind", "size", "multiple"},
    "resize": {"kind", "size"},
}

# The coarsest stride of vision trunks.
_STRIDE = 32


def check_preprocessing(preprocessing: Mapping[str, Any]) -> None:
    """Check that `preprocessing` is one of the forms above.

    Raises:
        ValueError: When it is not.
    """
    keys = _KEYS.get(preprocessing.get("kind", ""))
    sizes = [value for key, value in preprocessing.items() if key != "kind"]
    if set(preprocessing) != keys or not all(
        isinstance(size, int) and size > 0 for size in sizes
    ):
        raise ValueError(
            'Expected {"kind": "native", "multiple": 32, "max_side": 1024}, {"kind": '
            '"fit", "size": 224, "multiple": 32} or {"kind": "resize", "size": 256}, '
            f"with whole numbers. Received: {preprocessing!r}"
        )


def side_multiple(preprocessing: Mapping[str, Any]) -> int:
    """Return what the sides of the network's input must be multiples of.

    Example:
        >>> side_multiple(NATIVE), side_multiple({"kind": "resize", "size": 208})
        (32, 16)
    """
    padded_to = preprocessing.get("multiple", preprocessing.get("size"))
    return math.gcd(padded_to, _STRIDE)
