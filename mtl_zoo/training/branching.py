"""Which branches of a tree of tasks to keep together: affinities and costs.

The mathematics of adaptive feature sharing (Lu et al., 2017, section 3.3), on NumPy
arrays.

Reference:
    - [Lu et al., 2017](https://arxiv.org/abs/1611.05377)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Groups = tuple[tuple[int, ...], ...]


def task_affinity(difficult: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return how often two tasks find the same samples difficult, or not.

    Args:
        difficult: bool `(samples, T)`.
        labelled: bool `(samples, T)`; only samples with labels of both tasks count.

    Returns:
        float64 `(T, T)`, symmetric, 1 on the diagonal; 0 for tasks that share no
        sample.

    Example:
        >>> difficult = np.array([[1, 1], [0, 1], [0, 0], [1, 1]], bool)
        >>> float(task_affinity(difficult, np.ones_like(difficult))[0, 1])
        0.75
    """
    signs = np.where(labelled, np.where(difficult, 1.0, -1.0), 0.0)
    both = labelled.astype(float).T @ labelled.astype(float)
    agree = (signs.T @ signs + both) / 2.0
    found = np.divide(agree, both, out=np.zeros_like(agree), where=both > 0)
    np.fill_diagonal(found, 1.0)
    return found


def branch_affinity(affinity: np.ndarray, branches: Groups) -> np.ndarray:
    """Return how alike branches are, by the tasks that they lead to.

    The mean over the tasks of one of their smallest affinity to a task of the other,
    then the mean of both directions.

    Args:
        affinity: `(T, T)` of the tasks.
        branches: The tasks of each branch.

    Returns:
        float64 `(branches, branches)`.
    """
    one_way = np.array(
        [
            [np.mean(affinity[np.ix_(k, m)].min(axis=1)) for m in branches]
            for k in branches
        ]
    )
    return (one_way + one_way.T) / 2.0


def separation(affinity: np.ndarray, clusters: Groups) -> float:
    """Return what it costs that clusters hold branches that are not alike.

    1 less the mean over all branches of the smallest affinity to one of their cluster.

    Args:
        affinity: `(branches, branches)`.
        clusters: The branches of each cluster.
    """
    smallest = [affinity[k, list(c)].min() for c in clusters for k in c]
    return float(1.0 - np.mean(smallest))


def clustered(affinity: np.ndarray, count: int) -> Groups:
    """Return branches in so many clusters, by spectral clustering.

    Args:
        affinity: `(branches, branches)`, not negative.
        count: 1 to the number of branches.
    """
    size = len(affinity)
    if count == 1:
        return (tuple(range(size)),)
    if count == size:
        return tuple((k,) for k in range(size))
    from sklearn.cluster import SpectralClustering

    labels = SpectralClustering(
        count, affinity="precomputed", random_state=0, assign_labels="discretize"
    ).fit_predict(affinity)
    found = [tuple(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels)]
    return tuple(sorted(found))


def best_clusters(
    affinity: np.ndarray, branch_cost: float, separation_cost: float
) -> Groups:
    """Return the clusters of the lowest cost.

    `(d - 1) branch_cost + separation_cost * separation` over the numbers `d` of
    clusters.

    Args:
        affinity: `(branches, branches)`.
        branch_cost: Of one branch more; the paper takes `L0 2 ** p`, `p` being how many
            poolings are above.
        separation_cost: Factor on `separation`, `alpha`.
    """
    candidates: Sequence[Groups] = [
        clustered(affinity, count) for count in range(1, len(affinity) + 1)
    ]
    costs = [
        (len(c) - 1) * branch_cost + separation_cost * separation(affinity, c)
        for c in candidates
    ]
    return candidates[int(np.argmin(costs))]
