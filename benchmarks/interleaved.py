"""Time what is compared in turns, so that all of it meets the same machine."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)


def medians(
    runs: Mapping[Key, Callable[[], Any]], rounds: int, warm_up: int
) -> dict[Key, float]:
    """Return the median of the seconds that each takes.

    Args:
        runs: What to call, once a round, in an order that each round draws anew.
        rounds: Timed rounds.
        warm_up: Rounds before them, which are not counted.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in runs}
    for number in range(rounds + warm_up):
        for key in random.Random(number).sample(list(runs), len(runs)):
            start = time.perf_counter()
            runs[key]()
            if number >= warm_up:
                seconds[key].append(time.perf_counter() - start)
    return {key: statistics.median(times) for key, times in seconds.items()}
