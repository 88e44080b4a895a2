"""Settings of the site: ``sphinx-build -W docs site``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import make_api_pages

import mlff_core

project = "mlff-hub"
author = "mlff-hub developers"
version = release = mlff_core.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "index"
# README.md is the list of pages for readers of the repository; the site has index.md.
exclude_patterns = ["README.md"]

html_theme = "furo"
html_title = f"mlff-hub {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 3
# Blocks without a language are output, input files and formulas.
highlight_language = "none"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
# torch's ``device`` in a signature would be ambiguous between our attributes of that name.
suppress_warnings = ["ref.python"]
napoleon_google_docstring = False
napoleon_use_rtype = False
# Attributes as a list, since some of them have an entry of their own too.
napoleon_use_ivar = True

# Written at each build and not kept in git: the list of public names is in the code.
make_api_pages.write(Path(__file__).parent / "api")
