"""Heat maps of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Matrices with more rows than this are drawn without names and numbers.
CROWD = 12


def draw_correlations(
    matrices: Sequence[Any],
    names: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw correlation matrices side by side, from -1 to 1 in one scale.

    Args:
        matrices: `(n, n)` each.
        names: Of the rows. Defaults to `None`: not shown, as for more than 12 rows.
        titles: One above each matrix. Defaults to `None`.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ImportError: Without matplotlib.
        ValueError: When there is no matrix, or names or titles do not fit.

    Example:
        >>> draw_correlations([np.eye(2)], names=["a", "b"]).shape[2]
        3
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Heat maps are drawn by matplotlib. Install it: pip install matplotlib"
        ) from error
    matrices = [np.asarray(matrix) for matrix in matrices]
    titles = [""] * len(matrices) if titles is None else titles
    sizes = {len(matrix) for matrix in matrices}
    if not matrices or len(titles) != len(matrices):
        raise ValueError(
            "Expected at least one matrix and one title for each. Received: "
            f"{len(matrices)} matrices, titles={list(titles)}"
        )
    if names is not None and sizes != {len(names)}:
        raise ValueError(
            f"Expected a name for each row of matrices of {sorted(sizes)} rows. "
            f"Received: names={list(names)}"
        )
    side = 2.6 if max(sizes) <= CROWD else 3.6
    size = (side * len(matrices) + 1.4, side + 0.8)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for number, (axis, matrix) in enumerate(zip(axes, matrices, strict=True)):
        shown = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        axis.set_title(titles[number], fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        if len(matrix) <= CROWD:
            _label(axis, matrix, names, with_rows=number == 0)
    figure.colorbar(shown, ax=list(axes), shrink=0.8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _label(axis: Any, matrix: Any, names: Any, with_rows: bool) -> None:
    """Write the correlations into their fields, and names beside them."""
    for (row, column), value in np.ndenumerate(matrix):
        bright = abs(value) > 0.6
        axis.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=7 if len(matrix) <= 6 else 4,
            color="white" if bright else "black",
        )
    if names is None:
        return
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    if with_rows:
        axis.set_yticks(range(len(names)), names, fontsize=7)
