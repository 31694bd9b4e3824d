"""The published results: every page and table of docs/results follows from the records next to it."""

import csv
from pathlib import Path

import pytest

from afterkernel.report import drawing
from afterkernel.report.markdown import build_markdown

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.rglob("records.parquet"))


def pages(folder):
    return {path.name for path in folder.glob("*.md")}


def tables(folder):
    return {path.name for path in (folder / "tables").glob("*.csv")}


def assert_same_table(found, published):
    rows, wanted = (list(csv.reader(path.read_text().splitlines())) for path in (found, published))
    assert len(rows) == len(wanted)
    for row, other in zip(rows, wanted, strict=True):
        for cell, expected in zip(row, other, strict=True):
            if cell != expected:  # the last digits of a mean may differ on another CPU
                assert float(cell) == pytest.approx(float(expected), rel=1e-9, abs=1e-12), (published.name, row)


def test_there_are_results():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_pages_and_tables_follow_from_the_records(folder, tmp_path, monkeypatch):
    # Charts are built but not drawn: their images differ between versions of the library that draws them.
    monkeypatch.setattr(drawing.Drawing, "images", {"png": b"not drawn"})
    monkeypatch.setattr(drawing, "FEW", 1000)
    made = build_markdown(folder / "records.parquet", tmp_path).parent
    assert pages(made) == pages(folder)
    assert tables(made) == tables(folder)
    for name in sorted(pages(made)):
        assert (made / name).read_text() == (folder / name).read_text(), name
    for name in sorted(tables(made)):
        assert_same_table(made / "tables" / name, folder / "tables" / name)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_records_are_at_most_5_megabytes_and_name_no_path(folder):
    from afterkernel.records import read_records

    file = folder / "records.parquet"
    assert file.stat().st_size <= 5_000_000
    for record in read_records(file):
        assert "root" not in record.config["dataset"]
        assert "/" not in record.provenance["command"]
