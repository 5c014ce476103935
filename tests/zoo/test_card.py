"""The text of a card."""

import re

from mtl_zoo.zoo import card
from tests.zoo import tiny

DIRECTIONS = {"seg": {"accuracy": "up"}, "det": {"f1": "up", "error": "down"}}


def render(**changes):
    metrics = {**tiny.metrics(), **changes}
    inputs = {"images": "uint8 (batch, any, any, 3)"}
    return card.render(
        "discs-tiny-det", tiny.CARD, metrics, inputs, {"det_boxes": "boxes"}, DIRECTIONS
    )


def test_sections():
    titles = re.findall(r"^## (.*)$", render(), flags=re.MULTILINE)
    assert titles == [
        "How to use it",
        "Results",
        "Data",
        "Limits",
        "How it was made",
        "Licence",
        "Authors",
    ]


def test_three_ways_to_use_it():
    text = render()
    assert "mtl-zoo predict discs-tiny-det my_images/" in text
    assert 'mtl.load("discs-tiny-det")' in text
    assert "docker compose up\npython client.py discs-tiny-det picture.jpg" in text
    assert "mtl-zoo export discs-tiny-det DIR" in text


def test_numbers_are_those_of_metrics_json():
    text = render()
    assert "0.812 ± 0.010" in text and "0.750 ± 0.010" in text
    assert "+4.880 ± 0.010 %" in text
    assert "parameters, multi_task: 12,345" in text
    assert "75 seconds" in text
    changed = tiny.metrics()["results"]
    changed["multi_task"]["seg"]["accuracy"]["mean"] = 0.5
    assert "0.500 ± 0.010" in render(results=changed)


def test_directions_and_seeds_are_said():
    text = render()
    assert "Larger is better for seg accuracy, det f1." in text
    assert "Smaller is better for det error." in text
    assert "the seeds 0, 1" in text
    assert "one run, seed 7" in render(seeds=[7])


def test_wall_time_reads_well():
    assert "25 minutes" in render(wall_time_s=1500.0)
    assert "2.5 hours" in render(wall_time_s=9000.0)


def test_picture_only_where_there_is_one():
    assert "sample.png" not in render()
    arguments = ({"inputs": "x"}, {"y": "z"}, DIRECTIONS)
    text = card.render("a-b-c", tiny.CARD, tiny.metrics(), *arguments, picture=True)
    assert "](sample.png)" in text


def test_summary_of_a_rendered_card():
    assert card.summary_of(render()) == "Finds discs in pictures."
