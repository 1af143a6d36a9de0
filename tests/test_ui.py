"""MLflow's interface and the report, used as a person does: a headless browser opens, sorts, filters, compares, draws.

`make screenshots` does the same to the last run's own record and report, and keeps the pictures in docs/.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Locator, Page, expect, sync_playwright

import finished_run
import mlflow_warnings
from cinevox.files import io
from cinevox.outlets import report, tracking
from cinevox.project import params as params_module
from cinevox.project.paths import Paths
from cinevox.scoring import row_results
from conftest import ROOT
from test_report import sources_of

pytestmark = [
    pytest.mark.slow,
    *mlflow_warnings.IGNORED,
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OFFLINE = (  # a browser that asks nobody but the page's server; no sandbox: in containers it is run as root
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class Site:
    """What is looked at: a run's folder and results, and the addresses of its tracks in MLflow's interface."""

    paths: Paths
    rows: dict[str, row_results.Result]
    addresses: dict[str, str]

    def mini(self) -> dict[str, row_results.Result]:
        return {name: result for name, result in self.rows.items() if result.row.track == "mini"}


@pytest.fixture(scope="module")
def pictures(request, tmp_path_factory):
    """The folder that screenshots go to."""
    folder = request.config.getoption("--screenshots")
    return Path(folder).resolve() if folder else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def site(request, tmp_path_factory, new_record):
    if request.config.getoption("--screenshots"):
        paths = Paths(Path.cwd())
        settings = params_module.load(paths.params)
    else:
        paths = Paths(tmp_path_factory.mktemp("ui"))
        finished_run.make(paths.root, transfer=True)
        new_record(paths.root)
        document = yaml.safe_load(paths.params.read_text())
        document["tracking"]["uri"] = "sqlite:///mlflow.db"
        paths.params.write_text(yaml.safe_dump(document, sort_keys=False))
        settings = params_module.load(paths.params)
    rows = {result.name: result for result in row_results.read(paths, settings.experiments.rows)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(paths.root)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
            patch.delenv(name, raising=False)
        if not request.config.getoption("--screenshots"):
            sources = sources_of(paths.root, settings)
            page, drawings = report.render(sources)
            io.write_json(paths.report / "results.json", report.drawn(sources))
            (io.folder(paths.report) / "index.html").write_text(page)
            for name, drawing in drawings.items():
                (io.folder(paths.report / "figures") / f"{name}.svg").write_text(drawing)
            tracking.sync(tracking.gather(paths, settings), settings.tracking.uri)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "cinevox.cli", "ui", "--port", str(port)]
        with (tmp_path_factory.mktemp("log") / "ui.log").open("w+") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                _wait(f"http://127.0.0.1:{port}/health", process, log)
                log.seek(0)
                found = re.findall(rf"^{settings.tracking.experiment}-(\w+): (http\S+)", log.read(), re.M)
                yield Site(paths, rows, dict(found))
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)


def _wait(address, process, log):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    log.seek(0)
    pytest.fail(f"`cinevox ui` does not answer:\n{log.read()[-3000:]}")


@pytest.fixture(scope="module")
def browser():
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        message = f"no browser: one of {', '.join(BROWSERS)} (Debian, Ubuntu: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=OFFLINE)
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page of its own; whatever it asks of another host, or fails in, is a failure of the test."""
    opened = browser.new_page(viewport={"width": 1680, "height": 1000})
    opened.set_default_timeout(PATIENCE_MS)
    faults = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda request: _is_foreign(request.url) and faults.append(request.url))
    yield opened
    opened.close()
    assert not faults


def _is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:"))


@pytest.fixture
def runs(page, site):
    """The runs table of the mini track, as `cinevox ui` says it opens."""
    page.goto(site.addresses["mini"])
    first = next(iter(site.mini()))
    page.get_by_role("link", name=first, exact=True).wait_for()
    assistant = page.get_by_role("button", name="Close", exact=True)
    if assistant.count():
        assistant.click()
    return page


def _table(page: Page) -> list[str]:
    """Names of the runs in the table, in the order shown; read at once, as the interface may redraw at any time."""
    shown = page.evaluate(
        """() => [...document.querySelectorAll(".ag-row[row-index]")].map(
            row => [Number(row.getAttribute("row-index")), row.querySelector("a[href]")?.innerText])"""
    )
    return [name for _, name in sorted((index, name) for index, name in shown if name)]


def _by(site: Site, metric: str) -> list[str]:
    """Rows of the mini track by their score, or that of an ROI; best first."""

    def value(name: str) -> float:
        scores = site.rows[name].scores
        return scores.score if metric == "score" else scores.rois[metric].normalized_correlation

    return sorted(site.mini(), key=value, reverse=True)


def _search(page: Page, query: str) -> None:
    page.get_by_test_id("search-box").fill(query)
    page.keyboard.press("Enter")


def _until(read, expected) -> None:
    """The interface redraws when it has the server's answer."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == expected


def _cells(page: Page, name: str) -> Locator:
    index = page.locator(".ag-row[row-index]", has=page.get_by_role("link", name=name, exact=True)).first
    return page.locator(f'.ag-row[row-index="{index.get_attribute("row-index")}"]')


def test_ci_looks_for_the_same_browsers():
    assert f"for name in {' '.join(BROWSERS)}; do" in (ROOT / ".ci/browser").read_text()


def test_the_runs_table_opens_with_its_metric_columns_best_row_first(runs, site, pictures):
    _until(lambda: _table(runs), _by(site, "score"))
    for name in ("score", "V1.normalized_correlation", "V2.normalized_correlation"):
        expect(runs.get_by_test_id(f"sort-header-{name}")).to_be_visible()
    best = _by(site, "score")[0]
    shown = _cells(runs, best).locator('[col-id="metrics.`score`"]').inner_text()
    assert float(shown) == pytest.approx(site.rows[best].scores.score)
    runs.screenshot(path=pictures / "mlflow-runs.png")


def test_a_click_on_a_column_sorts_by_it(runs, site):
    header = runs.get_by_test_id("sort-header-V1.normalized_correlation")
    header.click()
    _until(lambda: _table(runs), _by(site, "V1"))
    header.click()
    _until(lambda: _table(runs), _by(site, "V1")[::-1])


def test_a_search_as_people_type_it_filters_the_table(runs, site, pictures):
    names = _by(site, "V1")
    kept = names[: len(names) // 2]
    v1 = [site.rows[name].scores.rois["V1"].normalized_correlation for name in names]
    bar = (v1[len(kept) - 1] + v1[len(kept)]) / 2
    _search(runs, f"metrics.\"V1.normalized_correlation\" > {bar:.6f} and tags.level = 'row'")
    _until(lambda: sorted(_table(runs)), sorted(kept))
    networks = {name: " + ".join(site.rows[name].index.networks) for name in kept}
    network = networks[kept[0]]
    _search(runs, f'metrics."V1.normalized_correlation" > {bar:.6f} and params.network = "{network}"')
    expected = {name for name in kept if networks[name] == network}
    _until(lambda: {name for name in _table(runs) if name in site.rows}, expected)
    runs.screenshot(path=pictures / "mlflow-search.png")


def test_two_rows_are_compared(runs, site, pictures):
    pair = _by(site, "score")[:2]
    for name in pair:
        _cells(runs, name).locator("input[type=checkbox]").first.check()
    runs.get_by_role("button", name="Compare").click()
    expect(runs.get_by_role("heading", name="Comparing 2 Runs from 1 Experiment")).to_be_visible()
    for name in pair:
        expect(runs.get_by_text(name, exact=True).first).to_be_visible()
    runs.get_by_role("tab", name="Scatter Plot").click()
    titles = [runs.locator(f"text.{axis}title:visible") for axis in "xy"]
    expect(titles[0]).to_be_visible()  # what is chosen before it is drawn is forgotten
    for label, metric, title in zip(("X-axis:", "Y-axis:"), ("score", "V1.normalized_correlation"), titles):
        runs.get_by_label(label).click()
        runs.keyboard.type(metric)
        runs.get_by_role("option", name=metric, exact=True).click()
        expect(title).to_have_text(metric)
    runs.screenshot(path=pictures / "mlflow-compare.png", full_page=True)


def test_a_row_says_what_it_is_and_keeps_its_tables_and_figures(runs, site, pictures):
    name = _by(site, "score")[0]
    runs.get_by_role("link", name=name, exact=True).click()
    expect(runs.get_by_role("heading", name=name)).to_be_visible()
    expect(runs.get_by_text(f"{site.rows[name].scores.score:.3f}").first).to_be_visible()
    runs.screenshot(path=pictures / "mlflow-row.png")
    runs.get_by_role("tab", name="Artifacts").click()
    runs.get_by_text("scores.csv").click()
    expect(runs.get_by_role("cell", name="V1", exact=True).first).to_be_visible()
    runs.get_by_text("figures").click()
    runs.get_by_text(f"scores-{name}.svg").click()
    expect(runs.locator("img[src], svg").last).to_be_visible()


def test_the_report_is_one_page_without_a_fault(page, site, pictures):
    page.goto((site.paths.report / "index.html").resolve().as_uri())
    best = _by(site, "score")[0]
    expect(page.get_by_text(best, exact=True).first).to_be_visible()
    for link in page.locator('a[href^="#"]').all():
        target = link.get_attribute("href")
        assert page.locator(f'[id="{target[1:]}"]').count() == 1, target
    page.screenshot(path=pictures / "report.png")


@pytest.mark.parametrize("width", [1680, 900])
def test_the_report_fits_its_window(page, site, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((site.paths.report / "index.html").resolve().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
