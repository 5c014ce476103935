import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.trunks import FeaturePyramid

CHANNELS = {2: 3, 3: 4, 4: 5, 5: 6}


def features(height=64, width=96, levels=(2, 3, 4, 5), seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"stride_{2**level}": rng.normal(
            size=(2, height // 2**level, width // 2**level, CHANNELS[level])
        ).astype("float32")
        for level in levels
    }


def reference(pyramid, inputs):
    """Equations of figure 3 in NumPy float64; convolutions written as sums."""
    outputs, merged = {}, None
    for i in reversed(range(len(pyramid.levels))):
        level = pyramid.levels[i]
        kernel, bias = (
            w.numpy().astype("float64") for w in pyramid.laterals[i].weights
        )
        lateral = inputs[f"stride_{2**level}"] @ kernel[0, 0] + bias
        if merged is not None:
            lateral = lateral + merged.repeat(2, axis=1).repeat(2, axis=2)
        merged = lateral
        depthwise, pointwise, bias = (
            w.numpy().astype("float64") for w in pyramid.outputs[i].weights
        )
        padded = np.pad(merged, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = merged.shape[1:3]
        smoothed = sum(
            padded[:, a : a + height, b : b + width] * depthwise[a, b, :, 0]
            for a in range(3)
            for b in range(3)
        )
        outputs[f"pyramid_{level}"] = smoothed @ pointwise[0, 0] + bias
    return outputs


def test_equals_the_equations_in_numpy_float64():
    pyramid, inputs = FeaturePyramid(width=8), features()
    pyramid(inputs)
    rng = np.random.default_rng(1)
    for weight in pyramid.weights:
        weight.assign(rng.normal(size=weight.shape))
    outputs, expected = pyramid(inputs), reference(pyramid, inputs)
    assert list(outputs) == ["pyramid_2", "pyramid_3", "pyramid_4", "pyramid_5"]
    for name, value in expected.items():
        assert tuple(outputs[name].shape) == value.shape
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-3)


def test_output_has_about_the_scale_of_the_merged_features():
    # Keras' default start of a depthwise kernel would shrink this to 0.15.
    pyramid = FeaturePyramid(width=64, levels=(5,))
    x = np.random.default_rng(0).normal(size=(4, 16, 16, 64)).astype("float32")
    pyramid.build({"stride_32": x.shape})
    assert 0.7 < np.std(pyramid.outputs[0](x)) < 1.3


def test_group_normalisation_of_the_outputs():
    outputs = FeaturePyramid(width=8, groups=2, levels=(4, 5))(features(256, 256))
    groups = np.asarray(outputs["pyramid_4"]).reshape(2, -1, 2, 4)
    np.testing.assert_allclose(groups.mean((1, 3)), np.zeros((2, 2)), atol=1e-5)
    np.testing.assert_allclose(groups.std((1, 3)), np.ones((2, 2)), atol=1e-2)


def test_size_may_be_unknown(tmp_path):
    inputs = {
        name: keras.Input((None, None, value.shape[-1]), name=name)
        for name, value in features().items()
    }
    pyramid = FeaturePyramid(width=8, groups=4)
    model = keras.Model(inputs, pyramid(inputs))
    assert model.output["pyramid_3"].shape == (None, None, None, 8)
    model.save(tmp_path / "pyramid.keras")
    loaded = keras.saving.load_model(tmp_path / "pyramid.keras")
    graph = tf.function(pyramid)
    for size in ((64, 64), (32, 96)):
        x = features(*size)
        expected = pyramid(x)
        for name, value in expected.items():
            np.testing.assert_allclose(loaded(x)[name], value, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(graph(x)[name], value, rtol=1e-5, atol=1e-6)


def test_last_shared_variables_are_the_pointwise_kernels_of_the_outputs():
    pyramid = FeaturePyramid(width=8, levels=(4, 5))
    pyramid(features())
    assert [v.path.split("/")[-2:] for v in pyramid.last_shared_variables] == [
        ["output_4", "pointwise_kernel"],
        ["output_5", "pointwise_kernel"],
    ]
    pyramid.trainable = False
    assert pyramid.last_shared_variables == []


def test_every_weight_gets_a_gradient():
    pyramid, inputs = FeaturePyramid(width=8, groups=2), features()
    pyramid(inputs)
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(tf.abs(y)) for y in pyramid(inputs).values())
    gradients = tape.gradient(loss, [v.value for v in pyramid.trainable_variables])
    # 2 a lateral, 3 an output, 2 a norm; the norm cancels no gradient to zero here
    assert len(gradients) == 4 * 7
    for gradient in gradients:
        assert np.abs(gradient).max() > 0


def test_mixed_precision():
    pyramid = FeaturePyramid(width=8, dtype="mixed_float16")
    outputs = pyramid(features())
    assert {y.dtype for y in outputs.values()} == {tf.float16}
    assert {w.dtype for w in pyramid.weights} == {"float32"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": ()}, "consecutive"),
        ({"levels": (3, 2)}, r"levels=\(3, 2\)"),
        ({"levels": (2, 4)}, r"levels=\(2, 4\)"),
        ({"width": 0}, "width=0"),
        ({"width": 8, "groups": 3}, "groups=3"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeaturePyramid(**arguments)


def test_missing_feature():
    with pytest.raises(ValueError, match=r"without \['stride_4'\]"):
        FeaturePyramid()(features(levels=(3, 4, 5)))


def test_sizes_that_do_not_halve():
    pyramid = FeaturePyramid(width=8, levels=(4, 5))
    with pytest.raises(ValueError, match="multiples of 32"):
        pyramid(
            {"stride_16": np.ones((1, 3, 4, 5)), "stride_32": np.ones((1, 2, 2, 6))}
        )
