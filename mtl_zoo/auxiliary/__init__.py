"""Auxiliary tasks: labels that data give by themselves, and the tasks to learn them.

Each class here is one idea. `add` returns the data with its labels, of training and
validation alike; `task` returns a `Task` of `role="auxiliary"`, which trains the shared
layers, but is not exported and counts in no result::

    edges = mtl.auxiliary.Edges()
    model = mtl.architectures.HardSharing(trunk, [det, edges.task(weight=0.5)])
    model.fit(edges.add(training), validation_data=edges.add(validation))

`training.Fade` as the weight lets a task leave; `balancing.GradientSimilarity` lets it
in only where it agrees with the main tasks.

- Statistical: `LogFrequency` of each word.
- Selective unsupervised: `Hint`, whether a text holds one of some words (chosen by
  `telling_words`), and `NamePresence`.
- Supervised and inverse: `InverseInputs` predicts what others read; of images,
  `Centres` of boxes, `Boundary` and `Distance` of instances, and `Focus` on what is
  overlooked.
- Unsupervised: `MaskedWords`, `Autoencoder`, and of images `ImageReconstruction`,
  `Rotation` and `Edges`.
"""

from mtl_zoo.auxiliary.auxiliary import Auxiliary
from mtl_zoo.auxiliary.centres import Centres
from mtl_zoo.auxiliary.edges import Edges
from mtl_zoo.auxiliary.focus import Focus
from mtl_zoo.auxiliary.hints import Hint, telling_words
from mtl_zoo.auxiliary.inverse import InverseInputs
from mtl_zoo.auxiliary.log_frequency import LogFrequency
from mtl_zoo.auxiliary.masked_words import MaskedWords
from mtl_zoo.auxiliary.names import NamePresence
from mtl_zoo.auxiliary.outlines import Boundary, Distance
from mtl_zoo.auxiliary.reconstruction import Autoencoder, ImageReconstruction
from mtl_zoo.auxiliary.rotation import Rotation

__all__ = [
    "Autoencoder",
    "Auxiliary",
    "Boundary",
    "Centres",
    "Distance",
    "Edges",
    "Focus",
    "Hint",
    "ImageReconstruction",
    "InverseInputs",
    "LogFrequency",
    "MaskedWords",
    "NamePresence",
    "Rotation",
    "telling_words",
]
