"""Predictions of a saved model for images of any size."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mtl_zoo.export.preprocessing import NATIVE, check_preprocessing
from mtl_zoo.zoo import images, registry


class Predictor:
    """A saved model that takes one image of any size.

    Runs the SavedModel, exactly what a server would run; Keras is not needed.

    Args:
        name_or_path: A name that `list_models` knows, or a path.
        max_side: Images with a longer side are made smaller. Defaults to what the saved
            model says; has no meaning for a model that resizes every image.

    Raises:
        ModelNotFoundError: When there is no such model.
        ValueError: When the model does not take images.
    """

    def __init__(
        self, name_or_path: str | os.PathLike, max_side: int | None = None
    ) -> None:
        config = registry.read_config(name_or_path)
        if registry.takes_text(name_or_path):
            raise ValueError(
                "Expected a saved model that takes images. Received "
                f"{os.fspath(name_or_path)!r}, which takes texts: "
                "mtl_zoo.zoo.TextPredictor runs it."
            )
        self.preprocessing = dict(config.get("preprocessing", NATIVE))
        if max_side is not None and self.preprocessing["kind"] == "native":
            self.preprocessing["max_side"] = max_side
        check_preprocessing(self.preprocessing)
        tasks = config["config"]["tasks"]
        self.class_names = {
            task["name"]: tuple(names)
            for task in tasks
            if (names := task["head"]["config"].get("class_names"))
        }

        import tensorflow as tf

        self._loaded = tf.saved_model.load(
            os.fspath(registry.latest_version(name_or_path))
        )
        self._signature = self._loaded.signatures["serving_default"]
        if "images" not in self._signature.structured_input_signature[1]:
            raise ValueError(
                "Expected a saved model that takes images. Received "
                f"{os.fspath(name_or_path)!r}, whose inputs are "
                f"{sorted(self._signature.structured_input_signature[1])}."
            )
        # Which outputs are a task's own: what its own signature returns. What only
        # helped to train has none.
        names = [task["name"] for task in tasks]
        self.task_names = tuple(n for n in names if n in self._loaded.signatures)
        self._outputs = {
            task: sorted(self._loaded.signatures[task].structured_outputs)
            for task in self.task_names
        }

    def __call__(self, image: np.ndarray) -> dict[str, dict[str, Any]]:
        """Return `{task: {name: array}}` in the pixels of `image`.

        Args:
            image: uint8 RGB `(height, width, 3)`.

        Returns:
            What the heads decode, without the batch axis, without entries that only
            fill up, mapped back to the image's own size; see `images.restore`.
        """
        import tensorflow as tf

        placed, placement = images.place(image, self.preprocessing)
        found = self._signature(images=tf.constant(placed[None]))
        return {
            task: images.restore(
                {_key(task, name): found[name][0].numpy() for name in names}, placement
            )
            for task, names in self._outputs.items()
        }


def _key(task: str, output: str) -> str:
    return output.removeprefix(f"{task}_") if output != task else "value"
