"""A picture of who shares what in a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtl_zoo.sharing import Sharing

# Blue for what is shared, then colours that the colour-blind tell apart (Okabe, Ito).
SHARED = "#B8D4EA"
OF_TASKS = ("#F6D58E", "#A9DCC3", "#E9B9D2", "#F2B89B", "#C9C9C9", "#F7F0A0")
WIDTH, HEIGHT = 1.25, 0.46


def draw_sharing(sharing: Sharing, title: str = "") -> np.ndarray:
    """Draw the parts of a model, and lines as wide as what is read counts.

    Args:
        sharing: What a model's `sharing()` returns.
        title: Above the picture. Defaults to none.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ImportError: Without matplotlib.

    Example:
        >>> import keras
        >>> import mtl_zoo as mtl
        >>> task = mtl.Task(
        ...     "age",
        ...     mtl.heads.Regression(1, feature="layer_1"),
        ...     keras.losses.MeanSquaredError(),
        ... )
        >>> model = mtl.architectures.HardSharing(mtl.trunks.mlp([4]), [task])
        >>> draw_sharing(model.sharing()).shape[2]
        3
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch
    except ImportError as error:
        raise ImportError(
            "Structures are drawn by matplotlib. Install it: pip install matplotlib"
        ) from error
    columns = [part.column for part in sharing.parts.values()]
    rows = [part.row for part in sharing.parts.values()]
    wide = (max(columns) - min(columns) + 1) * 1.75
    high = (max(rows) - min(rows) + 1) * 0.85 + (0.4 if title else 0.0)
    figure = Figure(figsize=(wide, high), dpi=110)
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0 - (0.4 / high if title else 0.0)))
    axis.set_xlim(min(columns) - 0.5, max(columns) + 0.5)
    axis.set_ylim(max(rows) + 0.5, min(rows) - 0.5)
    axis.axis("off")
    if title:
        figure.suptitle(title, fontsize=11, y=1.0 - 0.12 / high)
    half = WIDTH / 1.75 / 2
    for (source, target), weight in sharing.reads.items():
        start, end = sharing.parts[source], sharing.parts[target]
        _line(axis, start, end, half, weight)
    for part in sharing.parts.values():
        at = sharing.tasks.index(part.task) if part.task in sharing.tasks else None
        tall = HEIGHT / 0.85
        axis.add_patch(
            FancyBboxPatch(
                (part.column - half, part.row - tall / 2),
                2 * half,
                tall,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=SHARED if at is None else OF_TASKS[at % len(OF_TASKS)],
                edgecolor="#404040",
                linewidth=0.8,
                zorder=3,
            )
        )
        axis.text(
            part.column,
            part.row,
            part.label,
            ha="center",
            va="center",
            fontsize=8 if len(part.label) < 16 else 6,
            zorder=4,
        )
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _line(axis: Any, start: Any, end: Any, half: float, weight: float) -> None:
    """Draw that one part reads another; red for negative weights."""
    size = abs(weight)
    if size < 5e-3:
        return
    x, y = (start.column + half, end.column - half), (start.row, end.row)
    axis.plot(
        x,
        y,
        color="#404040" if weight > 0 else "#C03020",
        linewidth=0.4 + 2.2 * min(size, 1.0),
        alpha=0.35 + 0.6 * min(size, 1.0),
        solid_capstyle="round",
        zorder=1,
    )
    if size < 0.995:
        # Nearer to the target, where the lines of one source have parted.
        axis.text(
            x[0] + 0.72 * (x[1] - x[0]),
            y[0] + 0.72 * (y[1] - y[0]),
            f"{weight:.2f}",
            fontsize=6.5,
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            zorder=2,
        )
