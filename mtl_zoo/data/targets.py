"""The choice of targets, the same for every data set."""

from collections.abc import Sequence

__all__ = ["check_targets"]


def check_targets(targets: Sequence[str], known: Sequence[str]) -> None:
    """Raises a `ValueError` unless `targets` are some of the `known` ones.

    Example:
        >>> check_targets(["boxes"], known=["boxes", "count"])
    """
    if isinstance(targets, str) or not targets or not set(targets) <= set(known):
        raise ValueError(
            f"Expected a sequence of one or more of the targets {tuple(known)}. "
            f"Received: targets={targets!r}"
        )
