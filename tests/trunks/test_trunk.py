import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mtl_zoo.trunks import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo_tests")
class SumNeck(layers.Layer):
    """Adds up all features under the name `sum`, behind a dense layer."""

    def __init__(self, output_name="sum", **kwargs):
        super().__init__(**kwargs)
        self.output_name = output_name
        self.dense = layers.Dense(3)

    def build(self, input_shape):
        self.dense.build(next(iter(input_shape.values())))

    def call(self, inputs):
        return {self.output_name: self.dense(sum(inputs.values()))}

    def compute_output_shape(self, input_shape):
        return {self.output_name: (*next(iter(input_shape.values()))[:-1], 3)}

    def get_config(self):
        return {**super().get_config(), "output_name": self.output_name}


def normed_stage(units=4, name=None):
    return keras.Sequential(
        [layers.Dense(units), layers.BatchNormalization(), layers.Dropout(0.5)],
        name=name,
    )


def image_trunk(**kwargs):
    # "z" before "a": the order of a trunk is not that of the alphabet.
    return Trunk(
        {
            "z": keras.Sequential(
                [layers.Conv2D(4, 3, 2, "same"), layers.BatchNormalization()]
            ),
            "a": layers.Conv2D(5, 3, 2, "same"),
        },
        **kwargs,
    )


def numpy_of(features):
    return {name: np.asarray(value) for name, value in features.items()}


def assert_same(first, second, **tolerance):
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], **tolerance)


def test_output_is_that_of_the_stages_one_after_the_other():
    trunk = image_trunk()
    x = np.random.rand(2, 8, 8, 3).astype("float32")
    features = trunk(x)
    z = trunk.stages["z"](x)
    a = trunk.stages["a"](z)
    assert_same(numpy_of(features), numpy_of({"z": z, "a": a}))


def test_stages_keep_their_order_and_are_read_only():
    trunk = image_trunk()
    assert list(trunk.stages) == ["z", "a"]
    with pytest.raises(TypeError):
        trunk.stages["b"] = layers.Dense(1)


def test_neck_reads_all_features_and_joins_its_own():
    trunk = Trunk({"a": layers.Dense(2), "b": layers.Dense(2)}, neck=SumNeck())
    features = trunk(np.ones((1, 2), "float32"))
    assert list(features) == ["a", "b", "sum"]
    expected = trunk.neck.dense(features["a"] + features["b"])
    np.testing.assert_allclose(features["sum"], expected)


def test_build_from_a_shape_makes_every_weight():
    trunk = image_trunk()
    trunk.build((None, None, None, 3))
    assert [tuple(w.shape) for w in trunk.trainable_weights] == [
        (3, 3, 3, 4),
        (4,),
        (4,),
        (4,),
        (3, 3, 4, 5),
        (5,),
    ]
    before = [w.numpy() for w in trunk.weights]
    trunk(np.ones((1, 8, 8, 3), "float32"))
    for weight, value in zip(trunk.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_symbolic_shapes_and_dtypes():
    trunk = Trunk({"a": layers.Dense(4), "b": layers.Dense(4)}, neck=SumNeck())
    assert trunk.compute_output_shape((None, 2)) == {
        "a": (None, 4),
        "b": (None, 4),
        "sum": (None, 3),
    }
    spec = trunk(keras.Input((2,), dtype="float32"))
    assert {name: (t.shape, t.dtype) for name, t in spec.items()} == {
        "a": ((None, 4), "float32"),
        "b": ((None, 4), "float32"),
        "sum": ((None, 3), "float32"),
    }


def test_first_stage_may_take_a_dict():
    inputs = {
        "left": keras.Input((2,), name="left"),
        "right": keras.Input((3,), name="right"),
    }
    first = keras.Model(inputs, layers.Concatenate()(list(inputs.values())))
    trunk = Trunk({"joined": first, "dense": layers.Dense(4)})
    features = trunk({"left": np.ones((1, 2)), "right": np.ones((1, 3))})
    assert features["dense"].shape == (1, 4)
    shapes = trunk.compute_output_shape({"left": (None, 2), "right": (None, 3)})
    assert shapes == {"joined": (None, 5), "dense": (None, 4)}


def test_eager_equals_graph():
    trunk = image_trunk()
    x = np.random.rand(2, 8, 8, 3).astype("float32")
    eager = numpy_of(trunk(x))
    graph = numpy_of(tf.function(trunk)(x))
    assert_same({n: graph[n] for n in eager}, eager, rtol=1e-6, atol=1e-6)


def test_training_reaches_the_stages():
    trunk = Trunk({"a": layers.Dropout(0.5)})
    x = np.ones((8, 100), "float32")
    np.testing.assert_array_equal(trunk(x, training=False)["a"], x)
    assert set(np.unique(trunk(x, training=True)["a"])) == {0.0, 2.0}


def test_config_is_json_and_rebuilds_the_trunk():
    trunk = image_trunk(freeze_batch_norm=True, name="tiny")
    config = json.loads(json.dumps(trunk.get_config()))
    clone = Trunk.from_config(config)
    assert clone.name == "tiny"
    assert clone.freeze_batch_norm
    assert list(clone.stages) == ["z", "a"]
    assert clone.get_config() == trunk.get_config()


@pytest.mark.parametrize("freeze", [False, True])
def test_keras_file_keeps_outputs_and_frozen_batch_norm(tmp_path, freeze):
    trunk = Trunk(
        {"a": normed_stage(name="a"), "b": normed_stage(name="b")},
        neck=SumNeck(),
        freeze_batch_norm=freeze,
    )
    inputs = keras.Input((3,))
    model = keras.Model(inputs, trunk(inputs))
    for weight in model.weights:
        weight.assign(np.random.rand(*weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # safe_mode is on
    x = np.random.rand(4, 3).astype("float32")
    assert_same(numpy_of(model(x)), numpy_of(loaded(x)))
    expected = 6 if freeze else 10  # two kernels and biases, neck; gammas and betas
    assert len(loaded.trainable_variables) == expected
    assert len(model.trainable_variables) == expected


def test_frozen_batch_norm_stays_so_when_a_model_is_unfrozen():
    trunk = Trunk({"a": normed_stage()}, freeze_batch_norm=True)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, trunk(inputs))
    norm = trunk.stages["a"].layers[1]
    x = np.random.rand(16, 3).astype("float32") * 9
    for trainable in (False, True):
        model.trainable = trainable
        assert not norm.trainable
        assert len(model.trainable_variables) == 2 * trainable
    model(x, training=True)
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(4))
    np.testing.assert_array_equal(norm.moving_variance, np.ones(4))


def test_batch_norm_learns_when_not_frozen():
    trunk = Trunk({"a": normed_stage()})
    trunk(np.random.rand(16, 3).astype("float32") * 9, training=True)
    assert np.abs(trunk.stages["a"].layers[1].moving_mean).max() > 0


def test_every_trainable_weight_gets_a_gradient():
    trunk = Trunk({"a": layers.Dense(4), "b": layers.Dense(4)}, neck=SumNeck())
    x = tf.random.stateless_normal((2, 4), (0, 1))
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(f**2) for f in trunk(x, training=True).values())
    gradients = tape.gradient(loss, [v.value for v in trunk.trainable_variables])
    assert len(gradients) == 6
    for gradient in gradients:
        assert np.abs(gradient).max() > 0


def test_mixed_precision_survives_saving(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        trunk = image_trunk()
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, trunk(inputs))
    finally:
        keras.config.set_dtype_policy("float32")
    x = np.random.rand(2, 8, 8, 3).astype("float32")
    features = model(x)
    assert {f.dtype for f in features.values()} == {tf.float16}
    assert {w.dtype for w in trunk.weights} == {"float32"}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(numpy_of(features), numpy_of(loaded(x)))


class TestLastSharedVariables:
    def test_last_kernel_of_the_last_stage(self):
        trunk = Trunk({"a": layers.Dense(4), "b": normed_stage()})
        trunk.build((None, 3))
        (variable,) = trunk.last_shared_variables
        assert variable is trunk.stages["b"].layers[0].kernel

    def test_kernel_of_the_neck(self):
        trunk = Trunk({"a": layers.Dense(4)}, neck=SumNeck())
        trunk.build((None, 3))
        (variable,) = trunk.last_shared_variables
        assert variable is trunk.neck.dense.kernel

    def test_goes_back_over_what_cannot_be_trained(self):
        trunk = Trunk({"a": layers.Dense(4), "b": layers.Dense(4), "c": layers.ReLU()})
        trunk.build((None, 3))
        trunk.stages["b"].trainable = False
        (variable,) = trunk.last_shared_variables
        assert variable is trunk.stages["a"].kernel
        trunk.trainable = False
        assert trunk.last_shared_variables == []


class TestErrors:
    @pytest.mark.parametrize(
        ("stages", "error", "message"),
        [
            ({}, ValueError, "at least one stage"),
            ([layers.ReLU()], TypeError, "ordered mapping of name to layer"),
            ({"a b": layers.ReLU()}, ValueError, "Python identifier.*'a b'"),
            ({3: layers.ReLU()}, ValueError, "Python identifier.*3"),
            ({"a": "relu"}, TypeError, "'a' must be a Keras layer.*'relu'.*str"),
        ],
    )
    def test_bad_stages(self, stages, error, message):
        with pytest.raises(error, match=message):
            Trunk(stages)

    def test_one_layer_twice(self):
        layer = layers.Dense(2)
        with pytest.raises(ValueError, match="layer of its own"):
            Trunk({"a": layer, "b": layer})

    def test_neck_is_no_layer(self):
        with pytest.raises(TypeError, match=r"`neck` must be a Keras layer.*dict"):
            Trunk({"a": layers.ReLU()}, neck={})

    def test_neck_takes_the_name_of_a_stage(self):
        trunk = Trunk({"a": layers.Dense(3)}, neck=SumNeck(output_name="a"))
        with pytest.raises(ValueError, match=r"name its outputs differently.*\['a'\]"):
            trunk(np.ones((1, 2), "float32"))
