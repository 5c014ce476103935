"""The public names, so that a change of them is a visible one."""

import subprocess
import sys

import pytest

import mtl_zoo as mtl

PUBLIC = [
    "data",
    "Task",
    "trunks",
    "MultiTaskModel",
    "architectures",
    "priors",
    "heads",
    "losses",
    "auxiliary",
    "balancing",
    "training",
    "evaluation",
    "export",
    "zoo",
    "list_models",
    "show",
    "load",
]

SUBPACKAGES = [
    n for n in PUBLIC if n.islower() and n not in ("list_models", "show", "load")
]


def test_public_names_are_the_agreed_ones_in_dataflow_order():
    assert mtl.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves(name):
    assert getattr(mtl, name) is getattr(mtl, name)
    assert name in dir(mtl)


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_every_name_of_a_subpackage_resolves(name):
    subpackage = getattr(mtl, name)
    assert subpackage.__name__ == f"mtl_zoo.{name}"
    assert subpackage.__doc__
    for public in getattr(subpackage, "__all__", ()):
        assert getattr(subpackage, public) is not None


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_public_classes_and_functions_are_documented(name):
    subpackage = getattr(mtl, name)
    for public in getattr(subpackage, "__all__", ()):
        thing = getattr(subpackage, public)
        if callable(thing):
            assert thing.__doc__, f"{name}.{public} has no docstring"


def test_unknown_name_is_an_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match=r"'balanceing'.*balancing"):
        _ = mtl.balanceing


def test_listing_models_loads_no_tensorflow():
    code = (
        "import sys, mtl_zoo as mtl; mtl.list_models(); mtl.show; "
        "print(*{'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
