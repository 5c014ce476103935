"""Tensor-normal priors: density, maximum likelihood and state."""

import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from mtl_zoo.priors import Normal, TensorNormal, TraceNorm, covariance
from mtl_zoo.priors.covariance import Covariance, identity, most_likely
from mtl_zoo.priors.tensor_normal import half_step, log_density

SHAPE = (4, 3, 5)


def spread(size, seed, strength=1.0):
    """A random covariance of a trace of `size`."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size)) * strength + np.eye(size)
    found = root @ root.T
    return found * size / np.trace(found)


def of_matrix(matrix):
    """The same as a `Covariance`."""
    values, basis = np.linalg.eigh(matrix)
    return Covariance(
        tf.constant(basis), tf.constant(values), tf.ones(len(values), tf.float64)
    )


def drawn(matrices, variance, seed=0):
    """A tensor-normal sample."""
    rng = np.random.default_rng(seed)
    tensor = rng.normal(size=[len(m) for m in matrices]) * np.sqrt(variance)
    for mode, matrix in enumerate(matrices):
        root = np.linalg.cholesky(matrix)
        tensor = np.moveaxis(
            np.tensordot(root, np.moveaxis(tensor, mode, 0), axes=1), 0, mode
        )
    return tensor


def planted(shape=SHAPE):
    return [spread(size, seed) for seed, size in enumerate(shape)]


def follow(prior, weights):
    """Give a prior the state that it wants for these weights."""
    values = tf.function(prior.updated)(weights)
    for variable, value in zip(prior.non_trainable_variables, values, strict=True):
        variable.assign(value)


def correlation_of_entries(one, other):
    above = np.triu_indices(len(one), 1)
    return np.corrcoef(one[above], other[above])[0, 1]


@pytest.mark.parametrize("shape", [SHAPE, (6, 2), (3, 2, 2, 3)])
def test_density_is_that_of_scipy(shape):
    matrices = planted(shape)
    tensor = drawn(matrices, 0.7)
    kronecker = np.ones((1, 1))
    for matrix in matrices:
        kronecker = np.kron(kronecker, matrix)
    wanted = scipy.stats.multivariate_normal.logpdf(tensor.ravel(), cov=0.7 * kronecker)
    found = log_density(tf.constant(tensor), [of_matrix(m) for m in matrices], 0.7)
    np.testing.assert_allclose(float(found), wanted, rtol=1e-10)


@pytest.mark.parametrize("kind", ["full", "low_rank", "diagonal", "identity"])
def test_spectral_form_is_the_matrix(kind):
    """What is computed by eigenvectors is what the whole matrix gives."""
    samples = tf.constant(np.random.default_rng(0).normal(size=(5, 40)))
    found = most_likely(samples, kind, rank=2)
    matrix = np.asarray(found.matrix())
    _, log_determinant = np.linalg.slogdet(matrix)
    np.testing.assert_allclose(found.log_determinant(), log_determinant, atol=1e-10)
    np.testing.assert_allclose(found.trace(), np.trace(matrix), rtol=1e-10)
    right = np.random.default_rng(1).normal(size=(5, 2))
    solved = found.through(lambda x: 1.0 / x, tf.constant(right))
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, right), rtol=1e-9)
    scaled = found.scaled(2.0, 0.5).matrix()
    np.testing.assert_allclose(scaled, 2.0 * matrix + 0.5 * np.eye(5), rtol=1e-10)


def test_low_rank_is_probabilistic_pca():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 50))
    samples += 0.1 * rng.normal(size=(6, 50))
    found = most_likely(tf.constant(samples), "low_rank", rank=2)
    values = np.linalg.eigvalsh(samples @ samples.T / 50)
    np.testing.assert_allclose(np.sort(found.variances), values[-2:], rtol=1e-9)
    np.testing.assert_allclose(found.rest, np.mean(values[:-2]), rtol=1e-9)


def test_low_rank_of_few_samples_is_the_same_by_either_gramian():
    samples = np.random.default_rng(0).normal(size=(30, 8))
    few = most_likely(tf.constant(samples), "low_rank", rank=4)
    padded = np.concatenate([samples, np.zeros((30, 32))], axis=1) * np.sqrt(5)
    many = most_likely(tf.constant(padded), "low_rank", rank=4)
    np.testing.assert_allclose(few.matrix(), many.matrix(), atol=1e-9)


def test_low_rank_of_many_rows_and_samples_is_found_by_iteration():
    size = covariance.LARGEST_EXACT + 40
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(size, 3)) @ rng.normal(size=(3, size + 10))
    samples += 0.5 * rng.normal(size=samples.shape)
    found = most_likely(tf.constant(samples), "low_rank", rank=3)
    wanted = np.linalg.eigvalsh(samples @ samples.T / (size + 10))
    np.testing.assert_allclose(np.sort(found.variances), wanted[-3:], rtol=1e-9)
    np.testing.assert_allclose(found.rest, np.mean(wanted[:-3]), rtol=1e-9)


def test_iteration_goes_on_where_it_ended():
    """Without a gap in the spectrum it takes many, none of which is a step back."""
    size = covariance.LARGEST_EXACT + 1
    samples = np.random.default_rng(0).normal(size=(size, size))
    wanted = np.sort(np.linalg.eigvalsh(samples @ samples.T / size))[-4:]
    found, least = [], None
    for _ in range(12):
        near = None if least is None else least.basis
        least = most_likely(tf.constant(samples), "low_rank", 4, near)
        found.append(float(tf.reduce_sum(least.variances)))
    assert np.all(np.diff(found) > -1e-9)
    assert found[0] < 0.97 * wanted.sum() < 0.995 * wanted.sum() < found[-1]


def test_weights_that_are_no_numbers_leave_numbers():
    prior = TensorNormal()
    prior.build((4, 3, 2))
    follow(prior, tf.fill((4, 3, 2), np.nan))
    assert all(np.isfinite(v.numpy()).all() for v in prior.variables)


def test_low_rank_beyond_the_samples():
    samples = np.random.default_rng(0).normal(size=(30, 3))
    found = most_likely(tf.constant(samples, tf.float32), "low_rank", rank=8)
    assert found.basis.shape == (30, 8) and found.variances.shape == (8,)
    scatter = samples @ samples.T / 3
    np.testing.assert_allclose(found.matrix(), scatter, atol=1e-4)
    prior = TensorNormal(kinds=("low_rank", "identity", "identity"))
    prior.build((30, 1, 3))
    follow(prior, tf.constant(samples[:, None], tf.float32))
    assert np.isfinite(float(prior(tf.ones((30, 1, 3)))))


@pytest.mark.parametrize("kinds", [("full",) * 3, ("low_rank", "diagonal", "full")])
def test_every_half_step_increases_the_likelihood(kinds):
    shape = (12, 6, 5)
    tensor = tf.constant(drawn(planted(shape), 0.4))
    covariances = [identity(size, dtype="float64") for size in shape]
    variance, before = 1.0, -np.inf
    for turn in range(12):
        mode = turn % 3
        covariances[mode], variance = half_step(
            tensor, covariances, mode, kinds[mode], rank=3
        )
        after = float(log_density(tensor, covariances, variance))
        assert after >= before - 1e-9 * abs(after)
        before = after
    for one in covariances:
        np.testing.assert_allclose(one.trace(), one.size, rtol=1e-9)


def test_planted_covariances_are_recovered():
    """From 20 samples, which are a mode without relations."""
    samples, shape = 20, (8, 6, 5)
    matrices = planted(shape)
    tensor = tf.constant(drawn([np.eye(samples), *matrices], 2.5))
    prior = TensorNormal(
        kinds=("identity", "full", "full", "full"),
        epsilon=0.0,
        learn_variance=True,
        dtype="float64",
    )
    prior.build(tensor.shape)
    for _ in range(5):
        follow(prior, tensor)
    for mode, matrix in enumerate(matrices, start=1):
        assert correlation_of_entries(prior.covariance(mode), matrix) > 0.98
    np.testing.assert_allclose(float(prior.variance), 2.5, rtol=0.1)


@pytest.mark.parametrize("prior", [Normal(0.3), TraceNorm(), TensorNormal()])
def test_gradient_is_that_of_differences(prior):
    prior = type(prior).from_config({**prior.get_config(), "dtype": "float64"})
    rng = np.random.default_rng(0)
    weights = rng.normal(size=SHAPE)
    prior.build(SHAPE)
    if prior.variables:
        follow(prior, tf.constant(weights))
    point = tf.constant(weights)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = prior(point)
    slope = np.asarray(tape.gradient(value, point))
    way = rng.normal(size=SHAPE)
    step = 1e-5
    difference = float(prior(weights + step * way)) - float(prior(weights - step * way))
    np.testing.assert_allclose(np.sum(slope * way), difference / (2 * step), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3, 1), SHAPE])
def test_identity_covariances_are_l2(shape):
    """Of one task, too."""
    weights = np.random.default_rng(0).normal(size=shape).astype("float32")
    prior = TensorNormal(kinds=("identity",) * 3, variance=0.25)
    prior.build(shape)
    follow(prior, tf.constant(weights))
    np.testing.assert_allclose(
        prior(weights), Normal(variance=0.25)(weights), rtol=1e-5
    )


def test_order_of_the_tasks_does_not_matter():
    weights = drawn(planted(), 1.0)
    order = np.array([3, 0, 4, 1, 2])
    priors = [TensorNormal(dtype="float64") for _ in range(2)]
    for prior, given in zip(priors, (weights, weights[..., order]), strict=True):
        prior.build(SHAPE)
        follow(prior, tf.constant(given))
    one, other = priors
    np.testing.assert_allclose(one(weights), other(weights[..., order]), rtol=1e-9)
    np.testing.assert_allclose(
        one.correlation(2)[np.ix_(order, order)], other.correlation(2), atol=1e-9
    )


def test_a_wide_layer_in_float32():
    """4,096 features by a covariance of low rank, 65,536 numbers in the state."""
    weights = np.random.default_rng(0).normal(size=(4096, 10, 4)).astype("float32")
    prior = TensorNormal(kinds=("low_rank", "full", "full"), rank=8)
    prior.build(weights.shape)
    follow(prior, weights)
    assert all(np.all(np.isfinite(v)) for v in prior.variables)
    assert np.isfinite(float(prior(weights)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", [0.0, 1e-12, 1e12])
def test_degenerate_weights_give_finite_numbers(weights, dtype):
    """All weights equal: scatter matrices of rank 1, or 0."""
    prior = TensorNormal(dtype=dtype)
    prior.build(SHAPE)
    follow(prior, tf.fill(SHAPE, tf.constant(weights, dtype)))
    assert all(np.all(np.isfinite(v)) for v in prior.variables)
    assert np.isfinite(float(prior(tf.ones(SHAPE, dtype))))


def test_trace_norm_is_the_sum_of_the_singular_values():
    weights = np.random.default_rng(0).normal(size=SHAPE)
    values = np.linalg.svd(weights.reshape(-1, 5), compute_uv=False)
    found = TraceNorm(epsilon=1e-14, dtype="float64")(weights)
    np.testing.assert_allclose(float(found), values.sum(), rtol=1e-6)


def test_trace_norm_of_nothing_has_a_gradient():
    nothing = tf.zeros(SHAPE)
    with tf.GradientTape() as tape:
        tape.watch(nothing)
        value = TraceNorm()(nothing)
    assert float(value) < 1e-6
    np.testing.assert_array_equal(tape.gradient(value, nothing), np.zeros(SHAPE))


def test_weights_of_zero_give_the_identity():
    prior = TensorNormal(epsilon=0.0)
    prior.build(SHAPE)
    follow(prior, tf.zeros(SHAPE))
    for mode, size in enumerate(SHAPE):
        np.testing.assert_allclose(prior.covariance(mode), np.eye(size), atol=1e-6)


def test_bad_arguments_say_what_is_expected():
    for wrong in (
        {"kinds": ("half",)},
        {"rank": 0},
        {"epsilon": 1.0},
        {"epsilon": (0.5, 0.5, -0.1)},
        {"variance": 0.0},
    ):
        with pytest.raises(ValueError, match="Received"):
            TensorNormal(**wrong)
    with pytest.raises(ValueError, match=r"2 modes.*\(4, 3, 5\)"):
        TensorNormal(kinds=("full", "full")).build(SHAPE)
    with pytest.raises(ValueError, match=r"or 3: one for each mode.*\(0.5, 0.1\)"):
        TensorNormal(epsilon=(0.5, 0.1)).build(SHAPE)
    for prior, name in ((Normal, "variance"), (TraceNorm, "epsilon")):
        with pytest.raises(ValueError, match="must be positive"):
            prior(**{name: 0.0})


def test_each_mode_may_have_an_epsilon():
    one, several = TensorNormal(epsilon=0.2), TensorNormal(epsilon=(0.2, 0.2, 0.05))
    weights = tf.constant(np.random.default_rng(0).normal(size=SHAPE), "float32")
    same = tf.repeat(weights[..., :1], SHAPE[-1], axis=-1)
    for prior in (one, several):
        prior.build(SHAPE)
        follow(prior, same)
    for mode in (0, 1):
        np.testing.assert_allclose(one.covariance(mode), several.covariance(mode))
    for prior, correlation in ((one, 0.8), (several, 0.95)):
        found = prior.correlation(2)
        np.testing.assert_allclose(found[np.triu_indices(5, 1)], correlation, rtol=1e-4)
    assert several.of_inputs("x").epsilon == (0.2, 0.0)
    again = TensorNormal.from_config(json.loads(json.dumps(several.get_config())))
    assert again.get_config() == several.get_config()


def test_config_round_trip():
    prior = TensorNormal(kinds=("low_rank", "diagonal", "full"), rank=3, epsilon=0.2)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(prior)
    )
    assert again.get_config() == prior.get_config()
    assert prior.of_inputs("x").get_config()["kinds"] == ("low_rank", "identity")
