"""What every recipe is made of, and that they run: one whole, the others in parts."""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import math
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from absl import flags as absl_flags

import mtl_zoo as mtl
from mtl_zoo import evaluation
from mtl_zoo.data import adult, multi_mnist, nuclei, pets, sampling, text_batches
from tests.test_spanning_tree import is_tree
from tests.zoo import tiny_text

FOLDER = Path(__file__).parents[2] / "recipes"
# `demo` trains nothing itself: it runs a recipe.
NAMES = sorted({file.stem for file in FOLDER.glob("[a-z]*.py")} - {"demo"})


def load(name):
    """Import a recipe by its path: recipes are no package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=NAMES)
def recipe(request):
    return load(request.param)


def test_there_are_recipes():
    assert {"digit_scenes", "nuclei_det_seg", "pets_det_seg_cls"} <= set(NAMES)


def test_docstring_has_paper_commands_and_where_the_results_are(recipe):
    text = recipe.__doc__
    assert re.search(r"\([A-Z][^()]*,\s(19|20)\d\d\)", text), "no (Author, year)"
    command = f"python recipes/{recipe.__name__}.py"
    for flags in ("", " --single_task=", " --compare", " --tiny"):
        assert f"{command}{flags}" in text
    found = re.search(r"^Results, time and device: (.+)\.$", text, re.MULTILINE)
    assert found, "no line with the results"
    assert found[1] == "none yet" or (FOLDER.parent / found[1]).is_file()


def test_config_is_frozen_and_becomes_flags(recipe):
    default = recipe.Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        default.seed = 1
    values = absl_flags.FlagValues()
    mtl.training.define_flags(recipe.Config, values)
    values(["recipe"])
    assert mtl.training.config_from_flags(recipe.Config, values) == default
    needed = {"workdir", "single_task", "seed", "tiny", "compare", "seeds"}
    assert needed <= set(values)


def test_functions_that_others_call(recipe):
    for name, parameters in (
        ("build_model", ["config"]),
        ("run", ["config"]),
        ("evaluate", ["model", "config"]),
    ):
        assert list(inspect.signature(getattr(recipe, name)).parameters) == parameters
    assert recipe.TASKS and len(set(recipe.TASKS)) == len(recipe.TASKS)


@pytest.mark.parametrize("name", NAMES)
def test_only_public_names_are_imported_and_no_other_recipe(name):
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            imported = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported = {node.module}
            if node.module.startswith("mtl_zoo"):
                public = importlib.import_module(node.module).__all__
                assert {alias.name for alias in node.names} <= set(public)
        else:
            continue
        assert not imported & {"recipes", *NAMES}


def test_help_shows_docstring_and_flags():
    done = subprocess.run(
        [sys.executable, str(FOLDER / "digit_scenes.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Digit scenes: ")
    assert "--learning_rate='0.003'" in done.stdout
    assert "share of the scenes that keep their boxes" in done.stdout


# A whole run.


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of `digit_scenes --tiny`: recipe, configuration and result."""
    recipe = load("digit_scenes")
    folder = tmp_path_factory.mktemp("runs") / "digit_scenes"
    config = recipe.Config(tiny=True, workdir=str(folder))
    return recipe, config, recipe.run(config)


def assert_close(found, expected):
    assert {task: list(metrics) for task, metrics in found.items()} == {
        task: list(metrics) for task, metrics in expected.items()
    }
    for task, metrics in expected.items():
        assert found[task] == pytest.approx(metrics, rel=1e-4)


def assert_documented_form(results, directions, tasks):
    """`{task: {metric: number}}`, and for each metric its direction."""
    assert tuple(results) == tuple(directions) == tuple(tasks)
    for task, metrics in results.items():
        assert metrics and list(metrics) == list(directions[task])
        assert all(math.isfinite(value) for value in metrics.values())
        assert set(directions[task].values()) <= {"up", "down"}


def test_tiny_run_returns_what_a_study_needs(done):
    recipe, _, result = done
    assert_documented_form(result["test"], result["directions"], recipe.TASKS)
    assert result["directions"]["count"] == {"mae": "down"}
    assert all(0 <= share <= 1 for share in result["thresholds"].values())


def test_saved_model_measures_the_same(done):
    recipe, config, result = done
    model = mtl.load(Path(config.workdir) / "model.keras", compile=True)
    assert_close(recipe.evaluate(model, config), result["test"])


def test_run_again_in_the_same_folder_trains_no_more(done):
    recipe, config, result = done

    def written():
        files = (Path(config.workdir) / "checkpoints").iterdir()
        return {file.name: file.stat().st_mtime_ns for file in files}

    before = written()
    assert any(name.startswith("epoch-2") for name in before)
    again = recipe.run(config)
    assert written() == before
    assert_close(again["test"], result["test"])
    assert again["thresholds"] == pytest.approx(result["thresholds"])


@pytest.mark.parametrize("task", ["det", "seg", "count"])
def test_single_task_gives_a_model_of_that_task(task):
    recipe = load("digit_scenes")
    assert task in recipe.TASKS
    model = recipe.build_model(recipe.Config(single_task=task))
    assert model.task_names == (task,)


# Real data, one batch.


def one_step(recipe, config, data):
    """Train on one batch, eagerly, and return model, losses and test metrics."""
    model = recipe.build_model(config)
    model.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    if hasattr(recipe, "for_tasks"):  # batches of texts are for the tasks already
        data = data.map(recipe.for_tasks)
    history = model.fit(data.take(1), verbose=0).history
    names = ["loss", *(f"{task}_loss" for task in model.task_names)]
    losses = [history[name][0] for name in names]
    assert np.isfinite(losses).all() and min(losses) > 0
    directions = evaluation.directions(model)
    assert_documented_form(recipe.evaluate(model, config), directions, model.task_names)
    return model


def test_nuclei_train_and_are_measured(real_data):
    folder = real_data("dsb2018_nuclei")
    recipe = load("nuclei_det_seg")
    config = recipe.Config(tiny=True, data_dir=str(folder))
    crops = nuclei.training_batches(image_size=64, batch_size=2, data_dir=folder)
    model = one_step(recipe, config, crops)
    assert model.task_names == recipe.TASKS
    alone = recipe.build_model(recipe.Config(single_task="seg"))
    assert alone.task_names == ("seg",)


def test_pets_train_and_are_measured(real_data):
    folder = real_data("oxford_pet_subset")
    recipe = load("pets_det_seg_cls")
    config = recipe.Config(tiny=True, data_dir=str(folder), image_size=64)
    crops = pets.training_batches(image_size=64, batch_size=4, data_dir=folder)
    model = one_step(recipe, config, crops)
    assert model.task_names == recipe.TASKS
    alone = recipe.build_model(recipe.Config(single_task="breed", data_dir=str(folder)))
    assert alone.task_names == ("breed",) and alone.trunk.neck is None


def test_nuclei_mtan_trains_and_is_measured(real_data):
    folder = real_data("dsb2018_nuclei")
    recipe = load("nuclei_mtan")
    config = recipe.Config(tiny=True, data_dir=str(folder))
    crops = nuclei.training_batches(image_size=64, batch_size=2, data_dir=folder)
    model = one_step(recipe, config, crops)
    assert isinstance(model, mtl.architectures.MTAN)
    assert model.chosen == config.stages
    alone = recipe.build_model(recipe.Config(single_task="seg"))
    shared = recipe.build_model(recipe.Config(sharing="hard_sharing"))
    assert alone.task_names == ("seg",) and shared.task_names == recipe.TASKS
    assert alone.count_params() < shared.count_params() < model.count_params()


@pytest.mark.parametrize("changes", [{}, {"others": False}, {"single_task": "det"}])
def test_auxiliary_nuclei_trains_and_is_measured(real_data, changes):
    folder = real_data("dsb2018_nuclei")
    recipe = load("auxiliary_nuclei")
    config = recipe.Config(
        tiny=True, data_dir=str(folder), image_size=64, batch_size=2, share=0.05
    )
    config = dataclasses.replace(config, **changes)
    data = recipe.training_batches(config)
    images, labels, weights = next(iter(data))
    outlines = () if config.single_task else recipe.OUTLINES
    assert set(labels) == set(weights) == {"det", *outlines}
    expected = [1, 1, 0, 0] if outlines and config.others else [1, 1]
    np.testing.assert_array_equal(weights["det"], expected)
    assert images.shape[0] == len(expected)
    model = recipe.build_model(config)
    assert model.main_tasks == recipe.TASKS
    model.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    history = model.fit(data.take(1), verbose=0).history
    assert np.isfinite(list(history.values())).all()
    result = recipe.evaluate(model, config)
    directions = {"det": evaluation.directions(model)["det"]}
    assert_documented_form(result, directions, recipe.TASKS)


def test_auxiliary_nuclei_keeps_the_boxes_of_other_images_for_each_seed(real_data):
    folder = str(real_data("dsb2018_nuclei"))
    recipe = load("auxiliary_nuclei")
    kept = {}
    for share in (0.05, 0.25, 1.0):
        for seed in range(4):
            config = recipe.Config(share=share, seed=seed)
            ids = nuclei.example_ids(recipe.with_boxes(config), folder)
            assert len(set(ids)) == len(ids)
            assert abs(len(ids) - share * 465) <= 2
            kept[share, seed] = set(ids)
    for seed in range(4):
        assert kept[0.05, seed] < kept[0.25, seed] < kept[1.0, seed]
    assert not kept[0.05, 0] & kept[0.05, 1]


def test_pets_cross_stitch_starts_from_single_tasks(real_data, tmp_path):
    folder = real_data("oxford_pet_subset")
    recipe = load("pets_cross_stitch")
    config = recipe.Config(
        tiny=True, data_dir=str(folder), image_size=64, single_runs=str(tmp_path)
    )
    alone = {
        name: recipe.build_model(dataclasses.replace(config, single_task=name))
        for name in recipe.TASKS
    }
    for name, model in alone.items():
        assert model.task_names == (name,)
        weights = model.task(name).head.get_weights()
        model.task(name).head.set_weights([w + 1 for w in weights])
        (tmp_path / f"{name}-seed0").mkdir()
        model.save(tmp_path / f"{name}-seed0" / "model.keras")
    model = recipe.build_model(config)
    model.start_from(recipe.single_models(config))
    for name, one in alone.items():
        for found, given in zip(
            model.task(name).head.get_weights(),
            one.task(name).head.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(found, given)
    for tower in model.towers:
        frozen = [n for n, s in tower.stages.items() if not s.trainable_variables]
        assert frozen == ["stride_2", "stride_4"]
    crops = pets.training_batches(image_size=64, batch_size=4, data_dir=folder)
    model = one_step(recipe, config, crops)
    assert isinstance(model, mtl.architectures.CrossStitch)


@pytest.mark.parametrize(
    "changes", [{}, {"sharing": "pooled"}, {"single_task": "books"}]
)
def test_fdu_mtl_sluice_gives_a_study_what_it_needs(real_data, tmp_path, changes):
    folder = real_data("fdu_mtl")
    recipe = load("fdu_mtl_sluice")
    config = recipe.Config(
        tiny=True, data_dir=str(folder), workdir=str(tmp_path), terms=500, **changes
    )
    result = recipe.run(config)
    tasks = [t for t in recipe.TASKS if config.single_task in ("", t)]
    assert_documented_form(result["test"], result["directions"], tasks)
    assert tuple(result["test_with_leaked"]) == tuple(tasks)
    model = mtl.load(tmp_path / "model.keras", compile=True)
    assert_close(recipe.evaluate(model, config), result["test"])


@pytest.mark.parametrize(
    "changes", [{}, {"sharing": "hard_sharing"}, {"single_task": "books"}]
)
def test_fdu_mtl_adversarial_gives_a_study_what_it_needs(real_data, tmp_path, changes):
    folder = real_data("fdu_mtl")
    recipe = load("fdu_mtl_adversarial")
    config = recipe.Config(
        tiny=True, data_dir=str(folder), workdir=str(tmp_path), terms=500, **changes
    )
    result = recipe.run(config)
    tasks = [t for t in recipe.TASKS if config.single_task in ("", t)]
    assert_documented_form(result["test"], result["directions"], tasks)
    assert tuple(result["test_with_leaked"]) == tuple(tasks)
    assert (result["domain_accuracy"] is None) == bool(config.single_task)
    model = mtl.load(tmp_path / "model.keras", compile=True)
    assert model.main_tasks == tuple(tasks)
    assert_close(recipe.evaluate(model, config), result["test"])


def test_fdu_mtl_adversarial_joins_figures_of_all_ways(tmp_path, monkeypatch):
    recipe = load("fdu_mtl_adversarial")
    monkeypatch.setattr(recipe, "TASKS", recipe.TASKS[:2])
    for kind in ("multi_task", *recipe.WAYS[1:], *recipe.TASKS):
        (tmp_path / f"{kind}-seed0").mkdir()
        accuracy = 0.5 if kind == recipe.TASKS[0] else 0.75
        tasks = (kind,) if kind in recipe.TASKS else recipe.TASKS
        result = {
            "domain_accuracy_at_start": 0.25,
            "domain_accuracy": 0.125,
            "test_with_leaked": {name: {"accuracy": accuracy} for name in tasks},
        }
        evaluation.write_json(result, tmp_path / f"{kind}-seed0" / "result.json")
    found = recipe.figures(recipe.Config(workdir=str(tmp_path)))
    assert found["domain_accuracy"]["shared_private"]["mean"] == 0.125
    means = {name: one["mean"] for name, one in found["accuracy_with_leaked"].items()}
    assert means == {
        "multi_task": 0.75,
        "shared_private": 0.75,
        "hard_sharing": 0.75,
        "single_task": 0.625,
    }


@pytest.mark.parametrize("name", ["fdu_mtl_sluice", "fdu_mtl_adversarial"])
def test_fdu_mtl_has_clean_splits(real_data, name):
    folder = str(real_data("fdu_mtl"))
    recipe = load(name)
    sizes = {
        split: len(recipe.rows(split, folder))
        for split in ("train", "validation", "test", "test_with_leaked")
    }
    assert sizes["train"] + sizes["validation"] == 25_380
    assert (sizes["test"], sizes["test_with_leaked"]) == (5_841, 6_400)
    seen = {row["text"] for row in recipe.rows("train", folder)}
    for split in ("validation", "test"):
        assert not seen & {row["text"] for row in recipe.rows(split, folder)}


@pytest.mark.parametrize(
    "changes",
    [{}, {"fade": "linear", "gate": True}, {"single_task": "sentiment"}],
    ids=["hints", "fading_and_gated", "alone"],
)
def test_auxiliary_sentiment_gives_a_study_what_it_needs(real_data, tmp_path, changes):
    folder = real_data("fdu_mtl")
    recipe = load("auxiliary_sentiment")
    config = recipe.Config(
        tiny=True,
        data_dir=str(folder),
        workdir=str(tmp_path),
        terms=500,
        share=0.05,
        **changes,
    )
    result = recipe.run(config)
    assert_documented_form(result["test"], result["directions"], recipe.TASKS)
    model = mtl.load(tmp_path / "model.keras", compile=True)
    hints = () if config.single_task else recipe.HINTS
    assert model.task_names == (*recipe.TASKS, *hints)
    assert model.main_tasks == recipe.TASKS
    assert_close(recipe.evaluate(model, config), result["test"])


def test_auxiliary_sentiment_hides_what_it_asks_for(real_data):
    folder = str(real_data("fdu_mtl"))
    recipe = load("auxiliary_sentiment")
    config = recipe.Config(data_dir=folder, tiny=True, terms=500, share=0.05)
    sizes = [
        len(recipe.labelled(dataclasses.replace(config, share=share)).texts)
        for share in (0.01, 0.05, 1.0)
    ]
    assert sizes == [round(share * sizes[-1]) for share in (0.01, 0.05, 1.0)]
    test = recipe.reviews_of("test", folder)
    assert len(test.texts) == 5_841
    assert not set(test.texts) & set(recipe.reviews_of("train", folder).texts)
    words = set().union(*(hint.words for hint in recipe.hints_of(config)))
    known = {"bad", "great", "love", "waste", "not"}
    assert len(words) == 2 * config.words and words & known
    terms = list(recipe.weighted_terms(config.terms, folder).weights)
    asked_for = [number for number, term in enumerate(terms) if term in words]
    inputs, labels, weights = next(iter(recipe.training_batches(config)))
    size = config.batch_size
    assert inputs[:size].numpy()[:, asked_for].any()
    assert not inputs[size:].numpy()[:, asked_for].any()
    for name, known_rows in (
        ("sentiment", [1] * size + [0] * size),
        ("praise", [0] * size + [1] * size),
    ):
        np.testing.assert_array_equal(weights[name], known_rows)
        assert set(labels[name].numpy()[np.array(known_rows) > 0]) == {0, 1}


def test_multi_mnist_trains_and_is_measured(real_data):
    folder = real_data("mnist_t10k")
    recipe = load("multi_mnist_balancing")
    config = recipe.Config(tiny=True, data_dir=str(folder))
    pairs = multi_mnist.training_batches(
        batch_size=16, labelled={"left": 0.5}, data_dir=folder
    )
    model = one_step(recipe, config, pairs)
    assert model.task_names == recipe.TASKS
    (kernel,) = model.last_shared_variables
    assert tuple(kernel.shape) == (6 * 6 * config.filters[1], config.units)
    alone = recipe.build_model(recipe.Config(single_task="right"))
    assert alone.task_names == ("right",)


@pytest.mark.parametrize("changes", [{"method": "pcgrad"}, {"single_task": "left"}])
def test_multi_mnist_gives_a_study_what_it_needs(real_data, tmp_path, changes):
    folder = real_data("mnist_t10k")
    recipe = load("multi_mnist_balancing")
    config = recipe.Config(
        tiny=True, data_dir=str(folder), workdir=str(tmp_path), **changes
    )
    result = recipe.run(config)
    tasks = [t for t in recipe.TASKS if config.single_task in ("", t)]
    assert_documented_form(result["test"], result["directions"], tasks)
    assert 0 < result["cost"]["step_ms"] < 10_000
    model = mtl.load(tmp_path / "model.keras", compile=True)
    assert_close(recipe.evaluate(model, config), result["test"])
    again = recipe.run(config)  # a finished run is read back, its times too
    assert again["cost"] == result["cost"]
    assert_close(again["test"], result["test"])


def test_multi_mnist_has_every_method_of_balancing():
    recipe = load("multi_mnist_balancing")
    balancing = mtl.balancing
    bases = {balancing.Balancing, balancing.LossBalancing, balancing.GradientBalancing}
    need_arguments = {
        balancing.Fixed,
        balancing.Scheduled,
        balancing.GradientSimilarity,
    }
    public = [getattr(balancing, name) for name in balancing.__all__]
    methods = {t for t in public if isinstance(t, type)} - bases - need_arguments
    made = [make() for make in recipe.METHODS.values()]
    assert {type(method) for method in made} == methods
    assert len(made) == len(methods) + 1  # FAMO is there twice
    assert next(iter(recipe.METHODS)) == recipe.Config().method == "equal"


def test_multi_mnist_compares_methods_with_each_task_alone(monkeypatch, tmp_path):
    recipe = load("multi_mnist_balancing")
    methods = {name: recipe.METHODS[name] for name in ("equal", "pcgrad", "dwa")}
    monkeypatch.setattr(recipe, "METHODS", methods)
    configs = []

    def train(config):
        """The form of a run, without data and training."""
        configs.append(config)
        model = recipe.build_model(config)
        model.compile(balancing=methods[config.method]())
        Path(config.workdir).mkdir(parents=True)
        model.save(Path(config.workdir) / "model.keras")
        score = 0.8 + 0.1 * (config.method == "pcgrad") - 0.01 * config.seed
        return {
            "test": {name: {"accuracy": score} for name in model.task_names},
            "directions": evaluation.directions(model),
            "cost": {"step_ms": 30.0},
        }

    monkeypatch.setattr(recipe, "train", train)
    config = recipe.Config(
        compare=True, seeds=(0, 1), method="dwa", workdir=str(tmp_path / "study")
    )
    metrics = recipe.run(config)
    assert [(c.seed, c.method, c.single_task) for c in configs] == [
        (seed, method, task)
        for seed in (0, 1)
        for method, task in (
            ("equal", ""),
            ("equal", "left"),
            ("equal", "right"),
            ("pcgrad", ""),
            ("dwa", ""),
        )
    ]
    assert list(metrics["variants"]) == ["pcgrad", "dwa"]
    assert metrics["variants"]["pcgrad"]["delta_m"]["per_task"]["mean"] == (
        pytest.approx(50 * (0.1 / 0.8 + 0.1 / 0.79))
    )
    assert metrics["cost"]["step_ms"]["single_task"]["mean"] == 60
    assert 0.4 < metrics["cost"]["parameters"]["ratio"] < 0.6


def test_multi_mnist_knows_no_other_method():
    recipe = load("multi_mnist_balancing")
    with pytest.raises(ValueError, match=r"equal, .*pcgrad.*Received: 'sum'"):
        recipe.run(recipe.Config(method="sum"))


@pytest.mark.parametrize(
    "changes",
    [{}, {"structure": "ple"}, {"structure": "dselect_k"}, {"single_task": "income"}],
)
def test_adult_gives_a_study_what_it_needs(real_data, tmp_path, changes):
    recipe, folder = load("adult_mmoe"), real_data("adult")
    config = recipe.Config(
        tiny=True, data_dir=str(folder), workdir=str(tmp_path), **changes
    )
    result = recipe.run(config)
    tasks = [t for t in recipe.TASKS if config.single_task in ("", t)]
    assert_documented_form(result["test"], result["directions"], tasks)
    model = mtl.load(tmp_path / "model.keras", compile=True)
    assert_close(recipe.evaluate(model, config), result["test"])


def test_adult_has_a_step_for_each_value_and_knows_no_other_structure(real_data):
    recipe, folder = load("adult_mmoe"), real_data("adult")
    config = recipe.Config(data_dir=str(folder))
    row = np.array([[17, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]], "float32")  # the least
    first, second = (
        recipe.columns(config)(row + year).numpy() for year in (0, [1] + 10 * [0])
    )
    assert first.sum() == len(adult.CATEGORIES) and second.sum() - first.sum() == 1
    with pytest.raises(ValueError, match=r"mmoe, .*ple.*Received: 'sum'"):
        recipe.build_model(recipe.Config(structure="sum"))


@pytest.mark.parametrize(
    "changes",
    [{}, {"structure": "hard_sharing"}, {"single_task": "sr_p53"}],
)
def test_tox21_gives_a_study_what_it_needs(real_data, tmp_path, changes):
    recipe, folder = load("tox21_adaptive_sharing"), real_data("tox21")
    config = recipe.Config(
        tiny=True,
        data_dir=str(folder),
        workdir=str(tmp_path),
        grams=64,
        units=(8, 6),
        **changes,
    )
    result = recipe.run(config)
    tasks = [t for t in recipe.TASKS if config.single_task in ("", t)]
    assert_documented_form(result["test"], result["directions"], tasks)
    model = mtl.load(tmp_path / "model.keras", compile=True)
    assert_close(recipe.evaluate(model, config), result["test"])
    learned = not changes
    assert (tmp_path / "sharing.png").exists() == learned
    assert bool(result["groups"]) == learned
    if learned:  # half as wide
        assert model.whole.stages["layer_1"].layers[0].units == 4


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A tiny text encoder as a preset of KerasHub."""
    folder = tmp_path_factory.mktemp("preset")
    tiny_text.backbone(positions=128).save_to_preset(str(folder))
    tiny_text.tokenizer().save_to_preset(str(folder))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "archives"),
    [
        ("sentiment_ner", ["sentence_polarity", "btc", "gum", "wnut17"]),
        ("sst2_conll2003", ["sst", "conll2003"]),
        ("nlu_eval", ["nlu_eval"]),
    ],
)
def test_texts_train_and_are_measured(real_data, preset, name, archives):
    (folder,) = {real_data(archive) for archive in archives}
    recipe = load(name)
    # The preset has two layers.
    options = {"word_layer": 1} if hasattr(recipe.Config, "word_layer") else {}
    config = recipe.Config(tiny=True, data_dir=str(folder), preset=preset, **options)
    model = recipe.build_model(config)
    sets = recipe.load("train", config)
    rows = text_batches.training_batches(
        sets,
        model.trunk.prepare,
        batch_size=16,
        seed=0,
        sampling=sampling.Uniform(),
        mixed=True,  # labels for every task in the one batch
    )
    one_step(recipe, config, rows)
    assert model.task_names == recipe.TASKS
    alone = recipe.build_model(
        recipe.Config(single_task=recipe.TASKS[-1], preset=preset, **options)
    )
    assert alone.task_names == (recipe.TASKS[-1],)


@pytest.mark.parametrize(
    ("name", "changes", "architecture"),
    [
        ("joint_many_task", {}, "JointManyTask"),
        ("joint_many_task", {"trunk": "bilstm"}, "JointManyTask"),
        ("joint_many_task", {"single_task": "relatedness"}, "HardSharing"),
        ("joint_many_task_open", {}, "JointManyTask"),
        ("joint_many_task_open", {"architecture": "flat"}, "HardSharing"),
        ("joint_many_task_open", {"single_task": "parse"}, "HardSharing"),
    ],
)
def test_joint_many_task_trains_and_is_measured(
    real_data, preset, name, changes, architecture
):
    recipe = load(name)
    (folder,) = {real_data(archive) for archive in recipe.LABELS}
    config = recipe.Config(tiny=True, data_dir=str(folder), preset=preset, **changes)
    rows = text_batches.training_batches(
        recipe.load("train", config),
        recipe.word_pieces(recipe.build_model(config)),
        batch_size=16,
        seed=0,
        sampling=sampling.Uniform(),
        mixed=True,
    )
    model = one_step(recipe, config, rows)
    assert type(model) is getattr(mtl.architectures, architecture)
    assert model.task_names == tuple(
        task for task in recipe.TASKS if config.single_task in ("", task)
    )


def test_joint_many_task_in_turns_gives_a_study_what_it_needs(
    real_data, preset, tmp_path
):
    (folder,) = {real_data(archive) for archive in ("ud_ewt", "conll2000", "sick")}
    recipe = load("joint_many_task")
    config = recipe.Config(
        tiny=True,
        data_dir=str(folder),
        preset=preset,
        workdir=str(tmp_path),
        order="successive",
        turns=1,
    )
    result = recipe.run(config)
    assert_documented_form(result["test"], result["directions"], recipe.TASKS)
    cost = result["cost"]
    assert cost["forgotten"] == sum(cost[f"forgotten_{t}"] for t in recipe.TASKS)
    model = mtl.load(tmp_path / "model.keras", compile=True)
    assert_close(recipe.evaluate(model, config), result["test"])
    again = recipe.run(config)  # a finished run is read back
    assert again["cost"] == cost
    decoded = model.predict_tasks(["Jane saw the film .", "Go !"])["parse"]
    for heads in np.asarray(decoded["heads"]):
        assert is_tree(heads[heads >= 0])


@pytest.mark.parametrize("changes", [{}, {"single_task": "sentiment"}])
def test_amazon_dann_gives_a_study_what_it_needs(real_data, tmp_path, changes):
    folder = str(real_data("amazon4_svmlight"))
    recipe = load("amazon_dann")
    config = recipe.Config(
        tiny=True, data_dir=folder, workdir=str(tmp_path / "run"), **changes
    )
    result = recipe.run(config)
    assert_documented_form(result["test"], result["directions"], recipe.TASKS)
    assert 0 <= result["cost"]["domain_accuracy"] <= 1
    model = mtl.load(tmp_path / "run" / "model.keras", compile=True)
    assert model.main_tasks == ("sentiment",)
    assert_close(recipe.evaluate(model, config), result["test"])


def test_amazon_dann_knows_no_label_of_the_target(real_data):
    folder = str(real_data("amazon4_svmlight"))
    recipe = load("amazon_dann")
    config = recipe.Config(source="kitchen", target="books", data_dir=folder)
    inputs, labels, weights = recipe.training_rows(config)
    of_target = labels["domain"] == 1
    assert of_target.sum() == 2000 and (~of_target).sum() == 1800
    assert not np.any(weights["sentiment"][of_target])
    assert not np.any(labels["sentiment"][of_target])
    assert np.all(weights["domain"] == 1) and np.all(weights["sentiment"][~of_target])
    held_out, _ = recipe.reviews("validation", config)
    assert inputs.shape == (3800, 5000) and held_out.shape == (200, 5000)
    np.testing.assert_allclose(np.linalg.norm(inputs, axis=1), 1.0, rtol=1e-5)


def test_amazon_dann_measures_how_far_domains_are_apart():
    recipe = load("amazon_dann")
    rng = np.random.default_rng(0)

    def domains(shift):
        return [rng.normal(size=(n, 3)) + shift * k for k, n in enumerate((900, 300))]

    assert recipe.separation(domains(9.0), domains(9.0)) == 1.0
    assert abs(recipe.separation(domains(0.0), domains(0.0)) - 0.5) < 0.06
