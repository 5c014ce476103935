"""Sphinx configuration: `make docs`."""

import re

import mtl_zoo

project = "mtl_zoo"
author = "The mtl_zoo authors"
version = release = mtl_zoo.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
html_theme = "furo"
html_title = f"{project} {version}"
exclude_patterns = ["_build"]

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_custom_sections = [
    ("Call arguments", "params_style"),
    ("Inputs", "returns_style"),
    "Differences from the paper",
    "Differences from the papers",
]
# What Keras says about the methods that we override is in Keras's own documents.
autodoc_inherit_docstrings = False


def _bars(text):
    return text.replace("|", r"\|")


def to_restructured_text(app, what, name, obj, options, lines):
    """Docstrings use Markdown's `code`; and a bar in them is a bar."""
    spans = re.split(r"(?<!`)(`[^`]+`)(?!`)", "\n".join(lines))
    for index, span in enumerate(spans):
        is_code = index % 2 == 1
        spans[index] = f"`{' '.join(span.split())}`" if is_code else _bars(span)
    lines[:] = "".join(spans).split("\n")


def setup(app):
    """Register the above, to run before napoleon does."""
    app.connect("autodoc-process-docstring", to_restructured_text, priority=100)
