"""Sphinx configuration: `make docs`."""

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
# Docstrings are Markdown-flavoured; a single backtick means code.
default_role = "code"
