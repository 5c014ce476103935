"""Flags from a dataclass."""

import dataclasses
import json
import runpy
import sys
import textwrap
from typing import Literal

import pytest
from absl import flags as absl_flags

from mtl_zoo.training import flags
from mtl_zoo.training.flags import config_from_flags, define_flags, parse
from tests.zoo import tiny


@dataclasses.dataclass(frozen=True)
class Config:
    """A recipe's settings, with all types."""

    epochs: int = 20
    learning_rate: float = 1e-3  # peak learning rate
    tiny: bool = False
    workdir: str = ""  # where, e.g. runs/#1
    seeds: tuple[int, ...] = (0, 1)
    tasks: tuple[str, ...] = ()
    method: Literal["equal", "pcgrad"] = "equal"


def test_defaults():
    assert parse(Config, []) == (Config(), [])


def test_every_type_is_read():
    config, rest = parse(
        Config,
        [
            "--epochs=3",
            "--learning_rate=0.5",
            "--tiny",
            "--workdir",
            "w",
            "--seeds=4,5,6",
            "--tasks=a,b",
            "--method=pcgrad",
        ],
    )
    assert config == Config(3, 0.5, True, "w", (4, 5, 6), ("a", "b"), "pcgrad")
    assert type(config.epochs) is int and type(config.seeds[0]) is int
    assert rest == []


def test_negated_and_empty_values():
    assert parse(Config, ["--notiny", "--seeds="])[0] == Config(seeds=())


def test_positional_arguments_may_stand_anywhere():
    config, rest = parse(Config, ["a", "--epochs=3", "b"])
    assert (config.epochs, rest) == (3, ["a", "b"])


def test_comments_beside_fields_are_the_help():
    values = absl_flags.FlagValues()
    define_flags(Config, values)
    assert values["learning_rate"].help == "peak learning rate"
    assert values["workdir"].help == "where, e.g. runs/#1"


def test_global_flags_by_default():
    @dataclasses.dataclass(frozen=True)
    class Other:
        a_flag_of_this_test: int = 1

    define_flags(Other)
    assert "a_flag_of_this_test" in absl_flags.FLAGS
    absl_flags.FLAGS.mark_as_parsed()
    assert config_from_flags(Other) == Other(1)
    del absl_flags.FLAGS.a_flag_of_this_test


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epochs=many", "--epochs=many"),
        ("--epoch_count=3", "epoch_count"),
        ("--seeds=1,b", "--seeds=1,b"),
        ("--method=best", "<equal|pcgrad>"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_line(argument, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(Config, [argument])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error and error.count("\n") == 1


def test_help_shows_description_flags_and_defaults(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(Config, ["--epochs=3", "--help"], "What this recipe shows.")
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert text.startswith("What this recipe shows.")
    assert "--epochs='20'" in text and "peak learning rate" in text


def test_fields_that_cannot_be_flags():
    @dataclasses.dataclass(frozen=True)
    class Nested:
        sizes: dict = dataclasses.field(default_factory=dict)

    @dataclasses.dataclass(frozen=True)
    class Odd:
        size: complex = 1j

    with pytest.raises(ValueError, match=r"Nested\.sizes"):
        define_flags(Nested, absl_flags.FlagValues())
    with pytest.raises(TypeError, match=r"Odd\.size"):
        define_flags(Odd, absl_flags.FlagValues())
    with pytest.raises(TypeError, match="Expected a dataclass"):
        define_flags(dict, absl_flags.FlagValues())


def test_main_runs_a_recipe_and_prints_its_result(tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        textwrap.dedent(
            '''
            """Shows something."""
            from __future__ import annotations
            from dataclasses import dataclass
            from mtl_zoo.training import flags

            @dataclass(frozen=True)
            class Config:
                epochs: int = 20  # passes over the data

            def run(config):
                return {"task": {"metric": config.epochs / 2}}

            if __name__ == "__main__":
                flags.main(run, Config)
            '''
        )
    )

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(recipe), *arguments])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(recipe), run_name="__main__")
        return stopped.value.code, capsys.readouterr()

    code, printed = run("--epochs=3")
    assert (code, printed.out) == (0, '{\n "task": {\n  "metric": 1.5\n }\n}\n')
    code, printed = run("epochs=3")
    assert code == 2 and "epochs=3" in printed.err
    code, printed = run("--help")
    assert code == 0
    assert "Shows something." in printed.out and "passes over the data" in printed.out


def test_main_keeps_what_a_run_found_on_the_test_split(tmp_path, capsys):
    @dataclasses.dataclass(frozen=True)
    class Config:
        workdir: str = str(tmp_path)
        seed: int = 0

    def run(config):
        return {"test": {"seg": {"accuracy": 0.5 + config.seed}}}

    with pytest.raises(SystemExit):
        flags.main(run, Config, ["--seed=3"])
    found = json.loads((tmp_path / "test_metrics.json").read_text())
    assert found["command"] == "python recipes/test_flags.py --seed=3"
    assert found["results"]["seg"]["accuracy"] == {"mean": 3.5, "sd": None, "n": 1}
    assert found["seeds"] == [3] and 0 <= found["wall_time_s"] < 60
    assert found["versions"] and found["device"] and "commit" in found

    def validate(config):
        return {"validation": {"rates": [config.seed]}}

    with pytest.raises(SystemExit):
        flags.main(validate, Config, ["--seed=3"])
    found = json.loads((tmp_path / "validation_metrics.json").read_text())
    assert found["results"] == {"rates": [3]} and found["split"] == "validation"


def test_main_prints_a_study_as_a_table(capsys):
    @dataclasses.dataclass(frozen=True)
    class Config:
        workdir: str = "runs/discs"

    with pytest.raises(SystemExit) as stopped:
        flags.main(lambda config: tiny.metrics(), Config, [])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "| seg  | accuracy |" in out and "{" not in out
    assert out.endswith("All figures: runs/discs/metrics.json\n")
