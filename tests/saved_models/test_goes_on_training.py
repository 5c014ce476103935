"""A shipped model can go on training, with its frozen parts as they were."""

from pathlib import Path

import numpy as np
import pytest

from mtl_zoo.zoo import registry

FOLDER = Path(__file__).parents[2] / "saved_models"
NAMES = registry.list_models(directory=FOLDER)


def label_of(head, inputs):
    """Any legal label for a head and one input: an image, or a text in pieces."""
    from mtl_zoo import heads

    if isinstance(head, heads.Tagging):
        words = inputs["starts"].shape
        return {"tags": np.zeros(words, "int32"), "scored": np.ones(words, bool)}
    if isinstance(head, heads.Detection):
        boxes = np.array([[[8, 8, 40, 40]]], "float32")
        return {"boxes": boxes, "labels": np.zeros((1, 1), "int32")}
    if isinstance(head, heads.Segmentation):
        return np.zeros(inputs.shape[:3], "int32")
    assert isinstance(head, heads.Classification)
    return np.zeros(1, "int32")


@pytest.mark.parametrize("name", NAMES)
def test_a_step_moves_what_is_trainable(name):
    import keras
    import tensorflow as tf

    model = registry.load(FOLDER / name)
    model.compile(keras.optimizers.AdamW(1e-3))
    golden = np.load(FOLDER / name / "golden.npz")
    if registry.takes_text(FOLDER / name):
        inputs = model.prepare(tf.constant(golden["inputs/text"][:1]))
    else:
        inputs = golden["inputs/images"].astype("float32")
    labels = {task.name: label_of(task.head, inputs) for task in model.tasks}
    trainable = {id(v) for v in model.trainable_variables}
    frozen = [v for v in model.variables if id(v) not in trainable]
    before = [[v.numpy() for v in vs] for vs in (model.trainable_variables, frozen)]
    history = model.fit(tf.data.Dataset.from_tensors((inputs, labels)), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    moved = [
        np.any(v.numpy() != old)
        for v, old in zip(model.trainable_variables, before[0], strict=True)
    ]
    assert np.mean(moved) > 0.95
    assert frozen  # batch normalisation and the first stages, or the table of pieces
    for variable, old in zip(frozen, before[1], strict=True):
        if "seed" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), old)
