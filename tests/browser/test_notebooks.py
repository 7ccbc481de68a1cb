"""Each notebook as a learner has it, in JupyterLab: run, its widgets moved, an exercise answered wrongly and rightly.

Screenshots are left in pytest's temporary folder; `--basetemp DIR` says where that is.
"""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import nbformat
import pytest

from policy_gradients.course.exercises.declare import Exercise, exercises_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPORT = ROOT / "results" / "tiny" / "seed-0" / "report.json"
WIDGET = re.compile(r"^\w+_(board|browser|explorer)\(", re.MULTILINE)  # with sliders: not the twin that `show` draws
MINUTES = 10  # for all cells of one notebook, on a busy machine


def code_cells(path: Path) -> tuple[list[str], int]:
    """Their sources, and how many of them are meant to fail."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [cell.source for cell in cells], sum("raises-exception" in cell.metadata.get("tags", []) for cell in cells)


def mistaken(entry: Exercise) -> tuple[str, str]:
    """Its first planted mistake that is a lambda, as a learner would type it: (what is said of it, cell)."""
    declared = ast.parse(textwrap.dedent(inspect.getsource(entry.answer))).body[0].decorator_list[0]
    planted = next(keyword.value for keyword in declared.keywords if keyword.arg == "mistakes")
    pairs = zip(planted.keys, planted.values, strict=True)
    message, mistake = next(pair for pair in pairs if isinstance(pair[1], ast.Lambda))
    cell = f"def {entry.name}({ast.unparse(mistake.args)}):\n    return {ast.unparse(mistake.body)}"
    needed = what_it_needs(mistake, vars(inspect.getmodule(entry.answer)), {})
    return ast.literal_eval(message), "\n\n".join([*needed.values(), cell])


def what_it_needs(node: ast.AST, space: dict, found: dict[str, str]) -> dict[str, str]:
    """Of the file that an expression stands in: the source of each global name it uses, in an order that runs."""
    for name in [node.id for node in ast.walk(node) if isinstance(node, ast.Name)]:
        if name in found or name not in space:
            continue
        value = space[name]
        if inspect.ismodule(value):
            found[name] = f"import {value.__name__} as {name}"
        elif inspect.isfunction(value) and value.__module__ == space["__name__"]:
            source = inspect.getsource(value)
            found[name] = ""  # it may call itself
            what_it_needs(ast.parse(source), space, found)
            found[name] = found.pop(name) or source
        elif callable(value):
            found[name] = f"from {value.__module__} import {value.__name__} as {name}"
        else:
            found[name] = f"{name} = {value!r}"
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_exercise_answers(path: Path, opened, tmp_path):
    page, (sources, failing) = opened(path), code_cells(path)
    assert len(page.errors()) == failing, "as stored"
    heights = page.run_all(60 * MINUTES)
    jumps = {sources[n]: seen for n, seen in heights.items() if "LivePlot(" in sources[n] and len(seen) > 1}
    assert not jumps, "the page jumps while these cells draw"
    assert heights and not page.mute_pictures(), "a picture without alt text"
    for number, source in enumerate(sources):
        if WIDGET.search(source):
            assert page.move_controls(number), f"no controls under\n{source}"
            page.cell(number).screenshot(path=tmp_path / f"moved-{number}.png")
    assert len(page.errors()) == failing, page.errors()

    entry = exercises_of(path.stem)[0]
    blank = sources.index(entry.blank)
    check = next(number for number, source in enumerate(sources) if f"{entry.name} = check(" in source)
    message, wrong = mistaken(entry)
    said = page.cell(check).locator("[role=status]")
    for outcome, typed in [("incorrect", wrong), ("correct", entry.solved)]:
        page.execute(blank, typed)
        page.execute(check)
        said.locator("strong").get_by_text(f": {outcome}").wait_for(timeout=60_000 * MINUTES)
        page.cell(check).screenshot(path=tmp_path / f"{outcome}.png")
        marks = str.maketrans("", "", "`*")
        assert (message.translate(marks) in said.inner_text().translate(marks)) == (outcome == "incorrect")
    assert "1 of" in said.inner_text(), "progress is kept"


WIDGETS = [
    "from policy_gradients.course.widgets.bandit import bandit_board\n\nbandit_board()",
    "from policy_gradients.course.widgets.baselines import baseline_explorer\n\nbaseline_explorer()",
    "from policy_gradients.course.widgets.credit import credit_explorer\n\ncredit_explorer(method='critic')",
    "from policy_gradients.course.widgets.divergence import kl_explorer\n\nkl_explorer()",
    "from policy_gradients.course.widgets.silence import silence_explorer\n\n"
    "silence_explorer([60, 63, 64, 64, 66, 80], [True, True, True, False, True, True], 64)",
    "from policy_gradients.course.widgets.frontier import frontier_explorer\n\nfrontier_explorer()",
    "from policy_gradients.course.widgets.temperature import temperature_explorer\n\ntemperature_explorer()",
    "import json\n\n"
    "from policy_gradients.course.widgets.completions import completion_browser\n\n"
    f"report = json.loads(open({str(REPORT)!r}, encoding='utf-8').read())\n"
    "completion_browser(report['completions'])",
]


def test_every_widget_moves_and_the_page_does_not_jump(opened, tmp_path):
    """All of them on one page, since not each has its notebook; light and dark."""
    path = tmp_path / "widgets.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in WIDGETS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    page = opened(path)
    page.run_all(60 * MINUTES)
    assert not page.errors() and not page.mute_pictures()
    for number, controls in enumerate((4, 3, 4, 2, 2, 2, 2, 2)):
        height = page.cell(number).bounding_box()["height"]
        assert page.move_controls(number) == controls
        if page.cell(number).locator("img").count():  # texts have different lengths
            assert page.cell(number).bounding_box()["height"] == height
        for dark in (False, True):
            page.dark(dark)
            page.cell(number).screenshot(path=tmp_path / f"widget-{number}-{'dark' if dark else 'light'}.png")
    assert not page.errors()
