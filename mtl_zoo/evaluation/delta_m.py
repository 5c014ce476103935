"""delta_m: one number for how much better the tasks are than their baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mtl_zoo.evaluation.results import Results

Directions = Mapping[str, Mapping[str, str]]


def delta_m(
    results: Results,
    baselines: Results,
    directions: Directions,
    convention: str = "per_task",
) -> float:
    r"""Return the average relative improvement over `baselines`, in percent.

    With result `M`, baseline `B` and sign `s` (+1 where up is better, -1 where down
    is), the gain of metric `m` of task `t` is `g[t, m] = 100 s (M - B) / |B|`. The
    conventions in use differ in the average, in the sign and in the baseline:

    `"per_task"` (default), **higher is better**
        `mean_t mean_m g[t, m]`: every task counts the same. Baselines are single-task
        results. Eq. 1 of LibMTL; DB-MTL and Rep-MTL.

    `"per_metric"`, **lower is better**
        `- mean_(t, m) g[t, m]`: every metric counts the same, and a drop in
        performance is positive. Baselines are single-task results. CAGrad, Nash-MTL,
        FAMO, FairGrad.

    `"primary"`, **higher is better**
        `mean_t g[t, 0]`: the first metric of each task in `results`. Baselines are
        single-task results. Maninis et al.; Vandenhende et al.

    `"relative_to_start"`, **higher is better**
        `mean_t mean_m g[t, m] / 100`, a fraction: `baselines` are the results of the
        same run after its first epoch. What the code of LibMTL prints; it says nothing
        about single-task training.

    Args:
        results: `{task: {metric: value}}`. All its metrics enter.
        baselines: The same structure; further metrics and tasks are ignored.
        directions: `{task: {metric: "up" or "down"}}`.
        convention: One of the four names above.

    Raises:
        ValueError: When `results` is empty, a metric has no baseline or no direction,
            a baseline is 0, or the convention is unknown.

    Example:
        >>> single = {"segment": {"iou": 50.0}, "depth": {"error": 0.4, "rmse": 1.0}}
        >>> multi = {"segment": {"iou": 55.0}, "depth": {"error": 0.3, "rmse": 1.1}}
        >>> up_down = {"segment": {"iou": "up"}, "depth": {"error": "down",
        ...                                                "rmse": "down"}}
        >>> round(delta_m(multi, single, up_down), 4)  # (10 + (25 - 10) / 2) / 2
        8.75
        >>> round(delta_m(multi, single, up_down, "per_metric"), 4)
        -8.3333

    Differences from the papers:
        The baseline enters by its absolute value, so that a gain on a negative metric
        is a gain.

    Reference:
        - [Maninis et al., 2019](https://arxiv.org/abs/1904.08918)
        - [Vandenhende et al., 2021](https://arxiv.org/abs/2004.13379)
        - [Navon et al., Nash-MTL, 2022](https://arxiv.org/abs/2202.01017)
        - [Lin and Zhang, LibMTL, 2023](https://jmlr.org/papers/v24/22-0347.html)
    """
    if convention not in CONVENTIONS:
        raise ValueError(
            f"`convention` must be one of {CONVENTIONS}. Received: {convention!r}"
        )
    gains = [
        [
            _gain(task, metric, value, baselines, directions)
            for metric, value in metrics.items()
        ]
        for task, metrics in results.items()
    ]
    if not gains or not all(gains):
        raise ValueError(
            "delta_m needs at least one task, and at least one metric for each. "
            f"Received: results={dict(results)}"
        )
    return _AVERAGES[convention](gains)


def _gain(
    task: str,
    metric: str,
    value: float,
    baselines: Results,
    directions: Directions,
) -> float:
    """Return `100 s (M - B) / |B|`."""
    where = f"metric {metric!r} of task {task!r}"
    baseline = baselines.get(task, {}).get(metric)
    if baseline is None:
        raise ValueError(
            f"The {where} has no baseline. Add `baselines[{task!r}][{metric!r}]`, or "
            f"leave the metric out of `results`. Received baselines: "
            f"{ {name: list(metrics) for name, metrics in baselines.items()} }"
        )
    if baseline == 0:
        raise ValueError(
            f"The baseline of {where} is 0, and no improvement is relative to 0. Leave "
            "the metric out of `results`, or choose one that is not 0 for the baseline."
        )
    direction = directions.get(task, {}).get(metric)
    if direction not in ("up", "down"):
        raise ValueError(
            f"The direction of {where} must be 'up' (larger is better) or 'down'. Set "
            f"`directions[{task!r}][{metric!r}]`. Received: {direction!r}"
        )
    sign = 1.0 if direction == "up" else -1.0
    return 100.0 * sign * (value - baseline) / abs(baseline)


def _mean(values: list[float]) -> float:
    return float(sum(values) / len(values))


def _per_task(gains: list[list[float]]) -> float:
    return _mean([_mean(task) for task in gains])


def _per_metric(gains: list[list[float]]) -> float:
    return -_mean([gain for task in gains for gain in task])


def _primary(gains: list[list[float]]) -> float:
    return _mean([task[0] for task in gains])


def _relative_to_start(gains: list[list[float]]) -> float:
    return _per_task(gains) / 100.0


_AVERAGES: dict[str, Callable[[list[list[float]]], float]] = {
    "per_task": _per_task,
    "per_metric": _per_metric,
    "primary": _primary,
    "relative_to_start": _relative_to_start,
}

CONVENTIONS = tuple(_AVERAGES)
