"""The command line, as its users meet it."""

import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from mtl_zoo import cli
from tests.zoo import tiny, tiny_text

RECIPE = '''
"""Shows nothing, quickly."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Settings."""

    epochs: int = 2  # passes over the data


def evaluate(model, config):
    return {"seg": {"accuracy": 0.5 + config.epochs}}


def run(config):
    if config.epochs < 0:
        raise FileNotFoundError("no archive discs.tar.gz; set MTL_ZOO_DATA")
    return {"epochs": config.epochs}
'''


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "made_up.py"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(tiny.images(1, 40, 50)[0]).save(path)
    return str(path)


def error_line(capsys):
    """The one line that an unsuccessful command leaves on stderr."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_no_command_is_wrong_usage_and_explains(capsys):
    assert cli.main([]) == 2
    assert "Usage: mtl-zoo COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["--help", "-h", "help"])
def test_help_names_every_command(capsys, argument):
    assert cli.main([argument]) == 0
    text = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert f"\n  {command}  " in text


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_an_example(capsys, command):
    try:
        code = cli.main([command, "--help"])
    except SystemExit as stopped:
        code = stopped.code
    text = capsys.readouterr().out
    assert code == 0
    assert f"Usage: mtl-zoo {command} " in text and f"\n  mtl-zoo {command}" in text


def test_help_of_flags(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    assert "--out='predictions'" in capsys.readouterr().out


def test_unknown_command(capsys):
    assert cli.main(["shw"]) == 2
    assert "Did you mean show?" in error_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--long"],
        ["list", "a", "b"],
        ["show"],
        ["predict", "nuclei-efficientnet_lite0-det-seg"],
        ["export", "a", "b", "c"],
        ["train"],
        ["evaluate"],
    ],
)
def test_wrong_usage(capsys, arguments):
    assert cli.main(arguments) == 2
    assert f"(mtl-zoo {arguments[0]} --help)" in error_line(capsys)


def test_unknown_flag(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["predict", "name", "image.png", "--output=x"])
    assert stopped.value.code == 2
    assert "output" in error_line(capsys)


def test_list(saved_models, capsys):
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == f"{tiny.NAME}\n"
    assert cli.main(["list", "pets-*"]) == 1
    assert "no saved model matches 'pets-*'" in error_line(capsys)


def test_show(saved_models, capsys):
    assert cli.main(["show", tiny.NAME]) == 0
    assert capsys.readouterr().out.startswith(f"# {tiny.NAME}\n\nFinds discs")


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["predict", "a.png"], ["export", "serving"], ["evaluate"]],
    ids=lambda arguments: arguments[0],
)
def test_unknown_model(saved_models, capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    command, *rest = arguments
    assert cli.main([command, "discs-tiny-seg", *rest]) == 1
    assert f"Did you mean {tiny.NAME}?" in error_line(capsys)
    assert os.listdir(tmp_path) == []


def test_predict(saved_models, capsys, picture, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["predict", tiny.NAME, picture, f"--out={out}"]) == 0
    assert capsys.readouterr().out == f"1 image: see {out}\n"
    found = json.loads((out / "predictions.json").read_text())
    assert found["model"] == tiny.NAME
    assert (out / "a.png").is_file()


def test_predict_on_a_wrong_path(saved_models, capsys, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["predict", tiny.NAME, "absent.png", f"--out={out}"]) == 1
    assert "no file or folder 'absent.png'" in error_line(capsys)
    assert not out.exists()


def test_export(saved_models, capsys, tmp_path):
    assert cli.main(["export", tiny.NAME, str(tmp_path / "serving")]) == 0
    version = capsys.readouterr().out.strip()
    assert version == str(tmp_path / "serving" / "1")
    assert os.path.isfile(os.path.join(version, "saved_model.pb"))


def test_export_of_one_task_and_its_check(saved_models, capsys, tmp_path):
    folder = str(tmp_path / "serving")
    flags = ["--tasks=seg", "--trunk=none", "--version=3"]
    assert cli.main(["export", tiny.NAME, folder, *flags]) == 0
    assert capsys.readouterr().out.strip() == f"{folder}/3"
    assert cli.main(["export", "--check", folder]) == 0
    assert "nothing that a server would refuse" in capsys.readouterr().out
    os.remove(f"{folder}/3/fingerprint.pb")
    assert cli.main(["export", "--check", folder]) == 1
    assert "[fingerprint] 3: there is no fingerprint.pb" in capsys.readouterr().err
    assert cli.main(["export", "--check", str(tmp_path / "absent")]) == 1
    assert "Expected a SavedModel" in error_line(capsys)


def test_export_as_a_file(saved_models, capsys, tmp_path):
    path = tmp_path / "discs.tflite"
    flags = ["--format=litert", "--tasks=seg", "--image_size=64"]
    assert cli.main(["export", tiny.NAME, str(path), *flags]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: 0.0 MB, largest difference")
    assert path.is_file()


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("tfjs", "Expected a format of"),
        ("litert_int8", "needs a folder of images: --representative=FOLDER"),
    ],
)
def test_export_as_a_file_that_can_not_be(
    saved_models, capsys, tmp_path, format, message
):
    path = tmp_path / "discs.x"
    assert cli.main(["export", tiny.NAME, str(path), f"--format={format}"]) == 1
    assert message in error_line(capsys)
    assert os.listdir(tmp_path) == []


def test_compile_gpu_of_what_is_no_export(saved_models, capsys, tmp_path):
    assert cli.main(["compile-gpu", tiny.NAME, str(tmp_path)]) == 1
    assert "holds no export; make one: mtl-zoo export" in error_line(capsys)
    assert cli.main(["compile-gpu", tiny.NAME]) == 2


def test_export_of_what_the_model_does_not_have(saved_models, capsys, tmp_path):
    folder = str(tmp_path / "serving")
    assert cli.main(["export", tiny.NAME, folder, "--tasks=depth"]) == 1
    assert "The model has the tasks ['seg', 'det']" in error_line(capsys)
    assert os.listdir(folder) == []


def test_export_to_where_nothing_can_be_written(saved_models, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert cli.main(["export", tiny.NAME, str(tmp_path / "file" / "x")]) == 1
    assert "can not write to" in error_line(capsys)


def test_train_runs_a_recipe(capsys, recipe):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", recipe, "--epochs=7"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out) == {"epochs": 7}


def test_data_that_is_missing_is_one_line(capsys, recipe):
    assert cli.main(["train", recipe, "--epochs=-1"]) == 1
    assert "no archive discs.tar.gz" in error_line(capsys)


def test_help_of_a_recipe(capsys, recipe):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", recipe, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "Shows nothing, quickly." in text and "passes over the data" in text


def test_unknown_recipe(capsys):
    assert cli.main(["train", "nuclei_det_sag"]) == 1
    assert "Did you mean nuclei_det_seg" in error_line(capsys)


def test_file_that_is_no_recipe(capsys, tmp_path):
    (tmp_path / "empty.py").touch()
    assert cli.main(["train", str(tmp_path / "empty.py")]) == 1
    assert "is no recipe: it has no Config" in error_line(capsys)


def test_evaluate_compares_with_what_the_card_reports(
    saved_models, capsys, recipe, monkeypatch
):
    metrics = {**tiny.metrics(), "recipe": recipe}
    monkeypatch.setattr(cli.registry, "read_metrics", lambda _: metrics)
    assert cli.main(["evaluate", tiny.NAME, "--epochs=1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "seg",
        "accuracy",
        "1.5000",
        "0.8125",
    ]


def test_list_and_show_load_no_tensorflow(saved_models):
    code = (
        "import sys, mtl_zoo.cli as cli; "
        f"codes = cli.main(['list']), cli.main(['show', {tiny.NAME!r}]); "
        "print(codes, 'tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "(0, 0) False False"
    assert done.stderr == ""


def test_one_line_on_stderr_even_when_tensorflow_was_loaded(saved_models, tmp_path):
    command = [sys.executable, "-m", "mtl_zoo.cli", "predict", tiny.NAME, "absent"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mtl-zoo predict: there is no file or folder 'absent'\n"
    assert os.listdir(tmp_path) == []


def test_a_reader_that_stops_early_is_no_failure(saved_models):
    command = f"{sys.executable} -m mtl_zoo.cli show {tiny.NAME} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"# {tiny.NAME}\n", "")


@pytest.fixture
def text_models(saved_text, monkeypatch):
    """Saved models with one for texts, as the folder in which names are looked up."""
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", str(saved_text))


def test_predict_texts(text_models, capsys, tmp_path, monkeypatch):
    file = tmp_path / "texts.txt"
    file.write_text("bad\n\nNew York\n")
    stdin = io.TextIOWrapper(io.BytesIO("é jane\n".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    arguments = ["Jane saw Oslo.", str(file), "-"]
    assert cli.main(["predict", tiny_text.NAME, *arguments]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    texts = ["Jane saw Oslo.", "bad", "", "New York", "é jane"]
    assert [line["text"] for line in lines] == texts
    assert all(set(line) == {"text", "sentiment", "ner"} for line in lines)


def test_predict_texts_in_colour(text_models, capsys):
    command = ["predict", tiny_text.NAME, "Jane saw Oslo.", "--color=always"]
    assert cli.main(command) == 0
    assert "\x1b[" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["missing.txt", "x" * 100_001])
def test_predict_texts_that_can_not_be(text_models, capsys, text):
    assert cli.main(["predict", tiny_text.NAME, text]) == 1
    assert len(error_line(capsys)) < 400
