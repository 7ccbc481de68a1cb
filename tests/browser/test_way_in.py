"""The way in and on, as a learner goes it: `make learn`, the first green check, a prediction, the link onward."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from policy_gradients.course.exercises.declare import exercises_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE = 300  # seconds: a busy machine is no failure
ROOT = Path(__file__).parents[2]
FIRST = ROOT / "notebooks" / "01_reinforce_on_a_bandit.ipynb"


def stored_sources(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture
def learn(tmp_path):
    """`make learn` as it stands, in the environment that runs the tests; the address that it says."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    environment = Path(sys.prefix)
    if not (environment / "bin" / "jupyter").exists():
        pytest.skip("not in a virtual environment with JupyterLab")
    options = "--no-browser --port=0 --ServerApp.allow_root=True --LabApp.expose_app_in_browser=True"
    command = ["make", "learn", f"VENV={environment}", "-o", f"{environment}/.learn", f"LAB={options}"]
    places = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"), "IPYTHONDIR": str(tmp_path / "ipython")}
    places |= {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces")}
    places["POLICY_GRADIENTS_PROGRESS"] = str(tmp_path / "progress.json")
    log = tmp_path / "log.txt"
    with open(log, "w", encoding="utf-8") as out:
        server = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | places, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        end = time.monotonic() + PATIENCE
        while not (said := re.findall(r"http://127\.0\.0\.1:\d+/lab\S*", log.read_text(encoding="utf-8"))):
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"make learn gave no address:\n{log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.2)
        yield said[0]
    finally:
        os.killpg(server.pid, 15)  # make, the server, its kernels
        server.wait(60)


def test_make_learn_leads_to_the_first_green_check(arrived, learn, tmp_path):
    """From the address that it says to notebook 01, the cells above its first exercise, and a right answer."""
    start = time.monotonic()
    page = arrived(learn)
    page.tab.screenshot(path=tmp_path / "start.png")
    assert page.tab.evaluate("window.jupyterapp.shell.currentWidget.context.path") == f"notebooks/{FIRST.name}"
    sources, entry = stored_sources(FIRST), exercises_of(FIRST.stem)[0]
    blank = sources.index(entry.blank)
    page.run_to(blank, PATIENCE)
    page.execute(blank, entry.solved)
    check = next(number for number, source in enumerate(sources) if f"{entry.name} = check(" in source)
    page.execute(check)
    page.cell(check).locator("[role=status] strong").get_by_text(": correct").wait_for()
    print(f"from the page to the first green check: {time.monotonic() - start:.0f} s")
    page.tab.screenshot(path=tmp_path / "green.png")


ASKED = [
    "from policy_gradients.course.predict import predict",
    "predict('a number', 'How many?', 4.0, within=0.5, because='Two and two.')",
    "predict('a choice', 'Which way?', 'up', options=['down', 'up'])",
    "predict('a curve', 'Draw it.', [0.0, 1.0], at=[0, 10], between=(0, 1), within=0.2)",
]


def test_a_prediction_commits_before_it_reveals(opened, tmp_path):
    path = tmp_path / "asked.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in ASKED])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    page = opened(path)
    page.command("notebook:run-all-cells", PATIENCE)
    page.wait_idle(PATIENCE)
    for number in (1, 2, 3):
        area = page.cell(number).locator(".jp-OutputArea").first
        area.get_by_role("button", name="Commit, then see").wait_for()
        assert "The answer is" not in area.inner_text()

    number, choice, curve = (page.cell(i).locator(".jp-OutputArea").first for i in (1, 2, 3))
    number.locator("input[type=text]").fill("four")
    number.get_by_role("button").click()
    number.get_by_text("That is no number yet.").wait_for()
    number.locator("input[type=text]").fill("4,2")
    number.get_by_role("button").click()
    number.get_by_text("Predicted: right").wait_for()
    assert "The answer is 4." in number.inner_text() and "Two and two." in number.inner_text()

    choice.get_by_role("button").click()
    choice.get_by_text("Choose one first.").wait_for()
    choice.locator("input[type=radio]").first.check()
    choice.get_by_role("button").click()
    choice.get_by_text("Predicted: not so").wait_for()
    assert "1 of 2 came true" in choice.inner_text()

    assert curve.locator(".noUi-handle").count() == 2
    curve.locator(".noUi-handle").last.focus()
    page.tab.keyboard.press("End")
    curve.get_by_role("button").click()
    curve.get_by_text("Predicted: right").wait_for()
    curve.locator("img").wait_for()
    page.tab.screenshot(path=tmp_path / "predicted.png")

    page.execute(2)  # again: the first guess stands, and there is nothing to send
    choice.get_by_text("You said down.").wait_for()
    assert choice.get_by_role("button").count() == 0
    assert not page.errors()


def test_the_link_onward_opens_the_next_notebook(opened, lab, tmp_path):
    _, root = lab
    for name in ("02_baselines.ipynb",):
        shutil.copy(ROOT / "notebooks" / name, root)
    page = opened(FIRST)
    link = page.tab.locator(".jp-MarkdownCell a[href*='02_baselines']").last
    link.scroll_into_view_if_needed()
    page.tab.screenshot(path=tmp_path / "onward.png")
    link.click()
    page.tab.wait_for_function("window.jupyterapp.shell.currentWidget?.context?.path === '02_baselines.ipynb'")
