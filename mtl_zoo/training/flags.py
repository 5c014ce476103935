"""Command-line flags of a recipe, made from the fields of its `Config`.

A recipe has a frozen dataclass `Config` and a function `run(config)`, and ends in::

    if __name__ == "__main__":
        flags.main(run, Config)
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import sys
import time
import tokenize
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from absl import flags as absl_flags

from mtl_zoo.evaluation import report

USAGE_ERROR = 2

_T = TypeVar("_T")

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: absl_flags.DEFINE_bool,
    int: absl_flags.DEFINE_integer,
    float: absl_flags.DEFINE_float,
    str: absl_flags.DEFINE_string,
}


def define_flags(
    config: type, flag_values: absl_flags.FlagValues = absl_flags.FLAGS
) -> None:
    """Define one flag for each field of a dataclass.

    A field's type says which kind of flag it is, its default is the flag's default, and
    the comment beside it, if there is one, is the flag's help.

    Args:
        config: A dataclass of which all fields have defaults. Types: `bool`, `int`,
            `float`, `str`, `Literal[...]` of strings, and tuples of `int`, `float` or
            `str` (comma-separated on the command line).
        flag_values: Where the flags are defined. Defaults to `absl.flags.FLAGS`.

    Raises:
        TypeError: When `config` is not a dataclass, or a field has another type.
        ValueError: When a field has no default.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     epochs: int = 20
        ...     seeds: tuple[int, ...] = (0, 1)
        >>> values = absl_flags.FlagValues()
        >>> define_flags(Config, values)
        >>> _ = values(["program", "--epochs=3", "--seeds=4,5"])
        >>> config_from_flags(Config, values)
        Config(epochs=3, seeds=(4, 5))
    """
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise TypeError(
            f"Expected a dataclass, whose fields become flags. Received: {config!r}"
        )
    types = typing.get_type_hints(config)
    comments = _comments(config)
    for field in dataclasses.fields(config):
        if field.default is dataclasses.MISSING:
            raise ValueError(
                "Every field needs a plain default, so that the recipe runs without "
                f"flags. Received none for {config.__name__}.{field.name}."
            )
        # absl says "(no help available)" for an empty text.
        kind, text = types[field.name], comments.get(field.name, " ")
        if kind in _DEFINE:
            _DEFINE[kind](field.name, field.default, text, flag_values=flag_values)
        elif typing.get_origin(kind) is typing.Literal:
            choices = typing.get_args(kind)
            absl_flags.DEFINE_enum(
                field.name, field.default, choices, text, flag_values=flag_values
            )
        elif (element := _element(kind)) is not None:
            absl_flags.DEFINE(
                _TupleParser(element),
                field.name,
                ",".join(map(str, field.default)),
                text,
                flag_values,
                _TupleSerializer(),
            )
        else:
            raise TypeError(
                "A field that becomes a flag is a bool, int, float, str, a Literal of "
                "strings, or a tuple such as tuple[int, ...]. Received: "
                f"{config.__name__}.{field.name}: {kind}"
            )


def config_from_flags(
    config: type[_T], flag_values: absl_flags.FlagValues = absl_flags.FLAGS
) -> _T:
    """Return the dataclass with the values of the parsed flags."""
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    return config(**{name: flag_values[name].value for name in names})


def main(
    run: Callable[[Any], Any], config: type, arguments: Sequence[str] | None = None
) -> NoReturn:
    """Run a recipe from the command line and exit.

    `--help` prints the docstring of the recipe and its flags. What `run` returns is
    printed: the metrics of a study as a table, anything else as JSON. What it has under
    `"test"`, or else `"validation"`, is kept in the folder of the run with how it was
    made, in `test_metrics.json` or `validation_metrics.json`. Exit codes: 0 done, 1
    failed, 2 wrong usage.

    Args:
        run: Takes a `config`, returns the metrics.
        config: The recipe's dataclass.
        arguments: The command line without the program. Defaults to `sys.argv[1:]`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    text = inspect.getdoc(inspect.getmodule(run)) or ""
    settings: Any
    settings, rest = parse(config, arguments, text)
    if rest:
        fail(f"Unexpected argument: {rest[0]!r}")
    start = time.perf_counter()
    result = run(settings)
    if isinstance(result, dict) and "delta_m" in result:
        print(report.markdown_table(result))
        print(f"All figures: {settings.workdir}/metrics.json")
    elif result is not None:
        print(json.dumps(result, indent=1, default=float))
    if isinstance(result, dict):
        origin = report.origin(Path(inspect.getfile(run)).stem, arguments)
        origin["wall_time_s"] = time.perf_counter() - start
        _keep(result, settings, origin)
    sys.exit(0)


def _keep(result: dict, settings: Any, origin: dict[str, Any]) -> None:
    """Write what a run found on the test split, or else on validation."""
    if "test" in result:
        split, found = "test", report.spread_of_results([result["test"]])
    elif "validation" in result:
        split, found = "validation", result["validation"]
    else:
        return
    metrics = {**origin, "split": split, "seeds": [settings.seed], "results": found}
    report.write_json(metrics, Path(settings.workdir) / f"{split}_metrics.json")


def parse(
    config: type[_T], arguments: Sequence[str], description: str = ""
) -> tuple[_T, list[str]]:
    """Return the dataclass that a command line describes, and what is no flag in it.

    Args:
        config: The dataclass.
        arguments: The command line without the program.
        description: Printed by `--help`, above the flags.

    Raises:
        SystemExit: 0 after `--help`; 2, after one line on stderr, for a flag that does
            not exist or a value that does not fit.
    """
    values = absl_flags.FlagValues()
    values.set_gnu_getopt(True)
    define_flags(config, values)
    if any(argument in ("--help", "-help", "-h") for argument in arguments):
        print("\n\n".join(filter(None, [description, _describe(values)])))
        sys.exit(0)
    try:
        rest = values(["recipe", *arguments])[1:]
        return config_from_flags(config, values), rest
    except (absl_flags.Error, ValueError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End the program over wrong usage, with one line on stderr."""
    print(f"{message} (--help lists the flags)", file=sys.stderr)
    sys.exit(USAGE_ERROR)


def _describe(values: absl_flags.FlagValues) -> str:
    """The flags with defaults and help, in order of definition."""
    lines = ["Flags:"]
    for name in values:
        lines.append(f"  --{name}={values[name].default_as_str}")
        if help_text := values[name].help.strip(" :"):
            lines.append(f"      {help_text}")
    return "\n".join(lines)


class _TupleParser(absl_flags.ArgumentParser):
    """Parses `1,2,3` to a tuple of one type."""

    def __init__(self, element: type) -> None:
        self.element = element
        self.syntactic_help = f"a comma-separated list of {element.__name__}"

    def parse(self, argument: Any) -> tuple:
        if isinstance(argument, tuple):
            return argument
        return tuple(self.element(part) for part in argument.split(",") if part)

    def flag_type(self) -> str:
        return self.syntactic_help


class _TupleSerializer(absl_flags.ArgumentSerializer):
    def serialize(self, value: tuple) -> str:
        return ",".join(map(str, value))


def _element(kind: Any) -> type | None:
    """The type of the elements of `tuple[kind, ...]`, if that is what it is."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is not tuple or arguments[1:] != (Ellipsis,):
        return None
    return arguments[0] if arguments[0] in (int, float, str) else None


def _comments(config: type) -> dict[str, str]:
    """The comments beside the fields, by field."""
    try:
        source = inspect.getsource(config)
    except (OSError, TypeError):  # defined at a prompt
        return {}
    names = {field.name for field in dataclasses.fields(config)}
    found: dict[str, str] = {}
    lines = io.StringIO(inspect.cleandoc(source))
    for token in tokenize.generate_tokens(lines.readline):
        first = token.line.split(":")[0].strip()
        if token.type == tokenize.COMMENT and first in names:
            found[first] = token.string.lstrip("# ")
    return found
