"""The page in a real browser: quiet, local, accessible in light and dark, no overflow; tables sort, filters filter."""

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
# Width and colour scheme.
LOOKS = {"light": (1400, "light"), "dark": (1400, "dark"), "narrow": (400, "light")}
_UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true; })"


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
    browser.set_script_timeout(300)
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


def open_at(browser, page, width, scheme="light", anchor=""):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri() + anchor)


def open_unfolded(browser, page, *look):
    open_at(browser, page, *look)
    browser.execute_script(_UNFOLD)


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
    browser.execute_script(_UNFOLD)
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


@pytest.mark.parametrize("look", list(LOOKS))
def test_axe_finds_no_violation(browser, page, look):
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    open_unfolded(browser, page, *LOOKS[look])
    browser.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text())
    found = browser.execute_async_script(
        "axe.run().then(found => arguments[0](["
        "found.violations.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 200))]), found.passes.length]))"
    )
    violations, n_passed = found
    assert violations == []
    assert n_passed > 20


@pytest.mark.parametrize("name", list(WIDTHS))
def test_finding_effect_and_p_are_in_view_of_claim_tables(browser, page, name):
    open_unfolded(browser, page, WIDTHS[name])
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.evidence table.sortable')].flatMap(table =>"
        " [...table.tHead.rows[0].cells].filter(cell => /finding|effect|p of the/.test(cell.textContent) &&"
        " cell.getBoundingClientRect().right > table.parentElement.getBoundingClientRect().right + 1)"
        " .map(cell => cell.textContent))"
    )
    assert cut == []


@pytest.mark.parametrize("name", list(WIDTHS))
def test_no_verdict_or_heading_is_broken_within_a_word(browser, page, name):
    open_unfolded(browser, page, WIDTHS[name])
    broken = browser.execute_script(
        "return [...document.querySelectorAll('.badge, thead th')].filter(one => one.checkVisibility() &&"
        " one.getClientRects().length && one.textContent.trim()).filter(one => {"
        "  const range = document.createRange();"
        "  const texts = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);"
        "  while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/[a-z]+/gi)) {"
        "    range.setStart(texts.currentNode, word.index);"
        "    range.setEnd(texts.currentNode, word.index + word[0].length);"
        "    if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) return true;"
        "  }"
        "  return false;"
        "}).map(one => one.textContent)"
    )
    assert broken == []


def column(browser, place):
    """The cells of a column, group by group, without the groups' headings."""
    return browser.execute_script(
        "return [...document.querySelector('#claim-c2 table.sortable').tBodies].map(body =>"
        " [...body.rows].slice(1).map(row => row.cells[arguments[0]].firstChild.textContent))",
        place,
    )


def test_a_click_on_a_heading_sorts_within_groups_up_down_and_back(browser, page):
    open_at(browser, page, 1400)
    browser.execute_script(_UNFOLD)
    headings = browser.find_elements("css selector", "#claim-c2 table.sortable thead th")
    place = [one.get_attribute("textContent") for one in headings].index("effect")
    given = column(browser, place)
    assert [len(group) for group in given] == [2, 2]

    def number(text):
        return float(text.split(" ")[0].replace("\u2212", "-"))

    orders = {
        "ascending": [sorted(group, key=number) for group in given],
        "descending": [sorted(group, key=number, reverse=True) for group in given],
        None: given,
    }
    button = headings[place].find_element("css selector", "button")
    for state, expected in orders.items():
        button.send_keys("\ue007")  # Enter
        assert headings[place].get_attribute("aria-sort") == state
        assert column(browser, place) == expected


def test_verdicts_and_the_partial_banner_are_seen(browser, page):
    open_at(browser, page, 1400)
    assert "28 of 29 runs are done (1 failed)" in browser.find_element("css selector", ".banner").text
    row = browser.find_element("id", "verdict-c2").text
    assert "confirmed provisional" in row
    assert "killed by signal 9" in browser.find_element("id", "runs").text
    browser.find_element("link text", "Provenance").click()
    top = browser.execute_script("return document.getElementById('provenance').getBoundingClientRect().top")
    assert 0 <= top < 900


def is_seen(browser, selector):
    return browser.execute_script(
        "const one = document.querySelector(arguments[0]), box = one.getBoundingClientRect();"
        " return one.checkVisibility() && box.top >= 0 && box.top < innerHeight",
        selector,
    )


@pytest.mark.parametrize("width", [400, 1400])
def test_the_table_of_verdicts_does_not_scroll_by_itself(browser, page, width):
    open_at(browser, page, width)
    box = "document.querySelector('.overview').parentElement"
    assert browser.execute_script(f"return {box}.scrollHeight - {box}.clientHeight") <= 1


def test_a_comparison_leads_to_its_seeds_and_these_to_their_runs(browser, page):
    open_at(browser, page, 1400)
    assert not browser.execute_script("return document.querySelector('#evidence-c1').checkVisibility()")
    browser.find_element("css selector", "#verdict-c1 a[href='#evidence-c1']").click()
    link = browser.find_element("css selector", "#evidence-c1 td a[href='#seeds-c1-0']")
    assert link.text == "7"
    link.click()
    assert is_seen(browser, "#seeds-c1-0")
    runs = browser.find_elements("css selector", "#seeds-c1-0 td a")
    assert len(runs) == 7
    target = runs[3].get_attribute("hash")
    runs[3].click()
    assert is_seen(browser, f"[id='{target[1:]}']")
    cells = browser.find_elements("css selector", f"[id='{target[1:]}'] td")
    assert cells[0].text == "mnist 3/8"
    assert cells[3].text == "3"


def test_filters_hide_rows_and_show_them_again(browser, page):
    from selenium.webdriver.support.ui import Select

    open_at(browser, page, 1400)
    shown = "return document.querySelectorAll('#errors > .table tbody tr:not([hidden])').length"
    assert browser.execute_script(shown) == 4
    Select(browser.find_element("name", "network")).select_by_visible_text("vgg")
    Select(browser.find_element("name", "rate")).select_by_visible_text("0.03")
    assert browser.execute_script(shown) == 1
    assert " of " in browser.find_element("css selector", ".filter output").text
    browser.find_element("css selector", ".filter [type=reset]").click()
    assert browser.execute_script(shown) == 4


def test_without_scripts_everything_is_there_and_columns_can_be_shown(browser, page):
    browser.get("about:blank")  # another anchor of the same page would not load it again
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_at(browser, page, 1400, anchor="#seeds-c1-0")
        assert not browser.find_element("css selector", ".filter").is_displayed()
        assert browser.find_element("id", "seeds-c1-0").is_displayed()  # a link unfolds what it leads to
        further = browser.find_element("css selector", "#evidence-c1 td.further")
        assert not further.is_displayed()
        browser.find_element("css selector", "#evidence-c1 .toggle").send_keys(" ")
        assert further.is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_paper_has_the_comparisons_and_no_controls(browser, page):
    open_at(browser, page, 1400)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        seen = "return [...document.querySelectorAll(arguments[0])].map(one => one.checkVisibility())"
        assert set(browser.execute_script(seen, "nav, .filter, .toggle, .skip")) == {False}
        assert set(browser.execute_script(seen, ".evidence table.sortable, .data-part h3")) == {True}
        assert set(browser.execute_script(seen, ".seeds table, .trajectories figure")) == {False}
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


FIGURE = "document.querySelector('#claim-c2 figure.chart')"


def near(browser, chart):
    """Unfold what holds a chart, scroll to it, and wait until it is drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    unfold = "for (let one = arguments[0]; one; one = one.parentElement) if (one.tagName === 'DETAILS') one.open = true"
    browser.execute_script(f"{unfold}; arguments[0].scrollIntoView()", browser.execute_script(f"return {chart}"))
    WebDriverWait(browser, 60).until(lambda one: one.execute_script(f"return {chart}.matches('.interactive')"))


def near_figure(browser, page):
    open_at(browser, page, 1400)
    near(browser, FIGURE)


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

    open_at(browser, page, 1400)
    chart = "document.querySelector('.data-part figure.chart')"
    near(browser, chart)
    wait = WebDriverWait(browser, 60)
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
