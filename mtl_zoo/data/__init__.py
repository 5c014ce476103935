"""Data sets, one file each: images, and texts.

Every set of images (`nuclei`, `pets`, `digit_scenes`, `multi_mnist`) has two functions,
and this is what they promise:

- `training_batches(...)`: an endless `tf.data.Dataset` of
  `(images, {target: label}, {target: weight})`, shuffled and augmented. Element `i`
  depends on the seed and `i` only, and `tf.train.Checkpoint(iterator=it)` continues an
  interrupted run with exactly the batches it would have seen (see `stream`). The
  recipe decides how many steps make an epoch.
- `evaluation_batches(...)`: one finite pass in a fixed order, not augmented.

Images are float32 RGB `(batch, height, width, 3)` in 0..255, those of `multi_mnist`
grey with one channel; the trunk normalises. Boxes are `{"boxes": (batch, M, 4),
"labels": (batch, M)}`, `xyxy` in pixels of the image as given to the network, x2 and y2
exclusive, padded with -1. A weight is 0 where a label is absent or a pixel is padding;
the label there is any legal value.

Every set of texts (`btc`, `conll2000`, `conll2003`, `fdu_mtl`, `gum`, `nlu_eval`,
`sentence_polarity`, `sick`, `sst`, `ud_ewt`, `wnut17`) has `load(split)`, its examples;
`text_sets.labelled` makes texts with labels for tasks of them, and `text_batches` makes
batches of one set or several, drawn as `sampling` says. `tfidf` makes vectors of them.

Rows of tables (`adult`, `amazon4`, `office_caltech`, `school`, `tox21`) come as arrays:
`load(split)`.

All but `digit_scenes` come as archives, and `archives` says where they are looked for:
`MTL_ZOO_DATA` names the folder. `digit_scenes` needs no download;
`digit_scenes_builder` has it as a TFDS set.
"""

import importlib
from types import ModuleType

__all__ = [
    "adult",
    "amazon4",
    "archives",
    "btc",
    "conll2000",
    "conll2003",
    "conll_columns",
    "conllu",
    "digit_scenes",
    "digit_scenes_builder",
    "fdu_mtl",
    "gum",
    "hashing",
    "multi_mnist",
    "nlu_eval",
    "nuclei",
    "office_caltech",
    "pets",
    "sampling",
    "school",
    "sentence_polarity",
    "sick",
    "sst",
    "stream",
    "text_batches",
    "text_sets",
    "tfidf",
    "tox21",
    "ud_ewt",
    "wnut17",
]


def __getattr__(name: str) -> ModuleType:
    """Imports a data set when it is first used."""
    if name not in __all__:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}. "
            f"It has: {', '.join(__all__)}"
        )
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
