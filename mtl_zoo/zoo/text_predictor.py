"""Predictions of a saved model for texts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_zoo.zoo import registry


class TextPredictor:
    """A saved model that takes texts.

    Runs the SavedModel, exactly what a server would run; Keras is not needed.

    Args:
        name_or_path: A name that `list_models` knows, or a path.

    Raises:
        ModelNotFoundError: When there is no such model.
        ValueError: When the model does not take texts.
    """

    def __init__(self, name_or_path: str | os.PathLike) -> None:
        config = registry.read_config(name_or_path)["config"]
        if not registry.takes_text(name_or_path):
            raise ValueError(
                "Expected a saved model that takes texts. Received "
                f"{os.fspath(name_or_path)!r}; mtl_zoo.zoo.Predictor is for images."
            )
        self.class_names = {
            task["name"]: tuple(names)
            for task in config["tasks"]
            if (names := task["head"]["config"].get("class_names"))
        }

        import tensorflow as tf
        import tensorflow_text  # noqa: F401 (registers the operations on texts)

        self._loaded = tf.saved_model.load(
            os.fspath(registry.latest_version(name_or_path))
        )
        self._signature = self._loaded.signatures["serving_default"]
        names = [task["name"] for task in config["tasks"]]
        self.task_names = tuple(n for n in names if n in self._loaded.signatures)
        self._outputs = {
            task: {
                output.removeprefix(f"{task}_"): output
                for output in self._loaded.signatures[task].structured_outputs
            }
            for task in self.task_names
        }

    def __call__(self, texts: Sequence[str | bytes]) -> list[dict[str, Any]]:
        """Return what there is to say of each text, ready for JSON.

        Args:
            texts: Texts; bytes that are not UTF-8 read as replacement characters.

        Returns:
            `{"text": ..., task: ...}` for each: for a classification `{"label": name,
            "probabilities": {name: ...}}`; for a tagging `[{"start", "end", "type",
            "score", "text"}]`, in characters of the text, the end exclusive; for word
            classes the same of each word, with `label` for `type`; for a tree of each
            word, with `head`, the number of a word from 1 or 0 for the root, and
            `relation`; else the numbers that the head decodes.

        Raises:
            ValueError: When a text is too long.
        """
        return [found for text in texts for found in self._predict([text])]

    def _predict(self, texts: Sequence[str | bytes]) -> Iterator[dict[str, Any]]:
        import tensorflow as tf

        data = [t if isinstance(t, bytes) else _encoded(t) for t in texts]
        try:
            served = self._signature(text=tf.constant(data))
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(_first_words(str(error))) from None
        arrays = {name: value.numpy() for name, value in served.items()}
        for row, encoded in enumerate(data):
            text = encoded.decode("utf-8", "replace")
            told: dict[str, Any] = {"text": text}
            for task, outputs in self._outputs.items():
                found = {key: arrays[name][row] for key, name in outputs.items()}
                told[task] = self._told(task, text, found)
            yield told

    def _told(self, task: str, text: str, found: Mapping[str, Any]) -> Any:
        if "starts" in found:
            # Entities are counted; what is not is one a word.
            kind = "relation" if "heads" in found else "label"
            kind = "type" if "count" in found else kind
            heads = found.get("heads", found["starts"])
            return [
                {
                    "start": int(start),
                    "end": int(end),
                    **({"head": int(head)} if "heads" in found else {}),
                    kind: name.decode("utf-8"),
                    "score": _rounded(score),
                    "text": text[start:end],
                }
                for start, end, head, name, score in zip(
                    found["starts"],
                    found["ends"],
                    heads,
                    found["names"],
                    found["scores"],
                    strict=True,
                )
                if end > start
            ]
        if "probabilities" in found and "label" in found:
            chances = [_rounded(p) for p in found["probabilities"]]
            names = self.class_names.get(task, [str(i) for i in range(len(chances))])
            return {
                "label": names[int(found["label"])],
                "probabilities": dict(zip(names, chances, strict=True)),
            }
        return {key: np.asarray(value).tolist() for key, value in found.items()}


def _encoded(text: str) -> bytes:
    """Return UTF-8; lone surrogates, as file names may have them, are replaced."""
    return text.encode("utf-8", "replace")


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def _first_words(message: str) -> str:
    """Return the sentence of an assertion from TensorFlow's long message."""
    start = message.find("Expected")
    if start < 0:
        return message
    return message[start:].split("\n")[0].replace("] [", " ").strip("[] ")
