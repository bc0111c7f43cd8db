"""The page of a run: whole, without network, and its time line works in a browser."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from trace_cases import IMAGES, PLAN, US, image_rows, provenance, run_record, write_ranks, write_run

from mpi_vta.errors import InputError
from mpi_vta.trace import report
from mpi_vta.trace.__main__ import main
from mpi_vta.trace.merge import merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.report import PICTURES, report_html, timeline_data, write_report
from mpi_vta.trace.run import Run


class Page(HTMLParser):
    """Checks that elements are closed in order; keeps tags, links and the data."""

    void = frozenset({"meta", "img", "input", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.data = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        if self.open and self.open[-1][1].get("id") == "run-data":
            self.data += text


@pytest.fixture
def run(tmp_path):
    return Run(read(write_run(tmp_path)))


def test_page_is_whole_and_needs_no_network(run):
    text = report_html(run)
    page = Page(text)
    assert page.tags.count("img") == len(PICTURES)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest", text)
    assert 'name="viewport"' in text


def test_data_of_the_time_line(run):
    data = json.loads(Page(report_html(run, ())).data)
    assert [row["rank"] for row in data["ranks"]] == [0, 1]
    assert [len(row["events"]) for row in data["ranks"]] == [4 * IMAGES, 3 * IMAGES]
    assert data["ranks"][1]["longest_ns"] == 30 * US
    assert data["messages"][0] == [12 * US, 18 * US, 0, 1]
    assert data["stages"] == {"-2": "sink", "-1": "source", "0": "0: a", "1": "1: b..c"}


def test_long_run_is_cut_and_says_so(run, monkeypatch):
    monkeypatch.setattr(report, "MOST_EVENTS", 5)
    data, sentence = timeline_data(run)
    assert sum(len(row["events"]) for row in data["ranks"]) <= 5
    assert sentence == "It holds the first 1.6e-05 s of 0.00014 s."


SCRIPT = "<!--<script>"


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("</script><b>net&", ()),
        (SCRIPT, ()),
        ("$x^\x1b]0;x\x07", ("bottleneck", "cycles", "path", "prediction")),
    ],
)
def test_names_cannot_break_the_page(tmp_path, name, pictures):
    files = write_ranks(tmp_path)
    plan = PLAN.to_json().replace('"a"', json.dumps(name))
    merge(tmp_path / "run.h5", files, run_record(plan, image_rows(), provenance(model=name)))
    run = Run(read(tmp_path / "run.h5"))
    text = report_html(run, pictures)
    page = Page(text)
    assert json.loads(page.data)["stages"]["0"] == f"0: {name}"
    assert page.tags.count("img") == len(pictures)
    if "<" in name:
        assert name not in text


def test_unknown_picture_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="no figure named 'cake'"):
        write_report(run, tmp_path / "page.html", ("cake",))


def test_command_writes_the_page_beside_the_trace(tmp_path, capsys):
    path = write_run(tmp_path)
    assert main(["report", str(path)]) == 0
    assert capsys.readouterr().out == f"written     {tmp_path / 'report.html'}\n"
    Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(params=[(1100, 900), (500, 900)], ids=["desk", "phone"])
def browser(request, tmp_path, run):
    """Open the page in Chromium; the log of the page must stay empty."""
    yield from opened(run, tmp_path, request.param)


@pytest.fixture
def browser_of_odd_names(tmp_path):
    """Open the page of a run whose model and layer have a name that begins a comment and a script."""
    files = write_ranks(tmp_path)
    plan = PLAN.to_json().replace('"a"', json.dumps(SCRIPT))
    merge(tmp_path / "run.h5", files, run_record(plan, image_rows(), provenance(model=SCRIPT)))
    yield from opened(Run(read(tmp_path / "run.h5")), tmp_path, (1100, 900))


def opened(run, tmp_path, window):
    from selenium import webdriver

    write_report(run, tmp_path / "report.html")
    options = webdriver.ChromeOptions()
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"):
        options.add_argument(f"--{flag}")
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-component-update")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.add_argument("--window-size={},{}".format(*window))
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.get((tmp_path / "report.html").as_uri())
    yield driver
    assert driver.get_log("browser") == []
    driver.quit()


def by_id(driver, name):
    return driver.find_element("id", name)


def range_us(driver):
    low, high = re.findall(r"([\d.]+) µs", by_id(driver, "range").text)
    return float(low), float(high)


def click(driver, x, y):
    from selenium.webdriver import ActionChains

    canvas = by_id(driver, "timeline")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = canvas.size
    middle = (round(x - box["width"] / 2), round(y - box["height"] / 2))
    ActionChains(driver).move_to_element_with_offset(canvas, *middle).click().perform()


@pytest.mark.browser
def test_time_line_zooms_moves_and_tells_bars(browser):
    assert range_us(browser) == (0, 140)
    by_id(browser, "zoom-in").click()
    assert range_us(browser) == (35, 105)
    by_id(browser, "later").click()
    assert range_us(browser) == (63, 133)
    by_id(browser, "earlier").click()
    by_id(browser, "zoom-out").click()
    assert range_us(browser) == (0, 140)
    # rank 1's second launch, from 48 to 78 µs, in the upper part of the second row
    width = by_id(browser, "timeline").size["width"] - 62
    click(browser, 62 + width * 60 / 140, 6 + 64 + 15)
    assert by_id(browser, "detail").text == "rank 1, VTA, image 1, stage 1: b..c: from 48 µs for 30 µs"
    click(browser, 62 + width * 17 / 140, 6 + 64 + 45)
    assert "rank 1, receive, image 0" in by_id(browser, "detail").text
    assert "from rank 0, 1,000 bytes" in by_id(browser, "detail").text


@pytest.mark.browser
def test_wheel_drag_and_keys_work(browser):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    canvas = by_id(browser, "timeline")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -100).perform()
    low, high = range_us(browser)
    assert high - low == pytest.approx(0.8 * 140, rel=1e-3)
    ActionChains(browser).drag_and_drop_by_offset(canvas, -60, 0).perform()
    assert range_us(browser)[0] > low
    canvas.send_keys("0")
    assert range_us(browser) == (0, 140)
    canvas.send_keys("+", Keys.ARROW_RIGHT)
    assert range_us(browser) == (63, 133)


@pytest.mark.browser
def test_page_fits_its_window(browser):
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    widths = browser.execute_script("return [...document.images].map((i) => [i.complete, i.naturalWidth])")
    assert widths
    assert all(complete and width > 100 for complete, width in widths)


@pytest.mark.browser
def test_page_of_a_layer_named_like_a_script_is_whole(browser_of_odd_names):
    browser = browser_of_odd_names
    assert range_us(browser) == (0, 140)
    assert SCRIPT in browser.find_element("tag name", "h1").text
    width = by_id(browser, "timeline").size["width"] - 62
    # rank 0's first launch, from 2 to 12 µs
    click(browser, 62 + width * 7 / 140, 6 + 15)
    assert by_id(browser, "detail").text == f"rank 0, VTA, image 0, stage 0: {SCRIPT}: from 2 µs for 10 µs"
