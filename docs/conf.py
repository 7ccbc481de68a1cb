"""The site: the notebooks as they are stored, with their outputs, and the pages of this folder. `make site` builds it.

Nothing is executed. Which notebooks there are is found out here, so that a new one needs no entry anywhere.
"""

import re
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from api_pages import write_api  # noqa: E402
from map_page import write_map  # noqa: E402

NOTEBOOKS = HERE / "notebooks"  # copies, made at every build; git ignores them

project = "Policy gradients, executed"
author = "The policy-gradients authors"
copyright = "the policy-gradients authors. Code: Apache-2.0; text of the shipped data: CC BY-SA 4.0"
language = "en"

extensions = ["myst_nb"]
exclude_patterns = ["_build", "_extra", "**/.ipynb_checkpoints"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_number_source_lines = False

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_extra_path = ["_extra"]  # holds the map's pictures, made at every build
html_css_files = ["course.css"]
html_js_files = ["search.js"]
html_search_scorer = str(HERE / "scorer.js")
html_theme_options = {"navbar_persistent": [], "show_toc_level": 2, "use_download_button": True}
html_copy_source = True  # of a notebook, so that it can be downloaded
pygments_style = "default"


def with_alt_text(notebook):
    """The pictures' alt texts, which each output carries with it, where the site builder looks for them."""
    for cell in notebook.cells:
        alts = [o.get("metadata", {}).get("image/png", {}).get("alt") for o in cell.get("outputs", [])]
        if alts := [alt for alt in alts if alt]:
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(alts)}}
    return notebook


def with_folded_answers(notebook):
    """What the cell after a prediction put on the page would give its answer away: it opens at a click."""
    asked = False
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if asked and cell.get("outputs"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-output"]
            asked = False
        asked = asked or re.search(r"^ask\(", cell.source, re.MULTILINE) is not None
    return notebook


def with_links_of_the_site(notebook):
    """A notebook lies beside docs/ in the repository, and inside it in the site: ../docs/x.md becomes ../x.md."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../docs/", "](../")
    return notebook


def for_the_site(notebook):
    return with_links_of_the_site(with_folded_answers(with_alt_text(notebook)))


def copy_notebooks(source: Path) -> None:
    NOTEBOOKS.mkdir(exist_ok=True)
    found = {path.name: path for path in source.glob("*.ipynb")}
    if not found:
        sys.exit(f"{source} holds no notebooks")
    for stale in {path.name for path in NOTEBOOKS.iterdir()} - found.keys():
        (NOTEBOOKS / stale).unlink()
    for name, path in found.items():
        text = nbformat.writes(for_the_site(nbformat.read(path, as_version=4)))
        copy = NOTEBOOKS / name
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:  # Sphinx builds again what is newer
            copy.write_text(text, encoding="utf-8")


copy_notebooks(HERE.parent / "notebooks")
write_map(HERE.parent / "notebooks", HERE / "_extra" / "_map")
write_api(HERE.parent / "src" / "policy_gradients" / "estimators", HERE / "api")
