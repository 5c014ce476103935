"""A hierarchy as data: what it reduces to, what reaches where, texts and images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.architectures.joint_many_task import at_positions
from tests.architectures import structures
from tests.zoo import tiny_text

X = tf.constant(structures.data()[0])
RELATIONS = ("root", "nsubj", "obj")


def hierarchy(**kwargs):
    """Two tasks on a trunk of three layers, the first at the first."""
    keras.utils.set_random_seed(0)
    network = mtl.architectures.JointManyTask(
        mtl.trunks.mlp([8, 8, 8], activation="tanh"),
        [structures.task_of(name, "layer_3") for name in ("north", "south")],
        **{"levels": {"north": "layer_1"}, **kwargs},
    )
    network.build((None, 6))
    return network


def text_tasks():
    """Tags, trees and sentiment, simple ones first."""
    sentiment, ner = tiny_text.tasks()
    head = mtl.heads.DependencyParsing(RELATIONS, arc_units=6, relation_units=4)
    metrics = [mtl.evaluation.UAS(), mtl.evaluation.LAS(RELATIONS)]
    parse = mtl.Task("parse", head, mtl.losses.Dependencies(), metrics)
    return [ner, parse, sentiment]


def of_texts(kind):
    """The published hierarchy on LSTMs, or the same on a transformer."""
    keras.utils.set_random_seed(0)
    if kind == "recurrent":
        pieces = mtl.trunks.WordPieces(tiny_text.VOCABULARY, sequence_length=16)
        trunk = mtl.trunks.bilstm(pieces, width=6, layers=3, units=4)
        settings = {"join": "concatenate", "label_units": 5}
        levels = {"ner": "lstm_1", "parse": "lstm_2"}
    else:
        trunk, settings = tiny_text.trunk(), {}
        levels = {"ner": "embeddings", "parse": "layer_1"}
    network = mtl.architectures.JointManyTask(trunk, text_tasks(), levels, **settings)
    network.build((None,))
    return network


def labelled(network):
    """A batch of four texts with legal labels of all tasks."""
    inputs = network.prepare(tf.constant(tiny_text.TEXTS))
    words = inputs["ends"].numpy() > inputs["starts"].numpy()
    heads = np.where(words, np.arange(words.shape[1]), -1)  # a chain from the left
    labels = {
        "sentiment": np.array([0, 1, 0, 1]),
        "ner": {"tags": np.where(words, heads % 2, -1), "scored": words},
        "parse": {
            "heads": heads,
            "relations": np.where(words, heads % 3, -1),
            "scored": words,
        },
    }
    return inputs, labels, {name: np.ones(4, "float32") for name in labels}


def test_all_at_the_last_stage_is_hard_sharing():
    network = hierarchy(levels={})
    assert not network.labels and not network.joins
    shared = mtl.architectures.HardSharing(
        mtl.trunks.mlp([8, 8, 8], activation="tanh"),
        [structures.task_of(name, "layer_3") for name in ("north", "south")],
    )
    shared.build((None, 6))
    shared.set_weights(network.get_weights())
    for name, found in network(X).items():
        np.testing.assert_array_equal(found, shared(X)[name])


def test_what_is_added_starts_at_0_and_leaves_the_trunk_as_it_is():
    network = hierarchy(levels={"north": "layer_2"})
    (join,) = network.joins
    assert [layer.name for layer in join.embeddings] == ["again", "labels_of_north"]
    features, plain = network.encode(X), network.whole(X)
    np.testing.assert_allclose(features["layer_3"], plain["layer_3"], atol=1e-6)


@pytest.mark.parametrize("join", ["add", "concatenate"])
def test_a_stage_reads_stage_below_first_stage_and_labels_by_hand(join):
    network = hierarchy(levels={"north": "layer_2"}, join=join, label_units=5)
    structures.shake(network)
    first, second, third = network.whole.stages.values()
    x = first(X)
    h = second(x)
    p = keras.ops.softmax(network.task("north").head({"layer_3": h}))
    (stage_input,) = network.joins
    kernels = [layer.kernel for layer in stage_input.embeddings]
    if join == "add":
        read = h + x @ kernels[0] + p @ kernels[1]
    else:
        read = tf.concat([h, x, p @ kernels[0]], axis=-1)
        assert kernels[0].shape == (3, 5) and third.kernel.shape == (8 + 8 + 5, 8)
    np.testing.assert_allclose(network.encode(X)["layer_3"], third(read), atol=1e-6)


def test_labels_that_stages_read_are_data():
    network = hierarchy(
        levels={"north": "layer_1", "south": "layer_2"},
        labels={"layer_3": ["north"]},
        shortcut=False,
    )
    assert network.labels == {"layer_3": ("north",)}
    assert network.sources == ("north",)
    assert network.task_variables("north") == []
    assert len(network.task_variables("south")) == 2


@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_hierarchy_of_text_tasks_learns_and_is_saved(kind, tmp_path):
    network = of_texts(kind)
    last = list(network.whole.stages)[-1]
    assert network.labels[last] == ("ner", "parse")
    assert network.sources == ("ner", "parse")
    network.compile(keras.optimizers.Adam(0.01))
    batch = tf.data.Dataset.from_tensors(labelled(network)).repeat(10)
    history = network.fit(batch, epochs=4, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    logs = network.evaluate(batch.take(1), return_dict=True, verbose=0)
    assert {"ner_f1", "parse_uas", "parse_las", "sentiment_accuracy"} <= set(logs)

    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    texts = tf.constant(tiny_text.TEXTS)
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        network.predict_tasks(texts),
        again.predict_tasks(texts),
    )


@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_every_weight_has_a_gradient_of_the_highest_task_or_its_own(kind):
    network = of_texts(kind)
    structures.shake(network)
    inputs, labels, _ = labelled(network)
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(inputs, training=True)
        losses = {
            t.name: tf.reduce_sum(t.loss.call(labels[t.name], outputs[t.name]))
            for t in network.tasks
        }
    variables = network.trainable_variables
    # Through labels the highest task reaches even the heads of the lower ones.
    found = tape.gradient(losses["sentiment"], variables)
    for variable, gradient in zip(variables, found, strict=True):
        if "key/bias" not in variable.path:
            assert gradient is not None, variable.path
            assert np.any(tf.convert_to_tensor(gradient)), variable.path
    last = list(network.whole.stages.values())[-1].trainable_variables
    above = [*last, *network.task_variables("sentiment")]
    assert tape.gradient(losses["ner"], above) == [None] * len(above)


def test_padding_changes_nothing_in_the_recurrent_trunk():
    network = of_texts("recurrent")
    structures.shake(network)
    alone = network.predict_tasks(tf.constant(tiny_text.TEXTS[1:2]))
    among = network.predict_tasks(tf.constant(tiny_text.TEXTS))
    np.testing.assert_allclose(
        alone["sentiment"]["probabilities"][0],
        among["sentiment"]["probabilities"][1],
        atol=1e-5,
    )


def test_trees_come_out_of_the_saved_model(tmp_path):
    network = of_texts("recurrent")
    version = mtl.export.to_serving(network, tmp_path / "served", trunk="none")
    loaded = tf.saved_model.load(str(version))
    assert {"serving_default", "ner", "parse", "sentiment"} <= set(loaded.signatures)


def test_labels_of_words_go_to_their_first_pieces():
    inputs = tiny_text.trunk().prepare(tf.constant(["jane saw zz", "oslo"]))
    windows, pieces = inputs["token_ids"].shape
    words = inputs["word_tokens"].shape[1]
    labels = tf.reshape(tf.range(1.0, 1 + 2 * words), (2, words, 1))
    there = tf.cast(inputs["padding_mask"], tf.float32)[..., None]
    like = tf.ones((windows, pieces, 8)) * there
    found = at_positions(labels, like, inputs).numpy()
    # [CLS] jane saw z ##z [SEP]; [CLS] oslo [SEP]
    assert found[0, :, 0].tolist() == [0, 1, 2, 3, 0, 0, 0, 0]
    assert found[1, :, 0].tolist() == [0, 4, 0, 0, 0, 0, 0, 0]
    of_texts_ = at_positions(tf.constant([[5.0], [7.0]]), like, inputs).numpy()
    assert of_texts_[0, :, 0].tolist() == [5] * 6 + [0] * 2
    assert of_texts_[1, :, 0].tolist() == [7] * 3 + [0] * 5


def test_labels_of_images_are_sampled_averaged_and_spread():
    maps = tf.reshape(tf.range(16.0), (1, 4, 4, 1))
    small = at_positions(maps, tf.ones((1, 2, 2, 3)), {}).numpy()
    assert small[0, ..., 0].tolist() == [[0, 2], [8, 10]]
    assert float(at_positions(maps, tf.ones((1, 3)), {})[0, 0]) == 7.5
    spread = at_positions(tf.constant([[2.0, 3.0]]), tf.ones((1, 2, 2, 3)), {})
    assert spread.shape == (1, 2, 2, 2) and (spread.numpy()[..., 1] == 3.0).all()
    with pytest.raises(ValueError, match="Received"):
        at_positions(tf.ones((1, 5, 2)), tf.ones((1, 4, 4, 3)), {})


def test_hierarchy_of_vision_tasks():
    """Outlines first, at the finer stage; what is seen then knows them."""
    keras.utils.set_random_seed(0)
    trunk = structures.conv_trunk()
    plain = mtl.trunks.Trunk(dict(trunk.stages))
    pixels = mtl.Task(
        "pixels",
        mtl.heads.Segmentation(2, ("stride_4",), stride=4, width=8),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    tasks = [pixels, structures.task_of("north", "stride_8")]
    network = mtl.architectures.JointManyTask(plain, tasks, {"pixels": "stride_4"})
    network.build((None, 32, 32, 3))
    assert network.labels == {"stride_8_start": ("pixels",)}
    network.compile(keras.optimizers.Adam(0.01), mtl.balancing.UPGrad())
    batches = tf.data.Dataset.from_tensor_slices(structures.data("conv")).batch(4)
    history = network.fit(batches, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert set(network(structures.data("conv")[0])) == {"pixels", "north"}


@pytest.mark.parametrize(
    "kwargs",
    [
        {"join": "multiply"},
        {"label_units": 0},
        {"levels": {"east": "layer_1"}},
        {"levels": {"north": "layer_9"}},
        {"labels": {"layer_1": ["north"]}},
        {"labels": {"layer_2": ["south"]}},
        {"labels": {"layer_9": ["north"]}},
    ],
)
def test_errors_say_what_was_received(kwargs):
    with pytest.raises(ValueError, match="Received"):
        hierarchy(**kwargs)
