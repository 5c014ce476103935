"""Draw the structures of docs/architectures.md from models: docs/structures/*.png.

    python tools/structure_pictures.py

Three tasks on a trunk of three stages, as they are before training.
"""

from __future__ import annotations

from pathlib import Path

import keras

import mtl_zoo as mtl

OUT = Path(__file__).resolve().parents[1] / "docs" / "structures"
STAGES = ("layer_1", "layer_2", "layer_3")
KWARGS = {
    "Branched": {
        "groups": {
            "layer_2": [["task_a", "task_b"], ["task_c"]],
            "layer_3": [["task_a"], ["task_b"], ["task_c"]],
        }
    },
    "JointManyTask": {"levels": {"task_a": "layer_1", "task_b": "layer_2"}},
    "SelectedBlocks": {"skipped": {"task_b": ["layer_2"], "task_c": ["layer_3"]}},
    "DeepRelationship": {"feature": "layer_3", "units": [8]},
    "DSelectK": {"experts": 4, "selections": 2},
    "MMoE": {"experts": 4},
}


def tasks() -> list[mtl.Task]:
    """Three classifications of the last stage."""
    return [
        mtl.Task(
            name,
            mtl.heads.Classification(3, feature=STAGES[-1]),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        for name in ("task_a", "task_b", "task_c")
    ]


def main() -> None:
    """Draw every public architecture."""
    keras.utils.set_random_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    for name in mtl.architectures.__all__:
        make = getattr(mtl.architectures, name)
        trunk = mtl.trunks.mlp([8] * len(STAGES))
        model = make(trunk, tasks(), **KWARGS.get(name, {}))
        model.build((None, 4))
        model.plot_sharing(OUT / f"{name}.png", title=name)
        print(OUT / f"{name}.png")


if __name__ == "__main__":
    main()
