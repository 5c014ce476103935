"""`benchmarks/architectures.py`, scaled down, and the table made of its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = ("HardSharing", "control", "CrossStitch", "Branched", "SelectedBlocks")

# By hand, of images of 8 x 8 pixels: positions, inputs of a filter, filters.
CONVOLUTIONS = {
    "conv_0": 64 * 27 * 32,
    "conv_1": 16 * 288 * 64,
    "conv_2": 16 * 576 * 64,
    "conv_3": 4 * 576 * 128,
    "conv_4": 4 * 1152 * 128,
}
DENSE, HEAD = 128 * 128, 128 * 10


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of results; the run fails when an architecture is not measured."""
    folder = tmp_path_factory.mktemp("results")
    arguments = ["--tiny", f"--only={','.join(KINDS)}", f"--out={folder}"]
    arguments[-1] += "/architectures.json"
    script = ROOT / "benchmarks" / "architectures.py"
    subprocess.run([sys.executable, script, *arguments], check=True, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def figures(written):
    found = json.loads((written / "architectures.json").read_text(encoding="utf-8"))
    assert {"command", "commit", "versions", "device", "threads"} <= set(found)
    return found["tasks"]["2"]


def test_every_kind_has_every_figure(figures):
    assert set(figures) == set(KINDS)
    for found in figures.values():
        assert set(found) == {"parameters", "multiply_adds", "step", "inference"}
        for one in found.values():
            assert all(value > 0 for value in one.values())


def test_multiply_adds_are_those_counted_by_hand(figures):
    def of(kind):
        return figures[kind]["multiply_adds"]["number"]

    hard = sum(CONVOLUTIONS.values()) + DENSE + 2 * HEAD
    assert of("HardSharing") == of("control") == hard
    # Each half of the tasks skips a block, and only the first two stages are shared.
    tails = CONVOLUTIONS["conv_2"] + 2 * CONVOLUTIONS["conv_3"] + CONVOLUTIONS["conv_4"]
    shared = CONVOLUTIONS["conv_0"] + CONVOLUTIONS["conv_1"]
    assert of("SelectedBlocks") == shared + tails + 2 * (DENSE + HEAD)
    assert of("Branched") == hard + DENSE + sum(
        CONVOLUTIONS[name] for name in ("conv_3", "conv_4")
    )
    # Each of two towers takes two states by a weight each, behind every stage.
    elements = 64 * 32 + 2 * 16 * 64 + 2 * 4 * 128 + 128
    alone = hard + DENSE + sum(CONVOLUTIONS.values())
    assert 0 <= of("CrossStitch") - (alone + 4 * elements) < 100  # the weights' rate


def test_table_has_a_row_for_every_kind(written, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import benchmark_tables

    monkeypatch.setattr(benchmark_tables, "RESULTS", written)
    lines = benchmark_tables.architectures_cost().splitlines()
    assert len(lines) == 2 + len(KINDS)
    assert "| `HardSharing` | 1.00 | 1.00 | 1.00 | 1.00 |" in lines[2]
    monkeypatch.setattr(benchmark_tables, "RESULTS", written / "nowhere")
    assert benchmark_tables.architectures_cost() == "Not measured yet."
