"""Small made-up archives of each set's format."""

import gzip
import json
import pathlib

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def _own_cache(own_cache):
    """No test of a data set touches the user's cache."""


@pytest.fixture(scope="session")
def nuclei_dir(tmp_path_factory) -> pathlib.Path:
    """Ten images; the nuclei are rectangles whose grey value is their own."""
    folder = tmp_path_factory.mktemp("nuclei")
    root = folder / "dsb2018_nuclei"
    (root / "images").mkdir(parents=True)
    (root / "instances").mkdir()
    rng = np.random.default_rng(0)
    entries = []
    splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    for number, split in enumerate(splits):
        height, width = (70, 45) if number % 2 else (64, 96)
        instances = np.zeros((height, width), np.uint16)
        boxes: list[list[int]] = []
        for top in range(1, height - 20, 20):
            for left in range(0, width - 14, 15):  # The first touches the border.
                down, right = rng.integers(6, 15, 2)
                boxes.append([left, top, left + int(right), top + int(down)])
                instances[top : top + down, left : left + right] = len(boxes)
        grey = np.where(instances > 0, 150 + instances * 80 // len(boxes), 0)
        grey = grey.astype(np.uint8)
        Image.fromarray(grey).save(root / "images" / f"{number:02}.png")
        Image.fromarray(instances).save(root / "instances" / f"{number:02}.png")
        entries.append(
            {
                "id": f"{number:02}",
                "file": f"images/{number:02}.png",
                "size": [width, height],
                "kind": "fluor_dark",
                "n": len(boxes),
                "boxes": boxes,
                "split": split,
            }
        )
    (root / "annotations.json").write_text(json.dumps({"images": entries}))
    return folder


@pytest.fixture(scope="session")
def pets_dir(tmp_path_factory) -> pathlib.Path:
    """Grey images; the head is a white rectangle, and all of the foreground."""
    folder = tmp_path_factory.mktemp("pets")
    root = folder / "oxford_pet_subset"
    (root / "images").mkdir(parents=True)
    (root / "trimaps").mkdir()
    rng = np.random.default_rng(0)
    entries = []
    for number in range(48):
        name = f"Bengal_{number}" if number % 2 else f"american_bulldog_{number}"
        height, width = (64, 100) if number % 3 else (90, 64)
        x1, y1 = (int(v) for v in rng.integers(4, 20, 2))
        x2, y2 = x1 + int(rng.integers(24, 40)), y1 + int(rng.integers(24, 40))
        image = np.full((height, width, 3), 60, np.uint8)
        image[y1:y2, x1:x2] = 220
        trimap = np.full((height, width), 2, np.uint8)
        trimap[y1:y2, x1:x2] = 1
        trimap[:2] = 3
        Image.fromarray(image).save(root / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(trimap).save(root / "trimaps" / f"{name}.png")
        trainval = number < 40
        has_head = trainval and number % 10 != 0
        entries.append(
            {
                "id": name,
                "split": "trainval" if trainval else "test",
                "breed": name.rsplit("_", 1)[0],
                "species": "cat" if number % 2 else "dog",
                "size": [width, height],
                "head_boxes": [[x1, y1, x2, y2, "cat"]] if has_head else None,
            }
        )
    (root / "annotations.json").write_text(json.dumps({"images": entries}))
    return folder


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory) -> pathlib.Path:
    """A hundred "digits": noise of their own, and their class as the first pixel."""
    folder = tmp_path_factory.mktemp("mnist")
    root = folder / "mnist_t10k"
    root.mkdir()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 100).astype(np.uint8)
    images = rng.integers(0, 256, (100, 28, 28), dtype=np.uint8)
    images[:, 0, 0] = labels
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        sizes = np.array(values.shape, ">i4").tobytes()
        head = bytes([0, 0, 8, values.ndim]) + sizes
        with gzip.open(root / f"t10k-{name}-ubyte.gz", "wb") as file:
            file.write(head + values.tobytes())
    return folder
