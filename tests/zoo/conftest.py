"""One saved model for all tests of a process: making it takes seconds."""

import pytest
from tests.zoo import tiny

NAME = "discs-tiny-seg-det"


@pytest.fixture(scope="session")
def network():
    """The Keras model that `saved` holds."""
    return tiny.model()


@pytest.fixture(scope="session")
def saved(network, tmp_path_factory):
    """A folder of saved models with one in it."""
    from PIL import Image

    import mtl_zoo as mtl

    folder = tmp_path_factory.mktemp("saved_models")
    picture = folder.parent / "picture.png"
    Image.fromarray(tiny.images()[0]).save(picture)
    mtl.zoo.save(
        network,
        NAME,
        folder,
        card=tiny.CARD,
        metrics=tiny.metrics(),
        example=tiny.images(),
        sample=picture,
    )
    return folder


@pytest.fixture
def saved_models(saved, monkeypatch):
    """The same, as the folder that names are looked up in."""
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", str(saved))
    return saved
