"""Put the model of a finished study into saved_models/, with card, numbers and picture.

    python recipes/nuclei_det_seg.py --compare
    python tools/publish.py nuclei_det_seg

Takes the multi-task model of the first seed and `metrics.json` from `runs/RECIPE/`. The
golden input is a photograph that scikit-image ships, or sentences made up here, never
the data; so is the picture of the pets. The picture of the nuclei shows predictions on
two images of the test split, which are in the public domain (CC0); that of the
relations also how alike the model found its tasks.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from absl import app, flags

import mtl_zoo as mtl
from mtl_zoo.data import nuclei
from mtl_zoo.evaluation import pictures
from mtl_zoo.evaluation.heat_map import draw_correlations
from mtl_zoo.zoo import Card, images, prediction_files

RUNS = flags.DEFINE_string("runs", "runs", "Folder of the studies.")
OUT = flags.DEFINE_string("out", "saved_models", "Folder of the saved models.")

WEIGHTS = (
    "The trunk starts from EfficientNet-Lite0 weights for ImageNet (Apache-2.0; see "
    "`mtl_zoo/trunks/weights/efficientnet_lite0_imagenet.json`)."
)


@dataclass(frozen=True)
class Release:
    """What a saved model for images is called, shows and says."""

    name: str
    photo: Callable[[], np.ndarray]  # the golden input
    preprocessing: dict[str, Any]
    card: Card
    # What the card's picture shows: predictions on photographs, or of the model.
    pictures: Callable[[], list[np.ndarray]] = list
    of_model: Callable[[Any], np.ndarray] | None = None

    def save(self, model: mtl.MultiTaskModel, metrics: dict[str, Any]) -> Path:
        """Write the saved model."""
        with tempfile.TemporaryDirectory() as scratch:
            sample = Path(scratch) / "sample.png"
            drawn = [self.draw(model, image) for image in self.pictures()]
            drawn += [self.of_model(model)] if self.of_model else []
            pictures.write_png(pictures.side_by_side(drawn), sample)
            placed, _ = images.place(self.photo(), self.preprocessing)
            return mtl.zoo.save(
                model,
                self.name,
                OUT.value,
                card=self.card,
                metrics=metrics,
                example=placed[None],
                sample=sample,
                preprocessing=self.preprocessing,
                # On a CPU with XLA several times faster than the trunk as it is, see
                # benchmarks/results/xla_trunk.json.
                trunk="xla_native",
                overwrite=True,
            )

    def draw(self, model: mtl.MultiTaskModel, photo: np.ndarray) -> np.ndarray:
        """Return the picture of the model's prediction for a photograph."""
        placed, placement = images.place(photo, self.preprocessing)
        found = model.predict_tasks(placed[None].astype("float32"))
        return prediction_files.draw_prediction(
            photo,
            {
                task: images.restore(
                    {key: np.asarray(value)[0] for key, value in decoded.items()},
                    placement,
                )
                for task, decoded in found.items()
            },
            {
                task.name: task.head.class_names
                for task in model.tasks
                if getattr(task.head, "class_names", None)
            },
        )


@dataclass(frozen=True)
class TextRelease:
    """What a saved model for texts is called and says."""

    name: str
    texts: tuple[str, ...]  # the golden input
    card: Card

    def save(self, model: mtl.MultiTaskModel, metrics: dict[str, Any]) -> Path:
        """Write the saved model."""
        return mtl.zoo.save(
            model,
            self.name,
            OUT.value,
            card=self.card,
            metrics=metrics,
            example=list(self.texts),
            overwrite=True,
        )


def nuclei_of_two_kinds() -> list[np.ndarray]:
    """Return the first fluorescence and the first stained image of the test split."""
    first: dict[int, np.ndarray] = {}
    for example in nuclei.load("test").as_numpy_iterator():
        first.setdefault(int(example["kind"]), example["image"][:256, :256])
    return [first[kind] for kind in sorted(first)[:2]]


def relations(model: mtl.architectures.DeepRelationship) -> np.ndarray:
    """Return a picture of how alike the tasks' classifiers are."""
    found = model.prior("heads").correlation(2)
    return draw_correlations([found], model.task_names, ["Correlation of tasks"])


RELEASES: dict[str, Release | TextRelease] = {
    "nuclei_det_seg": Release(
        name="nuclei-efficientnet_lite0-det-seg",
        photo=lambda: skimage.data.immunohistochemistry()[:256, :256],
        pictures=nuclei_of_two_kinds,
        preprocessing={"kind": "native", "multiple": 32, "max_side": 1024},
        card=Card(
            summary="Finds cell nuclei in microscopy images: a box with a score for "
            "each nucleus, and the map of pixels that belong to one.",
            data="Stage 1 training images of the Data Science Bowl 2018 (BBBC038) with "
            "the community's fixes of the masks: fluorescence, stained tissue and "
            "bright field; CC0 1.0. The split (465 training, 66 validation and 84 test "
            "images) is not official: images may be crops of one field, and a random "
            "split flatters. Boxes and foreground come from the instance masks. "
            "Validation chose the epoch and the score threshold; the test split was "
            "read once.",
            licence=f"Apache-2.0. {WEIGHTS}",
            limits=(
                "Touching nuclei get boxes of their own, but the foreground map does "
                "not tell them apart.",
                "Of the bright-field images, the rarest kind, there were 11 to train "
                "on.",
                "Trained at the resolution of the data, with nuclei of some 5 to 100 "
                "pixels; rescale images of another magnification.",
                "Not a medical device.",
            ),
            citation="Caicedo et al., Nature Methods 16, 2019, "
            "[doi 10.1038/s41592-019-0612-7](https://doi.org/10.1038/s41592-019-0612-7).",
        ),
    ),
    "pets_det_seg_cls": Release(
        name="pets-efficientnet_lite0-det-seg-cls",
        photo=skimage.data.chelsea,
        pictures=lambda: [skimage.data.chelsea()],
        preprocessing={"kind": "fit", "size": 224, "multiple": 224},
        card=Card(
            summary="Finds the head of a cat or dog, the pixels that belong to the "
            "animal, and which of three breeds it is.",
            data="Three breeds of Oxford-IIIT Pet (Abyssinian, Bengal, American "
            "bulldog), 208 training and 33 validation images. Breed and foreground are "
            "measured on the 298 official test images, head boxes on 59 trainval "
            "images held out as a whole (`det_test`), since the official test images "
            "have none. Foreground at the network's resolution, without the border "
            "pixels that the annotators left open. Validation chose the epoch and the "
            "score threshold; the test splits were read once. The data set is "
            "CC BY-SA 4.0 by its site, while the README in its annotation archive says "
            "research purposes only; the images keep their owners' terms.",
            licence="Weights for research, with attribution, under the terms of the "
            f"data above; the code is Apache-2.0. {WEIGHTS}",
            limits=(
                "Three breeds: any other animal is called one of them.",
                "One animal an image.",
                "Small training set; recipes/pets_det_seg_cls.py --full trains on all "
                "37 breeds.",
            ),
            citation="Parkhi et al., Cats and Dogs, CVPR 2012.",
        ),
    ),
    "office_caltech_drn": Release(
        name="office-efficientnet_lite0-drn",
        photo=skimage.data.coffee,
        pictures=lambda: [skimage.data.coffee()],
        of_model=relations,
        preprocessing={"kind": "resize", "size": 224},
        card=Card(
            summary="Says which of ten things a picture shows, with a classifier for "
            "each of four kinds of pictures: of a shop, of the web, of a reflex camera "
            "and of a webcam. A deep relationship network: a tensor-normal prior "
            "learned how alike the four are, which the picture shows.",
            data="Office-Caltech10 (958 images of Amazon, 1,123 of Caltech-256, 157 of "
            "a reflex camera, 295 of a webcam; ten classes), of which 20 % train and "
            "the rest is the test, by the published lists of multilinear relationship "
            "networks. The trunk is frozen. Settings were chosen on folds of the "
            "training lists; the test was read once a run. No licence of the data is "
            "stated.",
            licence="Weights for research, since the data have no stated licence; the "
            f"code is Apache-2.0. {WEIGHTS}",
            limits=(
                "Ten classes: anything else is called one of them.",
                "Trained on 300 images.",
                "The images of the reflex camera and the webcam show the same things "
                "in one office: their figures flatter.",
            ),
            citation="Long et al., Learning Multiple Tasks with Multilinear "
            "Relationship Networks, NeurIPS 2017, "
            "[arXiv 1506.02117](https://arxiv.org/abs/1506.02117); Gong et al., CVPR "
            "2012, for the data.",
        ),
    ),
    "sentiment_ner": TextRelease(
        name="sentences-minilm_l6-sentiment-ner",
        texts=(
            "What a joy to see Oslo again, said Jane Campion of the BBC.",
            "The battery died after two days and the shop in Leeds never answered.",
            "",
            "Zoë 👩‍👧 loved it!",
        ),
        card=Card(
            summary="Says whether an English sentence is positive or negative, and "
            "finds the names of persons, places and organisations in it.",
            data="Sentiment: sentences of film reviews (sentence polarity 1.0, Pang "
            "and Lee, 2005), CC BY 4.0; there is no official split, and a hash of the "
            "line chooses 8,500 to train, 1,072 to validate, 1,090 to test. Names: "
            "the Broad Twitter Corpus (Derczynski et al., 2016), CC BY 4.0, of which "
            "section F is the test, the last 1,000 tweets of section H and "
            "GUM's own split the validation; to train, further the open genres of GUM "
            "(academic, bio, court, interview, news, voyage; CC BY 4.0, CC BY-SA 3.0, "
            "CC BY 2.5), "
            "whose named mentions became the same three types, and WNUT-17 (CC BY "
            "4.0), whose products and creative works count as no name. No text has "
            "labels for both tasks. The weights are the mean of three trainings from "
            "one start. Validation chose the epoch of each; the test splits were read "
            "once.",
            licence="Apache-2.0, with attribution of the corpora above. The trunk "
            "starts from all-MiniLM-L6-v2 of sentence-transformers (Apache-2.0; see "
            "`mtl_zoo/trunks/weights/minilm_l6.json`).",
            limits=(
                "English. Letters lose their case and accents before they are read.",
                "Positive or negative, never neutral: a sentence without an opinion "
                "gets one of the two, often with a high probability.",
                "Trained on film reviews, tweets and edited English; other kinds of "
                "text are its weaker side.",
                "Returns at most 64 names of a text; `ner_count` says how many there "
                "are. Texts of more than 100,000 characters are refused.",
                "Long texts are read in windows of 128 word pieces that overlap; their "
                "sentiment comes from the mean over windows, which it was not trained "
                "on.",
            ),
            citation="Wang et al., MiniLM, NeurIPS 2020, "
            "[arXiv 2002.10957](https://arxiv.org/abs/2002.10957).",
        ),
    ),
    "joint_many_task_open": TextRelease(
        name="english-minilm_l6-joint_many_task",
        texts=(
            "Jane Campion saw the film in Oslo, and did not like it.",
            "Don't go!",
            "",
            "Who wrote the report of the World Bank, and when?",
        ),
        card=Card(
            summary="Says of each word of an English sentence which part of speech it "
            "is and what it hangs on, as a dependency tree; finds the names of "
            "persons, places and organisations; and says what kind of sentence it is. "
            "A joint many-task model: each task reads what the simpler ones below it "
            "found.",
            data="Parts of speech and trees: Universal Dependencies English EWT 2.16 "
            "(Silveira et al., 2014), CC BY-SA 4.0, official splits, on whose test "
            "they are measured; and the open genres of GUM (Zeldes, 2017: academic, "
            "bio, court, interview, news, voyage; CC BY 4.0, CC BY-SA 3.0, CC BY 2.5), "
            "which alone have names (made of its mentions) and kinds of sentences, "
            "measured on its own test. Words as the corpora divide them, with blanks "
            "between them. Sentences of more than 48 words were left out of training. "
            "Validation chose the epoch; the test splits were read once.",
            licence="Weights CC BY-SA 4.0, as the annotations of English EWT are, with "
            "attribution of the corpora above; the code is Apache-2.0. The trunk "
            "starts from all-MiniLM-L6-v2 of sentence-transformers (Apache-2.0; see "
            "`mtl_zoo/trunks/weights/minilm_l6.json`).",
            limits=(
                "English, one sentence at a time: the tree has one root.",
                "Figures are those of texts divided into words by hand, `do n't` for "
                "`don't`; in other texts words end at blanks and punctuation marks, "
                "and the parts of one word hang on its first by `goeswith`.",
                "Names and kinds of sentences were learned from 3,707 sentences of "
                "edited English.",
                "Returns at most 64 names of a text; `ner_count` says how many there "
                "are. Texts of more than 100,000 characters are refused, and the time "
                "for a tree grows with the square of the words at least.",
            ),
            citation="Hashimoto et al., A Joint Many-Task Model, EMNLP 2017, "
            "[arXiv 1611.01587](https://arxiv.org/abs/1611.01587).",
        ),
    ),
}


def main(argv: list[str]) -> None:
    """Write the saved model and the index."""
    if len(argv) != 2 or argv[1] not in RELEASES:
        raise app.UsageError(f"expected one recipe of {', '.join(RELEASES)}")
    recipe = argv[1]
    release = RELEASES[recipe]
    study = Path(RUNS.value) / recipe
    metrics = json.loads((study / "metrics.json").read_text(encoding="utf-8"))
    folder = study / f"multi_task-seed{metrics['seeds'][0]}"
    model = mtl.load(folder / "model.keras", compile=True)
    target = release.save(model, metrics)
    mtl.zoo.write_index(OUT.value)
    print(target)


if __name__ == "__main__":
    app.run(main)
