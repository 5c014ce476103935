"""The load run of `benchmarks/serving_load.py`, scaled down to a tiny model."""

import json

import pytest

from benchmarks import serving_load
from mtl_zoo.export import to_serving

COUNT, CLIENTS = 84, 8


@pytest.fixture(scope="module")
def outcome(network, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "discs"
    version = to_serving(network, model, trunk="none")
    requests = serving_load.plan(version, COUNT, sizes=((40, 64), (64, 50)))
    return serving_load.run(model, version, requests, clients=CLIENTS, rest_share=0.25)


def test_every_good_request_is_answered_right(outcome):
    good = outcome["good"]
    assert good["refusals"] == []
    assert good["sent"] == good["answered"] == good["right"] == COUNT - COUNT // 10
    for kind in ("files_grpc", "files_rest", "pixels_grpc", "pixels_rest"):
        assert good[f"milliseconds_{kind}"]["median"] > 0


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated JPEG", "Invalid JPEG data"),
        ("wrong shape", "multiples of 32"),
        ("wrong dtype", "uint8"),
        ("empty batch", "at least one row of image_bytes"),
        ("50-megapixel image", "at most 25000000 pixels"),
        ("NaN input", "uint8"),
        ("text file", "Expected the bytes of a JPEG or PNG file"),
    ],
)
def test_every_broken_request_is_refused_with_a_reason(outcome, kind, message):
    figures = outcome["broken"][kind]
    assert figures["refused"] == figures["sent"] >= 1
    for said in figures["said"].values():
        assert message in said["message"]


def test_memory_is_recorded(outcome):
    # So short a run says nothing about its course.
    memory = outcome["memory"]
    assert len(memory["at_rest_megabytes"]) == COUNT // CLIENTS
    assert memory["second_half"]["median"] > 50


def test_figures_can_be_written_as_json(outcome):
    assert json.loads(json.dumps(outcome)) == outcome
