"""Flags from a dataclass."""

import dataclasses

import pytest
from absl import flags

from mtl_zoo.training.flags import config_from_flags, define_flags


@dataclasses.dataclass(frozen=True)
class Config:
    """A recipe's settings, with all types."""

    epochs: int = 20
    learning_rate: float = dataclasses.field(
        default=1e-3, metadata={"help": "Peak learning rate."}
    )
    tiny: bool = False
    workdir: str = ""
    tasks: tuple[str, ...] = ("boxes", "mask")


def parse(*arguments):
    values = flags.FlagValues()
    define_flags(Config, values)
    values(["recipe.py", *arguments])
    return config_from_flags(Config, values), values


def test_defaults():
    assert parse()[0] == Config()


def test_every_type_is_read():
    config, _ = parse(
        "--epochs=3", "--learning_rate=0.5", "--tiny", "--workdir=w", "--tasks=a,b"
    )
    assert config == Config(3, 0.5, True, "w", ("a", "b"))
    assert type(config.epochs) is int
    assert parse("--notiny")[0].tiny is False


def test_help():
    _, values = parse()
    assert values["learning_rate"].help == "Peak learning rate."
    assert values["workdir"].help == "workdir"


def test_wrong_value_and_unknown_flag():
    with pytest.raises(flags.IllegalFlagValueError):
        parse("--epochs=many")
    with pytest.raises(flags.UnrecognizedFlagError, match="epoch_count"):
        parse("--epoch_count=3")


def test_fields_that_cannot_be_flags():
    @dataclasses.dataclass(frozen=True)
    class Nested:
        sizes: dict = dataclasses.field(default_factory=dict)

    @dataclasses.dataclass(frozen=True)
    class Odd:
        size: complex = 1j

    with pytest.raises(ValueError, match=r"Nested\.sizes"):
        define_flags(Nested, flags.FlagValues())
    with pytest.raises(TypeError, match=r"Odd\.size"):
        define_flags(Odd, flags.FlagValues())
