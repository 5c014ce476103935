"""Affinities and costs of branches, by hand."""

import itertools

import numpy as np

from mtl_zoo.training import branching


def test_affinity_counts_agreements_among_samples_of_both():
    rng = np.random.default_rng(0)
    difficult = rng.uniform(size=(50, 4)) < 0.5
    labelled = rng.uniform(size=(50, 4)) < 0.7
    found = branching.task_affinity(difficult, labelled)
    for i, j in itertools.combinations(range(4), 2):
        both = labelled[:, i] & labelled[:, j]
        wanted = np.mean(difficult[both, i] == difficult[both, j])
        np.testing.assert_allclose([found[i, j], found[j, i]], wanted)
    np.testing.assert_array_equal(np.diag(found), 1.0)


def test_tasks_without_a_common_sample_have_no_affinity():
    labelled = np.array([[True, False], [False, True]])
    found = branching.task_affinity(np.ones((2, 2), bool), labelled)
    np.testing.assert_array_equal(found, np.eye(2))


def test_branch_affinity_is_the_mean_of_smallest_ones():
    affinity = np.array([[1.0, 0.9, 0.2], [0.9, 1.0, 0.4], [0.2, 0.4, 1.0]])
    found = branching.branch_affinity(affinity, ((0, 1), (2,)))
    # From (0, 1): mean of .2 and .4; from (2,): the smaller of .2 and .4.
    np.testing.assert_allclose(found[0, 1], (0.3 + 0.2) / 2)
    np.testing.assert_allclose(found[0, 0], 0.9)


def test_separation_is_one_less_the_mean_of_smallest_affinities():
    affinity = np.array([[1.0, 0.9, 0.2], [0.9, 1.0, 0.4], [0.2, 0.4, 1.0]])
    np.testing.assert_allclose(
        branching.separation(affinity, ((0, 1, 2),)), 1 - (0.2 + 0.4 + 0.2) / 3
    )
    np.testing.assert_allclose(
        branching.separation(affinity, ((0, 1), (2,))), 1 - (0.9 + 0.9 + 1.0) / 3
    )
    assert branching.separation(affinity, ((0,), (1,), (2,))) == 0.0


def test_best_clusters_weigh_branches_against_separation():
    blocks = np.kron(np.eye(2), np.full((3, 3), 0.6)) + 0.3
    np.fill_diagonal(blocks, 1.0)
    two = ((0, 1, 2), (3, 4, 5))
    assert branching.best_clusters(blocks, 0.1, 1.0) == two
    assert branching.best_clusters(blocks, 1.0, 1.0) == (tuple(range(6)),)
    assert branching.best_clusters(blocks, 0.0, 1.0) == tuple((k,) for k in range(6))
