"""Scenes of digits as a TFDS set, in the format of TFDS's own sets of boxes.

For code that takes any TFDS set, and for exchange: recipes use `digit_scenes`, which
composes the same scenes in memory. After this module is imported,
`tfds.builder("digit_scenes")` knows the set, too.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from mtl_zoo.data import digit_scenes

__all__ = ["DigitScenes", "DigitScenesConfig"]


@dataclasses.dataclass(eq=False, kw_only=True)
class DigitScenesConfig(tfds.core.BuilderConfig):
    """How many scenes, and which.

    Attributes:
        train: Number of training scenes. Defaults to 2048.
        validation: Number of validation scenes. Defaults to 256.
        test: Number of test scenes. Defaults to 1024.
        seed: Another seed makes other scenes of the same digits. Defaults to 0.
        name: Name of the configuration, part of the path of the prepared set. Defaults
            to one made of the numbers, so that each set has a folder of its own.

    Raises:
        ValueError: If a split would be empty.
    """

    name: str = ""
    train: int = 2048
    validation: int = 256
    test: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        for split in digit_scenes.SPLITS:
            if getattr(self, split) < 1:
                raise ValueError(
                    "Every split needs at least one scene. "
                    f"Received: {split}={getattr(self, split)}"
                )
        sizes = "_".join(str(getattr(self, split)) for split in digit_scenes.SPLITS)
        self.name = self.name or f"{sizes}_seed{self.seed}"


class DigitScenes(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of `digit_scenes.scenes`, with the scenes of a split in their order.

    An example is `{"image": (64, 64, 3) uint8, "label_map": (64, 64, 1) uint8 (0
    background, else 1 + digit), "objects": {"bbox": (n, 4) float32, [y1, x1, y2, x2]
    in 0..1, "label": (n,) int64}, "count": () int32}`.

    Args:
        config: A `DigitScenesConfig`. Defaults to the sizes that recipes use.

    Example:
        >>> config = DigitScenesConfig(train=400, validation=100, test=100)
        >>> config.name
        '400_100_100_seed0'

        DigitScenes(config=config).download_and_prepare()
    """

    name = "digit_scenes"
    code_path = None  # Nothing is downloaded, so there is no file of checksums.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "One to six digits on a texture, 64 x 64 pixels."}
    BUILDER_CONFIGS = [DigitScenesConfig(name="default")]

    def _info(self) -> tfds.core.DatasetInfo:
        size = digit_scenes.IMAGE_SIZE
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Scenes of one to six real handwritten digits, enlarged and coloured, "
                "on a texture: box and class of each digit, map of classes, number of "
                "digits. Composed from a seed; no digit is in two splits."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(size, size, 3), encoding_format="png"
                    ),
                    "label_map": tfds.features.Image(
                        shape=(size, size, 1), encoding_format="png"
                    ),
                    "objects": tfds.features.Sequence(
                        {
                            "bbox": tfds.features.BBoxFeature(),
                            "label": tfds.features.ClassLabel(
                                names=[str(digit) for digit in range(10)]
                            ),
                        }
                    ),
                    "count": tfds.features.Scalar(np.int32),
                }
            ),
            disable_shuffling=True,  # Scenes are random already.
            homepage="https://doi.org/10.24432/C50P49",
            citation=(
                "@misc{alpaydin1998optical, title={Optical Recognition of Handwritten "
                "Digits}, author={Alpaydin, E. and Kaynak, C.}, year={1998}, "
                "publisher={UCI Machine Learning Repository}, doi={10.24432/C50P49}}"
            ),
            license="CC BY 4.0, the digits",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(split) for split in digit_scenes.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        made = digit_scenes.scenes(split, getattr(config, split), config.seed)
        for index, count in enumerate(made["count"]):
            x1, y1, x2, y2 = made["boxes"][index, :count].T / digit_scenes.IMAGE_SIZE
            yield (
                index,
                {
                    "image": made["images"][index],
                    "label_map": made["label_map"][index, ..., None],
                    "objects": {
                        "bbox": np.stack([y1, x1, y2, x2], axis=1),
                        "label": made["labels"][index, :count],
                    },
                    "count": count,
                },
            )
