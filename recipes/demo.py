"""The whole way in a few minutes: predict, train, compare, export, call.

1. Shipped models predict on photographs that come with scikit-image, and on sentences.
2. `digit_scenes` trains on scenes of real handwritten digits: all tasks in one model,
   then each task alone with the same budget; the table shows what sharing changed.
3. The trained model is exported for TensorFlow Serving, and the export is called in a
   process that knows neither Keras nor this package.

    make demo            # or: python recipes/demo.py --out=demo
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

import mtl_zoo as mtl
from mtl_zoo import evaluation, training

RECIPES = Path(__file__).parent

PHOTOS = {  # which photographs each shipped model can say something about
    "pets-efficientnet_lite0-det-seg-cls": {"cat": skimage.data.chelsea},
    "nuclei-efficientnet_lite0-det-seg": {"tissue": skimage.data.immunohistochemistry},
}

SENTENCES = (
    "sentences-minilm_l6-sentiment-ner",
    "What a joy to see Oslo again, said Jane Campion of the BBC.",
    "The battery died after two days and the shop in Leeds never answered.",
)

CALL = """
import sys
sys.modules["keras"] = sys.modules["mtl_zoo"] = None  # importing them now fails
import numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
outputs = served(images=tf.constant(np.load(sys.argv[2])))
np.savez(sys.argv[3], **{name: value.numpy() for name, value in outputs.items()})
"""


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    out: str = "demo"  # folder for pictures, runs and the export
    epochs: int = 8  # of each of the four trainings
    tiny: bool = False  # shortest trainings, for a test of the demo itself


def predict(out: Path) -> None:
    """Shipped models on photographs, by the command line that users have."""
    for name, photos in PHOTOS.items():
        folder = out / "photos" / name
        folder.mkdir(parents=True, exist_ok=True)
        for title, photo in photos.items():
            Image.fromarray(photo()).save(folder / f"{title}.png")
        target = out / "predictions" / name
        _run("-m", "mtl_zoo.cli", "predict", name, str(folder), f"--out={target}")
        for title in photos:
            print(f"  picture: {target / title}.png")
    _run("-m", "mtl_zoo.cli", "predict", *SENTENCES, "--color=always")


def train(out: Path, config: Config) -> None:
    """The recipe and its single-task baselines; it prints the comparison."""
    flags = ["--tiny"] if config.tiny else [f"--epochs={config.epochs}"]
    workdir = out / "digit_scenes"
    _run(str(RECIPES / "digit_scenes.py"), "--compare", f"--workdir={workdir}", *flags)


def export_and_call(out: Path) -> None:
    """Export the multi-task model, call the export, draw what it answers."""
    from mtl_zoo.data import digit_scenes

    model = mtl.load(out / "digit_scenes" / "multi_task-seed0" / "model.keras")
    version = mtl.export.to_serving(model, out / "serving" / "digit_scenes")
    print(f"  export: {version}, every signature compared with the model")
    images = digit_scenes.scenes("test", 4)["images"]
    request, answer = out / "request.npy", out / "answer.npz"
    np.save(request, images)
    _run("-c", CALL, str(version), str(request), str(answer))
    found = np.load(answer)
    drawn = []
    for index, image in enumerate(images):
        boxes = found["det_boxes"][index]
        picture, boxes = evaluation.enlarge(image, boxes, side=320)
        mask = evaluation.enlarge(found["seg_label_map"][index], side=320)
        picture = evaluation.draw_mask(picture, mask)
        drawn.append(
            evaluation.draw_boxes(
                picture,
                boxes,
                found["det_labels"][index],
                found["det_scores"][index],
                model.task("det").head.class_names,
            )
        )
    titles = [f"counted: {float(value):.1f}" for value in found["count_value"]]
    evaluation.write_png(
        evaluation.side_by_side(drawn, titles), out / "digit_scenes.png"
    )
    print(f"  picture: {out / 'digit_scenes.png'}")


def run(config: Config) -> None:
    """Do it all, and say what is where."""
    out, start = Path(config.out), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    print("1. Shipped models predict on photographs and sentences", flush=True)
    predict(out)
    print("\n2. digit_scenes trains, then each task alone", flush=True)
    train(out, config)
    print("\n3. The export, called without Keras", flush=True)
    export_and_call(out)
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True)


if __name__ == "__main__":
    training.main(run, Config)
