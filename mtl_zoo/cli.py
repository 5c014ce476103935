"""mtl-zoo: multi-task models, saved, measured and ready to serve.

Usage: mtl-zoo COMMAND [ARGUMENTS] [--flags]

  list         names of the saved models
  show         the card of one: what it does, how well, how to use it
  predict      run one on your images (boxes, masks and labels as JSON and pictures)
               or texts (labels and entities, in colours or as JSON)
  evaluate     measure one on its test split
  train        run a recipe, which trains a model
  export       write one as a SavedModel for TensorFlow Serving
  compile-gpu  compile the trunk in an export for named GPUs, on any machine

`mtl-zoo COMMAND --help` explains a command. To begin with:

  mtl-zoo list
  mtl-zoo predict nuclei-efficientnet_lite0-det-seg my_images/ --out=predictions

Saved models are looked for in saved_models/ of the repository, or in the folder that
the environment variable MTL_ZOO_SAVED_MODELS names. Exit codes: 0 done, 1 failed,
2 wrong usage.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mtl_zoo.zoo import registry

DONE, FAILED, USAGE = 0, 1, 2

_HELP = ("--help", "-help", "-h")


class CommandError(Exception):
    """A command failed for a reason that one line explains."""


class UsageError(Exception):
    """The command line is not understood."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code.

    Args:
        arguments: The command line without the program. Defaults to `sys.argv[1:]`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in (*_HELP, "help"):
        print(inspect.cleandoc(__doc__ or ""))
        return DONE if arguments else USAGE
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"{', '.join(COMMANDS)}."
            raise UsageError(f"there is no such command. {hint}")
        COMMANDS[name](rest)
        return DONE
    except UsageError as error:
        which = f"{name} --help" if name in COMMANDS else "--help"
        return _complain(name, f"{error} (mtl-zoo {which})", USAGE)
    except (CommandError, registry.ModelNotFoundError) as error:
        return _complain(name, str(error), FAILED)
    except BrokenPipeError:  # a reader such as head(1) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def list_command(arguments: Sequence[str]) -> None:
    """Print the names of the saved models.

    Usage: mtl-zoo list [PATTERN]

      mtl-zoo list
      mtl-zoo list 'nuclei-*'
    """
    if _helped(list_command, arguments):
        return
    (pattern,) = _positional(arguments, ["PATTERN"], defaults=["*"])
    names = registry.list_models(pattern)
    if not names:
        folder = str(registry.saved_models_dir())
        raise CommandError(f"no saved model matches {pattern!r} in {folder!r}")
    print("\n".join(names))


def show_command(arguments: Sequence[str]) -> None:
    """Print the card of a saved model: what it does, how well, and how to use it.

    Usage: mtl-zoo show NAME

      mtl-zoo show nuclei-efficientnet_lite0-det-seg
    """
    if _helped(show_command, arguments):
        return
    registry.show(*_positional(arguments, ["NAME"]))


@dataclass(frozen=True)
class PredictFlags:
    """Flags of `predict`."""

    out: str = "predictions"  # images: folder for the results, made if need be
    max_side: int = 0  # images: larger ones are made smaller; 0: as the model says
    whole: bool = False  # texts: a file is one text, not one a line
    color: str = "auto"  # texts: auto, always or never; auto: on a terminal


def predict_command(arguments: Sequence[str]) -> None:
    """Run a saved model on images or on texts.

    Usage: mtl-zoo predict NAME [PATH|TEXT]... [--flags]

      mtl-zoo predict nuclei-efficientnet_lite0-det-seg cells.png --out=predictions
      mtl-zoo predict nuclei-efficientnet_lite0-det-seg slides/ more/*.jpg
      mtl-zoo predict sentences-minilm_l6-sentiment-ner "Oslo was a joy to visit."
      mtl-zoo predict sentences-minilm_l6-sentiment-ner reviews.txt > answers.jsonl
      zcat reviews.gz | mtl-zoo predict sentences-minilm_l6-sentiment-ner

    A model for images takes files and folders. It writes, in pixels of the original
    image whatever its size: `predictions.json` with boxes, scores and labels of every
    image; and for each image IMAGE `IMAGE.json`, a picture `IMAGE.png` with boxes,
    masks and labels drawn on it, and one `IMAGE.TASK.png` (numbers of classes) or
    `IMAGE.TASK.NAME.npy` for each map. When one image can not be read, nothing is
    written.

    A model for texts takes texts, files with one text a line, and standard input (`-`,
    or nothing at all). It prints what it finds, in colours on a terminal, else as one
    line of JSON a text.
    """
    flags, (name, *paths) = _flags(predict_command, PredictFlags, arguments, 1)
    if registry.takes_text(name):
        _predict_texts(name, paths, flags)
        return
    if not paths:
        raise UsageError("expected NAME and at least one image file or folder")
    from mtl_zoo.zoo.prediction_files import PredictionError, predict_files

    try:
        done = predict_files(name, paths, flags.out, flags.max_side or None)
    except PredictionError as error:
        raise CommandError(str(error)) from None
    print(f"{done} image{'s' if done > 1 else ''}: see {flags.out}")


def _predict_texts(name: str, arguments: Sequence[str], flags: PredictFlags) -> None:
    from mtl_zoo.zoo.text_prediction import TextError, coloured, read_texts
    from mtl_zoo.zoo.text_predictor import TextPredictor

    if flags.color not in ("auto", "always", "never"):
        raise UsageError(f"--color is auto, always or never. Received {flags.color!r}")
    colours = flags.color == "always" or (flags.color == "auto" and sys.stdout.isatty())
    try:
        texts = list(read_texts(arguments, sys.stdin.buffer, flags.whole))
        predict = TextPredictor(name)
        for number, text in enumerate(texts, 1):
            try:
                (found,) = predict([text])
            except ValueError as error:
                raise CommandError(f"text {number}: {error}") from None
            print(coloured(found) if colours else json.dumps(found, ensure_ascii=False))
    except TextError as error:
        raise CommandError(str(error)) from None


def evaluate_command(arguments: Sequence[str]) -> None:
    """Measure a saved model on its test split, the way its recipe does.

    Usage: mtl-zoo evaluate NAME [flags of the recipe]

      mtl-zoo evaluate nuclei-efficientnet_lite0-det-seg
      mtl-zoo evaluate nuclei-efficientnet_lite0-det-seg --data_dir=my_copy_of_the_data

    Prints each metric, and beside it what the card reports. The flags are those of the
    recipe: `mtl-zoo train RECIPE --help`.
    """
    if _helped(evaluate_command, arguments):
        return
    if not arguments or arguments[0].startswith("-"):
        raise UsageError("expected the NAME of a saved model first")
    name, *rest = arguments
    metrics = registry.read_metrics(name)
    recipe = _load_recipe(metrics["recipe"])
    if not hasattr(recipe, "evaluate"):
        raise CommandError(
            f"the recipe {metrics['recipe']!r} of this model has no function "
            "evaluate(model, config)"
        )
    flags = _import_flags()
    config, unexpected = flags.parse(recipe.Config, rest, recipe.__doc__ or "")
    if unexpected:
        raise UsageError(f"unexpected argument {unexpected[0]!r}")
    try:
        results = recipe.evaluate(registry.load(name, compile=True), config)
    except FileNotFoundError as error:  # such as the data
        raise CommandError(str(error)) from None
    _print_results(results, metrics)


def train_command(arguments: Sequence[str]) -> None:
    """Run a recipe, which trains a model, measures it and writes what it found.

    Usage: mtl-zoo train RECIPE [flags of the recipe]

      mtl-zoo train nuclei_det_seg --tiny
      mtl-zoo train nuclei_det_seg --help
      mtl-zoo train my_recipes/own_data.py --epochs=3

    RECIPE is a name in recipes/ of the repository, or the path of such a file. Recipes
    are short and made to be copied.
    """
    if not arguments or arguments[0].startswith("-"):
        if _helped(train_command, arguments):
            print(f"\nRecipes: {', '.join(_recipes()) or 'none found'}")
            return
        raise UsageError("expected a RECIPE first")
    recipe = _load_recipe(arguments[0])
    flags = _import_flags()
    try:
        flags.main(recipe.run, recipe.Config, arguments[1:])
    except FileNotFoundError as error:  # such as the data
        raise CommandError(str(error)) from None


@dataclass(frozen=True)
class ExportFlags:
    """Flags of `export`."""

    version: int = 0  # number of the version; 0: the next free one
    tasks: str = ""  # names of the tasks, with commas; the others' heads are left out
    trunk: str = "conv"  # what the *_xla twins compile: conv, xla_native or none
    profile: str = "plain"  # how the server will be run: plain, xla_cpu or xla_gpu
    check: bool = False  # only look for what a server would refuse in DIR
    format: str = "serving"  # or litert, litert_int8, onnx, openvino: writes a file
    image_size: int = 0  # of those files; 0: as the model says, else any
    outputs: str = "decoded"  # of those files: decoded or raw
    representative: str = ""  # for litert_int8: a folder of images of the training data


def export_command(arguments: Sequence[str]) -> None:
    """Write a saved model as the next version in a folder for TensorFlow Serving.

    Usage: mtl-zoo export NAME DIR [--flags]
           mtl-zoo export --check DIR
           mtl-zoo export NAME FILE --format=litert|litert_int8|onnx|openvino

      mtl-zoo export nuclei-efficientnet_lite0-det-seg serving/nuclei
      mtl-zoo export nuclei-efficientnet_lite0-det-seg serving/seg --tasks=seg
      mtl-zoo export --check serving/nuclei
      mtl-zoo export nuclei-efficientnet_lite0-det-seg nuclei.onnx --format=onnx

    NAME may also be the path of a .keras file. The last part of DIR is the model's
    name on the server. Beside the versions appear models.config, docker-compose.yml,
    kubernetes.yaml, a client, and a README.md that says how to use them.

    The export is compared with the model, and checked for what a server would refuse,
    before it appears in DIR.
    """
    flags, positional = _flags(export_command, ExportFlags, arguments, 1)
    if flags.check:
        (directory,) = _exactly(positional, ["DIR"])
        from mtl_zoo.export import lint

        try:
            problems = lint(directory)
        except FileNotFoundError as error:
            raise CommandError(str(error)) from None
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise CommandError(f"a server would refuse {directory!r}:{lines}")
        print(f"{directory}: nothing that a server would refuse")
        return
    name, directory = _exactly(positional, ["NAME", "DIR"])
    if Path(name).suffix != ".keras":
        registry.find(name)
    from mtl_zoo.zoo.exporting import export

    tasks = [task for task in flags.tasks.split(",") if task] or None
    if flags.format != "serving":
        _export_file(name, directory, flags, tasks)
        return
    try:
        os.makedirs(directory, exist_ok=True)  # before the model is loaded
        target = export(
            name,
            directory,
            version=flags.version or None,
            tasks=tasks,
            trunk=flags.trunk,
            profile=flags.profile,
        )
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"can not write to {directory!r}: {reason}") from error
    except ValueError as error:
        raise CommandError(str(error)) from None
    print(target)


def _export_file(
    name: str, path: str, flags: ExportFlags, tasks: list[str] | None
) -> None:
    from mtl_zoo.zoo import export_file

    try:
        report = export_file.export_file(
            name,
            path,
            flags.format,
            image_size=flags.image_size,
            outputs=flags.outputs,
            tasks=tasks,
            representative=flags.representative,
        )
    except (ImportError, OSError, ValueError) as error:
        raise CommandError(str(error)) from None
    print(export_file.summary(report))


def compile_gpu_command(arguments: Sequence[str]) -> None:
    """Compile the shared trunk of an export for named GPUs, on any machine.

    Usage: mtl-zoo compile-gpu NAME DIR [--flags]

      mtl-zoo export pets-efficientnet_lite0-det-seg-cls serving/pets
      mtl-zoo compile-gpu pets-efficientnet_lite0-det-seg-cls serving/pets

    TensorFlow's own XLA makes the kernels, which needs g++ and ptxas but no GPU; they
    are written to assets.extra/xla_gpu/ of the last version in DIR, or of the version
    DIR. They are compiled ahead of time and statically verified, not executed on a GPU
    and not autotuned. docs/xla.md says what each file is.
    """
    _import_flags()  # quietly
    from mtl_zoo.export.xla_gpu import command

    flags, positional = _flags(compile_gpu_command, command.Flags, arguments, 2)
    name, directory = _exactly(positional, ["NAME", "DIR"])
    try:
        for folder in command.run(name, directory, flags):
            print(folder)
    except command.CommandError as error:
        raise CommandError(str(error)) from None


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "list": list_command,
    "show": show_command,
    "predict": predict_command,
    "evaluate": evaluate_command,
    "train": train_command,
    "export": export_command,
    "compile-gpu": compile_gpu_command,
}


# Recipes.


def _recipes() -> list[str]:
    folder = Path(__file__).parents[1] / "recipes"
    return sorted(file.stem for file in folder.glob("[a-z]*.py"))


def _load_recipe(name: str) -> ModuleType:
    """Import a recipe by name or path."""
    folder = Path(__file__).parents[1] / "recipes"
    file = Path(name)
    if file.suffix != ".py" or not file.is_file():
        file = folder / f"{file.stem}.py"
    if not file.is_file():
        close = difflib.get_close_matches(name, _recipes(), n=3, cutoff=0.5)
        hint = (
            f"Did you mean {' or '.join(close)}?"
            if close
            else f"There are: {', '.join(_recipes()) or 'none'}."
        )
        raise CommandError(f"there is no recipe {name!r} in {str(folder)!r}. {hint}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    _import_flags()  # so that the recipe does not do it less quietly
    spec.loader.exec_module(module)
    for needed in ("Config", "run"):
        if not hasattr(module, needed):
            raise CommandError(f"{str(file)!r} is no recipe: it has no {needed}")
    return module


def _print_results(results: dict, metrics: dict) -> None:
    reported = metrics["results"]["multi_task"]
    print(f"{'task':<16}{'metric':<16}{'here':>10}{'reported':>12}")
    for task, found in results.items():
        for metric, value in found.items():
            known = reported.get(task, {}).get(metric)
            mean = f"{known['mean']:.4f}" if known else "-"
            print(f"{task:<16}{metric:<16}{value:>10.4f}{mean:>12}")


# The command line.


def _helped(command: Callable, arguments: Sequence[str]) -> bool:
    """Print the help of a command if it is asked for."""
    asked = any(argument in _HELP for argument in arguments)
    if asked:
        print(inspect.getdoc(command))
    return asked


def _flags(
    command: Callable, config: type, arguments: Sequence[str], least: int
) -> tuple[Any, list[str]]:
    """Return flags and positional arguments, at least as many as given."""
    flags = _import_flags()
    text = inspect.getdoc(command) or ""
    parsed: Any
    parsed, positional = flags.parse(config, arguments, text)
    if len(positional) < least:
        usage = text.split("Usage: ")[1].split("\n")[0]
        raise UsageError(f"expected {usage}")
    return parsed, positional


def _exactly(arguments: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    if len(arguments) < len(names):
        raise UsageError(f"expected {' '.join(names)}")
    if len(arguments) > len(names):
        raise UsageError(f"unexpected argument {arguments[len(names)]!r}")
    return arguments


def _positional(
    arguments: Sequence[str], names: Sequence[str], defaults: Sequence[str] = ()
) -> list[str]:
    """Return the arguments of a command that has no flags."""
    missing = len(names) - len(arguments)
    unknown = [argument for argument in arguments if argument.startswith("-")]
    if unknown or missing < 0:
        surplus = (unknown or list(arguments[len(names) :]))[0]
        raise UsageError(f"unexpected argument {surplus!r}")
    if missing > len(defaults):
        raise UsageError(f"expected {' '.join(names)}")
    return [*arguments, *defaults[len(defaults) - missing :]]


def _import_flags() -> ModuleType:
    """Import `mtl_zoo.training.flags`, and with it TensorFlow, without what that says.

    It writes about the machine before it reads the setting that would keep it quiet.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            return importlib.import_module("mtl_zoo.training.flags")
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _complain(command: str, message: str, code: int) -> int:
    print(f"mtl-zoo {command}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
