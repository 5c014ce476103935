"""What a model for texts promises: training, saving, balancing, missing labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import mtl_zoo as mtl
from mtl_zoo.balancing import GradientBalancing
from mtl_zoo.data import sampling, text_batches
from mtl_zoo.data.text_batches import LabelledTexts, joined
from tests.zoo import tiny_text


class Ones(GradientBalancing):
    """The plain sum of the gradients, by way of a Gramian."""

    def task_weights(self, gramian, losses, active):
        assert gramian.shape == (2, 2)
        return ops.ones_like(ops.cast(active, "float32"))


def sets():
    rng = np.random.default_rng(0)
    words = ["film", "good", "oslo", "jane", "york", "a.b"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 20))) for _ in range(12)]
    # A tag that no sequence may have would cost 10,000.
    tags = [joined(t.split(), rng.choice([0, 1, 3], len(t.split())))[1] for t in texts]
    return {
        "both": LabelledTexts(
            texts[:6], {"sentiment": [0, 1, 0, 1, 1, 0], "ner": tags[:6]}
        ),
        "names": LabelledTexts(texts[6:], {"ner": tags[6:]}),
    }


def batches(network, **kwargs):
    return text_batches.training_batches(
        sets(),
        network.trunk.prepare,
        batch_size=6,
        seed=0,
        sampling=sampling.RoundRobin(),
        **kwargs,
    )


def train(network, data=None, steps=4):
    data = batches(network) if data is None else data
    return network.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history


def test_every_trainable_weight_gets_a_gradient():
    network = tiny_text.model()
    inputs, labels, _ = next(iter(batches(network)))
    with tf.GradientTape() as tape:
        outputs = network(inputs, training=True)
        values = [t.loss.call(labels[t.name], outputs[t.name]) for t in network.tasks]
        total = tf.add_n([tf.reduce_sum(value) for value in values])
    gradients = tape.gradient(total, network.trainable_variables)
    without = [
        v.path
        for v, g in zip(network.trainable_variables, gradients, strict=True)
        # The bias of the keys cancels out in the softmax of the attention.
        if (g is None or not np.any(tf.convert_to_tensor(g)))
        and "key/bias" not in v.path
    ]
    assert not without


@pytest.mark.parametrize("level", ["last", "params", "feature"])
def test_gradient_methods_at_every_level(level):
    """With weights of one they do what plain training does."""
    plain, balanced = tiny_text.model(), tiny_text.model()
    for network in (plain, balanced):
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
    plain.compile(keras.optimizers.SGD(0.1))
    balanced.compile(keras.optimizers.SGD(0.1), balancing=Ones(level))
    assert train(plain)["loss"] == pytest.approx(train(balanced)["loss"], rel=1e-4)
    for one, other in zip(
        plain.trainable_variables, balanced.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4, err_msg=one.path)


def test_an_absent_task_moves_nothing():
    network = tiny_text.model()
    both, names = batches(network).take(2)
    train(network, tf.data.Dataset.from_tensors(both), 1)
    own = [v.numpy() for v in network.task_variables("sentiment")]
    assert not names[2]["sentiment"].numpy().any()
    history = train(network, tf.data.Dataset.from_tensors(names), 1)
    for before, variable in zip(own, network.task_variables("sentiment"), strict=True):
        np.testing.assert_array_equal(before, variable.numpy())
    assert history["sentiment_loss"] == [0.0]


def test_learns():
    network = tiny_text.model()
    network.compile(keras.optimizers.Adam(3e-3))
    first = train(network, steps=10)["loss"][0]
    assert train(network, steps=60)["loss"][0] < 0.8 * first


def test_round_trip_of_the_whole_model(tmp_path):
    network = tiny_text.model()
    train(network)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    data = list(batches(network).take(2))
    for inputs, _, _ in data:
        tf.nest.map_structure(
            np.testing.assert_array_equal, network(inputs), again(inputs)
        )
    texts = tf.constant(tiny_text.TEXTS)
    one, other = network.predict_tasks(texts), again.predict_tasks(texts)
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        network = tiny_text.model(freeze_table=True)
    finally:
        keras.config.set_dtype_policy("float32")
    raw = network(tf.constant(tiny_text.TEXTS))
    assert raw["sentiment"].dtype == raw["ner"]["emissions"].dtype == tf.float32
    assert all(np.isfinite(v).all() for v in train(network).values())


def test_metrics_of_mixed_batches_are_finite():
    network = tiny_text.model()
    history = train(network, batches(network, mixed=True))
    assert all(np.isfinite(v).all() for v in history.values())
    logs = network.evaluate(
        text_batches.evaluation_batches(sets(), network.trunk.prepare),
        return_dict=True,
        verbose=0,
    )
    assert {"sentiment_accuracy", "ner_f1"} <= set(logs)


def test_single_task_models_are_made_of_the_same_parts():
    (ner,) = tiny_text.tasks()[1:]
    network = mtl.architectures.HardSharing(tiny_text.trunk(), [ner])
    network.build((None,))
    assert set(network.predict_tasks(tf.constant(["jane"]))) == {"ner"}
