"""Every test: seeded, one thread a process, a quiet TensorFlow."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

# Read when TensorFlow is first imported; processes that tests start inherit them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(name, "1")
paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run tests marked slow")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="trains for a while; runs with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    # Importing Keras takes seconds, and some tests do without it.
    if "keras" in sys.modules:
        import keras

        keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory):
    """Data sets are prepared here, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTL_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data(own_cache):
    """Returns a function from a set's name to the folder that holds its archive."""

    def folder_of(name: str) -> Path:
        folder = Path(os.environ.get("MTL_ZOO_DATA") or "/nonexistent")
        if not (folder / name).is_dir() and not (folder / f"{name}.tar.gz").is_file():
            pytest.skip(f"MTL_ZOO_DATA names no folder that holds {name}")
        return folder

    return folder_of


@pytest.fixture(scope="session")
def network():
    """A tiny vision model, the one that `saved` holds."""
    from tests.zoo import tiny

    return tiny.model()


@pytest.fixture(scope="session")
def saved(network, tmp_path_factory):
    """A folder of saved models with one in it, called `tiny.NAME`."""
    from PIL import Image

    import mtl_zoo as mtl
    from tests.zoo import tiny

    folder = tmp_path_factory.mktemp("saved_models")
    picture = folder.parent / "picture.png"
    Image.fromarray(tiny.images()[0]).save(picture)
    mtl.zoo.save(
        network,
        tiny.NAME,
        folder,
        card=tiny.CARD,
        metrics=tiny.metrics(),
        example=tiny.images(),
        sample=picture,
    )
    return folder


@pytest.fixture(scope="session")
def text_network():
    """A tiny text model, the one that `saved_text` holds."""
    from tests.zoo import tiny_text

    return tiny_text.model()


@pytest.fixture(scope="session")
def saved_text(text_network, tmp_path_factory):
    """A folder of saved models with one for texts in it."""
    import mtl_zoo as mtl
    from tests.zoo import tiny_text

    folder = tmp_path_factory.mktemp("saved_text")
    mtl.zoo.save(
        text_network,
        tiny_text.NAME,
        folder,
        card=tiny_text.CARD,
        metrics=tiny_text.metrics(),
        example=tiny_text.TEXTS,
    )
    return folder


@pytest.fixture
def saved_models(saved, monkeypatch):
    """The same, as the folder in which names are looked up."""
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", str(saved))
    return saved
