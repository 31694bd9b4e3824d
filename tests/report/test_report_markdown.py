"""The report as Markdown pages, and the main table of errors."""

import re

import pytest

from afterkernel.__main__ import main
from afterkernel.records import read_records
from afterkernel.report import main_table
from afterkernel.report.markdown import build_markdown, markdown_table
from afterkernel.report.sections import make_sections
from afterkernel.report.table_format import Table, TableRow
from afterkernel.text import MISSING


@pytest.fixture
def sweep(write_run, tmp_path):
    for seed, error in enumerate([0.01, 0.02, 0.06]):
        write_run({0: 0.10, 5: error}, seed=seed, net_test_error=0.03)
    return tmp_path / "demo"


def test_links_and_pictures_of_every_page_exist(sweep, tmp_path):
    index = build_markdown(sweep, tmp_path / "out")
    pages = sorted(path.name for path in index.parent.glob("*.md"))
    assert pages == [*(f"claim_c{i}.md" for i in range(1, 7)), "data_mnist-3-8.md", "index.md"]
    linked = set()
    for page in index.parent.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            linked.add(target)
            assert (index.parent / target).is_file(), (page.name, target)
    assert set(pages) <= linked
    assert {"figures/mnist-3-8_test_error.png", "tables/claim_c1.csv"} <= linked


def test_the_same_records_give_the_same_files(sweep, tmp_path):
    first, second = (build_markdown(sweep, tmp_path / name).parent for name in ("first", "second"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) > 20
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_the_command_writes_markdown_on_request_alone(sweep, capsys):
    assert main(["report", str(sweep), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (sweep / "report" / "index.md").as_uri()
    assert not (sweep / "report" / "index.html").exists()
    assert not list((sweep / "report").rglob("*.svg"))


def test_cells_can_not_break_a_table():
    table = Table("title", "", ["a|b", "c"], [TableRow([("x | y", ""), ("1 * 2", "low")], alert=True)], 1)
    assert markdown_table(table).splitlines() == ["| a|b | c |", "| --- | --- |", r"| **x \| y** | **1 \* 2 (low)** |"]


def rows_of(folder):
    frame = main_table.error_rows(make_sections(read_records(folder)))
    return {row["method"]: row for row in frame.to_dict("records")}


def test_methods_are_paired_with_the_network_of_the_same_run(sweep):
    rows = rows_of(sweep)
    assert rows["network itself"]["mean"] == pytest.approx(0.03)
    assert rows["NTK SVM"]["mean"] == pytest.approx(0.10)
    assert rows["AK SVM"]["mean"] == pytest.approx(0.03)
    assert rows["CK SVM"]["mean"] == pytest.approx(0.04)
    assert rows["AK SVM"]["difference_mean"] == pytest.approx(0.0)
    assert rows["AK SVM"]["difference_n_seeds"] == 3
    assert rows["NTK SVM"]["difference_standard_error"] == pytest.approx(0.0)


def test_svms_that_did_not_converge_are_no_entry(write_run, tmp_path):
    write_run({0: 0.10, 5: 0.01}, seed=0)
    write_run({0: 0.10, 5: 0.50}, seed=1, kernel_fields={"converged": False})
    rows = rows_of(tmp_path)
    assert (rows["AK SVM"]["mean"], rows["AK SVM"]["n_seeds"]) == (0.01, 1)
    assert rows["network itself"]["n_seeds"] == 2


@pytest.mark.parametrize(
    ("gram_images", "heading"), [(1000, "AK ridge"), (400, "AK ridge (400 training and 500 test images)")]
)
def test_ridge_on_fewer_images_than_the_svm_says_so(write_run, tmp_path, gram_images, heading):
    config = {
        "arch": {"name": "vgg"},
        "training": {"epochs": 5, "lr": 0.1},
        "measure": {"gram_images": gram_images, "num_images": 500},
        "seed": 0,
    }
    write_run({0: 0.1, 5: 0.05}, config=config, kernel_fields={"ridge_test_error": 0.02})
    assert rows_of(tmp_path)[heading]["mean"] == 0.02


def test_the_lowest_mean_of_a_row_is_marked(sweep):
    frame = main_table.error_rows(make_sections(read_records(sweep)))
    table = main_table.main_table(frame, 2)
    marked = {heading for heading, (text, _) in zip(table.headings, table.rows[0].cells, strict=True) if "*" in text}
    assert marked == {"network itself", "AK SVM"}


def test_a_mean_over_fewer_seeds_says_so_and_is_never_the_best(write_run, tmp_path):
    for seed in range(3):
        failed = {"kernel_fields": {"converged": False}} if seed == 2 else {}
        write_run({0: 0.10, 5: 0.5 if failed else 0.01}, seed=seed, net_test_error=0.04, **failed)
    table = main_table.main_table(main_table.error_rows(make_sections(read_records(tmp_path))), 2)
    cells = dict(zip(table.headings, table.rows[0].cells, strict=True))
    assert cells["seeds"] == ("3", "")
    assert cells["AK SVM"] == ("1.00 ± 0.00", "[1.00, 1.00], n = 2")
    assert cells["network itself"] == ("4.00 ± 0.00 *", "[4.00, 4.00]")


def test_networks_that_never_learned_are_left_out_of_the_means_and_counted(write_run, tmp_path):
    for seed in range(3):
        failed = seed == 2
        write_run(
            {0: 0.10, 5: 0.5 if failed else 0.03},
            seed=seed,
            losses=(0.3,),
            train_loss=0.69 if failed else 0.1,
            net_test_error=0.5 if failed else 0.04,
        )
    write_run({0: 0.10, 5: 0.5}, rate=1.0, losses=(0.3,), train_loss=0.69, net_test_error=0.5)
    frame = main_table.error_rows(make_sections(read_records(tmp_path)))
    table = main_table.main_table(frame, 2)
    assert list(table.headings[:5]) == ["data", "architecture", "learning rate", "seeds", "network itself"]
    learned, failed = table.rows
    assert (learned.cells[3], learned.cells[4][0]) == (("2 of 3", "others have no trained network"), "4.00 ± 0.00")
    assert learned.alert
    assert failed.cells[3:] == [
        ("0 of 1", "others have no trained network"),
        *[(MISSING, "")] * (len(failed.cells) - 4),
    ]
    differences = main_table.difference_table(frame, 2)
    assert "error of the method" not in differences.headings
    assert {dict(zip(differences.headings, row.cells, strict=True))["95 % interval"] for row in differences.rows} == {
        ("too few seeds", "")
    }


def test_differences_without_spread_have_no_interval(write_run, tmp_path):
    for seed in range(6):
        write_run({0: 0.10 + 0.01 * seed, 5: 0.03}, seed=seed)
    table = main_table.difference_table(main_table.error_rows(make_sections(read_records(tmp_path))), 2)
    intervals = {row.cells[3][0]: row.cells[5][0] for row in table.rows}
    assert intervals["AK SVM"] == "no spread over seeds"
    assert intervals["NTK SVM"].startswith("[")
