"""A real browser on a real JupyterLab, for copies of the notebooks in a temporary folder.

Needs playwright and jupyterlab (the extra `browser`) and a Chromium of the system: `apt-get install chromium`. Without
them the tests are skipped. Nothing but this machine is asked for anything.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds for anything but running cells: a busy machine is no failure
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
ERROR = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # else what is off the screen is not on the page
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
}
# Whenever the output of a code cell that holds a picture changes its height, the new one is noted: a page that jumps
# leaves two. (An observer, since measuring in every frame would take a processor of its own.)
WATCH = """() => {
  window.heights = {};
  const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
  const areas = cells.map(cell => cell.querySelector('.jp-OutputArea'));
  const observer = new ResizeObserver(changes => changes.forEach(({target}) => {
    if (target.querySelector('img'))
      (window.heights[areas.indexOf(target)] ??= new Set()).add(Math.round(target.getBoundingClientRect().height));
  }));
  areas.forEach(area => observer.observe(area));
}"""

DRAWING = """area => [...area.querySelectorAll('img, .jp-RenderedHTMLCommon')].map(e => e.src || e.innerText).join()"""


def local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", None)  # None: data: and blob:


class Page:
    """One notebook in JupyterLab; cells are counted among the code cells, from 0."""

    def __init__(self, tab, address: str):
        self.tab = tab
        tab.goto(address)
        tab.wait_for_selector(".jp-Notebook .jp-CodeCell")
        # the indicator is idle before there is a kernel, and a command that comes too early opens a dialog
        session = "window.jupyterapp.shell.currentWidget?.sessionContext?.session"
        tab.wait_for_function(f"{session}?.kernel?.connectionStatus === 'connected'", timeout=1000 * PATIENCE)
        self.wait_idle(PATIENCE)

    def wait_idle(self, seconds: float) -> None:
        self.tab.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=1000 * seconds)

    def command(self, name: str, seconds: float = PATIENCE, **arguments) -> None:
        """Execute a command of JupyterLab and wait until it is done, which for running cells means: until they ran."""
        self.tab.evaluate(
            """([name, args]) => { window.done = false;
            window.jupyterapp.commands.execute(name, args).finally(() => { window.done = true; }); }""",
            [name, arguments],
        )
        self.tab.wait_for_function("window.done", timeout=1000 * seconds)

    def run_all(self, seconds: float) -> dict[int, list[int]]:
        """Run all cells from a clean page; for each with a picture, the heights that its output had."""
        self.command("notebook:clear-all-cell-outputs")
        self.tab.evaluate(WATCH)
        self.command("notebook:run-all-cells", seconds)
        self.wait_idle(seconds)
        heights = self.tab.evaluate("Object.entries(window.heights).map(([i, seen]) => [Number(i), [...seen]])")
        return dict(heights)

    def run_to(self, number: int, seconds: float) -> None:
        """Run the cells above one."""
        self.cell(number).locator(".cm-content").click()
        self.command("notebook:run-all-above", seconds)
        self.wait_idle(seconds)

    def cell(self, number: int):
        return self.tab.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def execute(self, number: int, source: str | None = None) -> None:
        """Run one cell as a learner does: click into it, type if there is a source, Shift+Enter."""
        self.cell(number).locator(".cm-content").click()
        if source is not None:
            self.tab.keyboard.press("Control+a")
            self.tab.keyboard.insert_text(source)
        self.tab.keyboard.press("Shift+Enter")

    def move_controls(self, number: int, seconds: float = PATIENCE) -> int:
        """Move every slider of a cell, from the keyboard, and choose another line of every menu; returns how many.

        Each has to change the drawing.
        """
        cell = self.cell(number)
        handles, menus = cell.locator(".noUi-handle"), cell.locator("select")
        for handle in handles.all():
            value = handle.get_attribute("aria-valuenow")
            before = self.drawing(number)
            handle.focus()
            self.tab.keyboard.press("End" if value != handle.get_attribute("aria-valuemax") else "Home")
            self._drawn_anew(number, before, seconds)
        for menu in menus.all():
            before = self.drawing(number)
            menu.select_option(index=(menu.evaluate("menu => menu.selectedIndex") + 1) % menu.locator("option").count())
            self._drawn_anew(number, before, seconds)
        return handles.count() + menus.count()

    def drawing(self, number: int) -> str:
        """What the output of a cell shows, pictures and words."""
        return self.cell(number).locator(".jp-OutputArea").first.evaluate(DRAWING)

    def _drawn_anew(self, number: int, before: str, seconds: float) -> None:
        area = self.cell(number).locator(".jp-OutputArea").first.element_handle()
        changed = f"([area, before]) => ({DRAWING})(area) !== before"
        self.tab.wait_for_function(changed, arg=[area, before], timeout=1000 * seconds)

    def mute_pictures(self) -> int:
        """How many pictures in outputs have no alt text."""
        return self.tab.locator(".jp-OutputArea-output img:not([alt])").count()

    def errors(self) -> list[str]:
        return self.tab.locator(ERROR).all_inner_texts()

    def dark(self, dark: bool) -> None:
        self.command("apputils:change-theme", theme=f"JupyterLab {'Dark' if dark else 'Light'}")
        self.tab.wait_for_selector("#jupyterlab-splash", state="detached")  # it covers the page while a theme loads


def _chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")  # not longer: while playwright is there, no other test could use asyncio
def browser():
    """Chromium, headless."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[browser]")
    if (path := _chromium()) is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH, and CHROMIUM names none")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's own sandbox does not start for root
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *["--no-sandbox"] * root])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own, without anybody's settings: (its address, its folder)."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed: pip install -e .[browser]")
    home, course = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("course")
    root = course / "notebooks"
    root.mkdir()
    shutil.copytree(ROOT / "results", course / "results")  # beside the notebooks, as in a checkout
    for name, settings in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.password": "",
        "ServerApp.disable_check_xsrf": True,  # else `opened` could not end its kernels
        "ServerApp.root_dir": root,
        "IdentityProvider.token": "",
        "LabApp.expose_app_in_browser": True,
    }
    places = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "IPYTHONDIR": str(home / "ipython")}
    places["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    places["POLICY_GRADIENTS_PROGRESS"] = str(home / "progress.json")
    with open(home / "log.txt", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *(f"--{key}={value}" for key, value in options.items())],
            env=os.environ | places,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(f"{address}/api/status", server, home / "log.txt")
            yield address, root
        finally:
            server.terminate()  # its kernels with it
            server.wait(60)


def _wait(url: str, server: subprocess.Popen, log: Path, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.2)


@pytest.fixture
def arrived(browser):
    """Go to an address as JupyterLab says it: arrived(url) -> Page."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(1000 * PATIENCE)
    context.route("**/*", lambda route: route.continue_() if local(route.request.url) else route.abort())
    yield lambda url: Page(context.new_page(), url)
    context.close()


@pytest.fixture
def opened(browser, lab):
    """Open a notebook file in a tab of its own: opened(path) -> Page. Its kernel ends with the test."""
    address, root = lab
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(1000 * PATIENCE)
    # loopback only: what a notebook's page would fetch elsewhere (a badge) is refused
    context.route("**/*", lambda route: route.continue_() if local(route.request.url) else route.abort())

    def open_one(path: Path) -> Page:
        shutil.copy(path, root)
        return Page(context.new_page(), f"{address}/lab/tree/{path.name}?reset")

    yield open_one
    for session in context.request.get(f"{address}/api/sessions").json():
        assert context.request.delete(f"{address}/api/sessions/{session['id']}").ok, "its kernel goes on"
    context.close()
