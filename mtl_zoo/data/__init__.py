"""Data sets, one file each.

Every set gives the same three things, the contract of this package:

- `training_batches(...)`: an endless `tf.data.Dataset` of
  `(images, {target: label}, {target: weight})`, shuffled and augmented. Element `i`
  depends on the seed and `i` only, and `tf.train.Checkpoint(iterator=it)` continues an
  interrupted run with exactly the batches it would have seen (see `stream`). The
  recipe decides how many steps make an epoch.
- `evaluation_batches(...)`: one finite pass in a fixed order, not augmented.
- a number `examples(...)` or `examples_ids(...)`, to name what was evaluated.

Images are float32 RGB `(batch, height, width, 3)` in 0..255; the trunk normalises.
Boxes are `{"boxes": (batch, M, 4), "labels": (batch, M)}`, `xyxy` in pixels of the
image as given to the network, x2 and y2 exclusive, padded with -1. A weight is 0
where a label is absent or a pixel is padding; the label there is any legal value.

Sets come as archives: `archives` says where they are looked for.
"""
