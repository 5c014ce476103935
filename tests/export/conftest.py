"""One export of the tiny model for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtl_zoo as mtl
from tests.zoo import tiny


@pytest.fixture(scope="session")
def exported(network, tmp_path_factory) -> Path:
    """The folder `discs` with version 1, and what stands beside it. Don't change it."""
    folder = tmp_path_factory.mktemp("serving") / "discs"
    mtl.export.to_serving(network, folder, example=tiny.images(), card="# Discs\n\nHi.")
    return folder
