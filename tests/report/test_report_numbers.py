"""Every number in a table of the page is in a CSV file that the page links next to it."""

import csv
import re
from html.parser import HTMLParser

import pytest

from afterkernel.report import build

_NUMBER = re.compile(r"(?<![\w.])[+\-\u2212]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])", re.IGNORECASE)
_BELOW = re.compile(r"< ?(\d[\d.]*)")  # p < 0.001
# Shares are shown in percent, bytes in binary units.
_SCALES = (1.0, 100.0, 2.0**-20, 2.0**-30)


class _Tables(HTMLParser):
    """The data cells of each table, with the CSV files linked since the table before it."""

    def __init__(self):
        super().__init__()
        self.tables, self.files, self.inside, self.cell = [], [], False, False

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "a" and str(attributes.get("href", "")).endswith(".csv"):
            (self.tables[-1][0] if self.inside else self.files).append(attributes["href"])
        if tag == "table":
            self.inside = True
            self.tables.append((self.files, [], attributes.get("class", "").split()))
            self.files = []
        if tag == "td" and self.inside:
            self.cell = True
            self.tables[-1][1].append("")

    def handle_endtag(self, tag):
        self.inside &= tag != "table"
        self.cell &= tag != "td"

    def handle_data(self, data):
        if self.cell:
            self.tables[-1][1][-1] += f" {data} "


def tables_of(page):
    """(files, cells) of each table of results: tables of options and provenance have the class facts."""
    parser = _Tables()
    parser.feed(page.read_text())
    return [(files, cells) for files, cells, classes in parser.tables if "facts" not in classes]


def missing(page):
    """The numbers shown in tables that no CSV linked next to them has, rounded as shown."""
    found = []
    for files, cells in tables_of(page):
        assert files, cells[:3]
        rows = [row for file in files for row in csv.reader((page.parent / file).read_text().splitlines())]
        values = {
            float(text.replace(",", "")) for row in rows for cell in row for text in _NUMBER.findall(_plain(cell))
        }
        for cell in cells:
            for bound in _BELOW.findall(cell):
                if not any(0 <= value < float(bound) for value in values):
                    found.append((files, cell.strip(), bound))
            # A label such as "seed 3" or "95 %" within words is no result.
            for text in _NUMBER.findall(_plain(cell)):
                number = float(text.replace(",", ""))
                half = 0.5000001 * 10.0 ** -_decimals(text)
                if not any(abs(scale * value - number) <= half for value in values for scale in _SCALES):
                    found.append((files, cell.strip(), text))
    return found


def _plain(text):
    return _BELOW.sub("", text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", " "))


def _decimals(text):
    if re.fullmatch(r"\d{4,}", text):  # times have three significant digits: 1071 s are shown as 1070
        return len(text.rstrip("0")) - len(text)
    mantissa, _, exponent = text.lower().partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)


@pytest.fixture(scope="module")
def page(run_writer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    write_run = run_writer(folder)
    for arch in ("vgg", "mlp"):
        for rate in (0.03, 0.1):
            for seed in range(6):
                errors = {0: 0.1 + 0.013 * seed, 5: 0.07 + 0.017 * seed * rate + 0.01 * (arch == "mlp")}
                swap = {0: 0.8 - 0.003 * seed, 5: 0.6 + 0.0021 * seed}
                loss = 0.31 + 0.007 * seed
                write_run(errors, arch=arch, rate=rate, seed=seed, swap=swap, train_loss=loss)
    write_run({0: 0.1}, last=5, seed=7, kernel_fields={"converged": False, "margin": None, "separable": False})
    return build(folder)


def test_every_number_in_a_table_is_in_a_file_next_to_it(page):
    tables = tables_of(page)
    assert len(tables) >= 12
    assert sum(len(_NUMBER.findall(_plain(cell))) for _, cells in tables for cell in cells) > 500
    assert missing(page) == []


def test_a_wrong_number_is_seen(page, tmp_path):
    """The check can fail: one digit of one effect changed."""
    text = page.read_text()
    (tmp_path / "tables").symlink_to(page.parent / "tables")
    effect = re.search(r'id="verdict-c1".*?<strong>([^<]+)</strong>', text, re.DOTALL)
    changed = text[: effect.start(1)] + "\N{MINUS SIGN}98.76" + text[effect.end(1) :]
    (tmp_path / "index.html").write_text(changed)
    assert [number for _, _, number in missing(tmp_path / "index.html")] == ["-98.76"]
