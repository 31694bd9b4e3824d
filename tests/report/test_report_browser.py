"""The page in a real browser: nothing on the console, nothing from the network, no overflow, tables that sort."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from afterkernel.report import build

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless=new",
    "--no-sandbox",  # needed as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
WIDTHS = {"wide": 1400, "narrow": 400}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium by its driver, console and network recorded."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    from selenium.webdriver.chrome.service import Service

    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def page(run_writer, tmp_path_factory) -> Path:
    """A report of a partial sweep of two nets, two learning rates and seven seeds, with a failure and awkward names."""
    folder = tmp_path_factory.mktemp("page")
    write_run = run_writer(folder)
    for arch in ("vgg", "mlp"):
        for rate in (0.03, 0.1):
            for seed in range(7):
                fall = 0.02 * (arch == "vgg") + 0.001 * seed + rate / 50
                errors = {0: 0.1 + 0.01 * seed, 1: 0.09, 5: 0.1 + 0.01 * seed - fall}
                swap = {0: 0.8, 1: 0.7, 5: (0.6 if arch == "vgg" else 0.9) + 0.002 * seed}
                write_run(errors, arch=arch, rate=rate, seed=seed, swap=swap)
    run = write_run({0: 0.1}, seed=7, last=5, run_id="a_run_with_a_name_" + "much_longer_" * 5)
    (run / "failure.json").write_text(json.dumps({"message": "killed by signal 9, perhaps because memory ran out"}))
    return build(folder)


def open_at(browser, page, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri())


def screenshot(browser, path, width):
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 16000), "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(shot["data"]))


def requests(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert sent  # the record works: it has the page itself
    return sent


@pytest.mark.parametrize("name", list(WIDTHS))
def test_the_page_is_quiet_local_and_fits(browser, page, name, request):
    width = WIDTHS[name]
    open_at(browser, page, width)
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith(("data:", "file:"))] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    # Nothing but what scrolls in its own box is wider than the screen, and every figure has been drawn.
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(one => !one.closest('.box, .view, pre') &&"
        " one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"
    )
    assert wide == []
    assert browser.execute_script("return [...document.images].every(one => one.complete && one.naturalWidth > 0)")
    path = Path(request.config.rootpath) / "build" / "screenshots" / f"report_{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    screenshot(browser, path, width)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 50_000


def column(browser, place):
    rows = "[...document.querySelector('#claim-c2 table').tBodies[0].rows]"
    return browser.execute_script(f"return {rows}.map(row => row.cells[arguments[0]].innerText)", place)


def test_a_click_on_a_heading_sorts_up_down_and_back(browser, page):
    open_at(browser, page, 1400)
    headings = browser.find_elements("css selector", "#claim-c2 thead th")
    names = [one.text.split("\u00a0")[0] for one in headings]
    place = names.index("effect")
    given = column(browser, place)
    numbers = [float(text.split(" ")[0].replace("\u2212", "-")) for text in given]
    assert len(set(numbers)) == 2
    button = headings[place].find_element("css selector", "button")
    for state, expected in (("ascending", sorted(numbers)), ("descending", sorted(numbers)[::-1]), ("none", numbers)):
        button.click()
        assert headings[place].get_attribute("aria-sort") == state
        found = [float(text.split(" ")[0].replace("\u2212", "-")) for text in column(browser, place)]
        assert found == expected


def test_verdicts_and_the_partial_banner_are_seen(browser, page):
    open_at(browser, page, 1400)
    assert "28 of 29 runs are done (1 failed)" in browser.find_element("css selector", ".banner").text
    card = browser.find_element("id", "verdict-c2")
    assert card.find_element("css selector", "h3").text.split() == ["C2", "confirmed", "provisional"]
    assert "killed by signal 9" in browser.find_element("id", "runs").text
    browser.find_element("link text", "Provenance").click()
    top = browser.execute_script("return document.getElementById('provenance').getBoundingClientRect().top")
    assert 0 <= top < 900


FIGURE = "document.querySelector('#claim-c2 figure.chart')"


def near_figure(browser, page):
    """Scroll to the figure of a claim and wait for its chart."""
    from selenium.webdriver.support.ui import WebDriverWait

    open_at(browser, page, 1400)
    browser.execute_script(f"{FIGURE}.scrollIntoView()")
    WebDriverWait(browser, 60).until(lambda one: one.execute_script(f"return {FIGURE}.matches('.interactive')"))


def test_only_figures_near_the_viewport_become_interactive_and_hover_shows_values(browser, page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    near_figure(browser, page)
    counts = "return ['figure.chart', 'figure.interactive'].map(one => document.querySelectorAll(one).length)"
    total, drawn = browser.execute_script(counts)
    assert 1 <= drawn < total
    points = browser.find_elements("css selector", "#claim-c2 .live .mark-symbol path[aria-label*='mean effect']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", points[0])
    ActionChains(browser).move_to_element(points[0]).perform()
    tip = WebDriverWait(browser, 20).until(lambda one: one.find_element("css selector", "#vg-tooltip-element.visible"))
    assert "mean effect (cosine)" in tip.text
    assert "95 % interval over seeds" in tip.text
    assert browser.get_log("browser") == []


def test_a_click_on_the_legend_hides_a_learning_rate_and_shows_it_again(browser, page):
    from selenium.webdriver.support.ui import WebDriverWait

    near_figure(browser, page)
    chart = "document.querySelectorAll('section:not([id^=claim]) > figure.chart')[0]"
    browser.execute_script(f"{chart}.scrollIntoView()")
    wait = WebDriverWait(browser, 60)
    wait.until(lambda one: one.execute_script(f"return {chart}.matches('.interactive')"))
    count = f"return {chart}.querySelectorAll('.live .mark-line path').length"
    symbol = f"{chart}.querySelector('.live .role-legend-symbol path')"
    click = f"{symbol}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"
    lines = browser.execute_script(count)
    browser.execute_script(click)
    wait.until(lambda one: one.execute_script(count) == lines // 2)
    browser.execute_script(click)
    wait.until(lambda one: one.execute_script(count) == lines)


def test_print_and_pages_without_scripts_have_images(browser, page):
    near_figure(browser, page)
    shown = f"const [image, live] = ['img', '.live'].map(one => {FIGURE}.querySelector(one));"
    shown += "return [image.getBoundingClientRect().width > 300, getComputedStyle(live).display !== 'none']"
    assert browser.execute_script(shown) == [False, True]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(shown) == [True, False]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page.as_uri())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert browser.execute_script(f"return {FIGURE}.querySelector('img').naturalWidth") > 300
