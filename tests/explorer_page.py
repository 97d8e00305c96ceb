"""The built explorer in a browser, for the tests of several files."""

import fcntl
import functools
import http.server
import shutil
import sys
import threading

import pytest
from conftest import ROOT
from exported import export_once, live_once, shared_folder
from playwright.sync_api import sync_playwright

from tools import networks

sys.path.insert(0, str(ROOT / "site"))
import build_explorer
import explorer_files

BROWSERS = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
PATIENCE = 120_000  # milliseconds, for a machine that is busy with other tests

MARKS = [
    # One worker builds the page and starts the browser.
    pytest.mark.xdist_group("explorer"),
    pytest.mark.usefixtures("no_faults"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        not build_explorer.RUNTIME.exists(), reason="no ONNX Runtime Web: run npm ci in site/"
    ),
]


class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built explorer, which the workers of this run share."""
    root = shared_folder(tmp_path_factory)
    for name in networks.PRETRAINED:
        if any(explorer_files.made_by(name, file) for file in build_explorer.every_model()):
            export_once(name, root)
    live_once(root)
    folder = root / "explorer"
    with (root / "explorer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            build_explorer.build(folder, exported=root / "onnx")
    return folder


@pytest.fixture(scope="session")
def address(site):
    handler = functools.partial(Server, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def no_faults(request):
    """Fails a test whose page reported an error or a foreign request."""
    page = request.getfixturevalue("page") if "page" in request.fixturenames else None
    yield
    assert page is None or page.faults == []


def open_page(browser, address, width=1280, scheme="light", search="", **options):
    """Opens the page; page.faults gets console errors, failed and foreign requests."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
        **options,
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.faults = []

    def request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            page.faults.append(f"foreign request {request.url}")

    page.on("console", lambda m: m.type in ("error", "warning") and page.faults.append(m.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("requestfailed", lambda r: page.faults.append(f"failed {r.url}"))
    page.on("request", request)
    page.goto(address + search)
    return page


def start_panel(page, name):
    """Starts a panel as a reader does, and waits until it runs."""
    page.locator(f"#{name} .load").click()
    page.wait_for_selector(f"#{name}[data-state=ready]")
