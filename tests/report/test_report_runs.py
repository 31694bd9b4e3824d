"""The planned runs of a sweep, and what the report shows of those that failed or have not begun."""

import dataclasses
import json

import pytest

from afterkernel.claims import CLAIMS
from afterkernel.claims.training_failure import training_failures
from afterkernel.records import SkippedWarning, read_records
from afterkernel.records.exported import export
from afterkernel.records.store import read_distinct_runs
from afterkernel.report import build, runs
from afterkernel.report.judging import requested_claims
from afterkernel.report.latex import booktabs
from afterkernel.report.markdown import build_markdown
from afterkernel.report.table_format import Table, TableRow


def keep(folder, **named):
    (folder / "grids").mkdir(parents=True, exist_ok=True)
    (folder / "grids" / "one.json").write_text(json.dumps({"version": 1, "runs": named}))


def test_planned_failed_and_interrupted_runs_are_distinguished(write_run, tmp_path):
    write_run({0: 0.1, 5: 0.05}, run_id="done")
    write_run({0: 0.1}, last=5, run_id="cut", seed=1)
    broken = write_run({0: 0.1}, last=5, run_id="broken", seed=2)
    (broken / "failure.json").write_text(json.dumps({"message": "training.lr=9 is too large", "time": ""}))
    keep(tmp_path / "demo", done=["seed=0"], cut=["seed=1"], broken=["seed=2"], later=["seed=3", "arch=mlp"])
    found = runs.read_runs(tmp_path)
    assert {one.run_id: one.state for one in found.runs} == {
        "done": "done",
        "cut": "not done",
        "broken": "failed",
        "later": "not begun",
    }
    assert (found.n_done, found.partial) == (1, True)
    assert found.counts() == "1 failed, 1 not done, 1 not begun"
    first, *_ = runs.table(found).rows
    assert [text for text, _ in first.cells][:4] == ["broken", "seed=2", "failed", "training.lr=9 is too large"]
    page = build(tmp_path).read_text()
    assert "1 of 4 runs are done" in page
    assert "training.lr=9 is too large" in page


def test_a_run_that_is_done_counts_as_done_though_it_failed_once(write_run, tmp_path):
    run = write_run({0: 0.1, 5: 0.05})
    (run / "failure.json").write_text(json.dumps({"message": "once", "time": ""}))
    assert not runs.read_runs(tmp_path).partial


def test_a_grid_that_is_none_is_named(write_run, tmp_path):
    write_run({0: 0.1, 5: 0.05})
    (tmp_path / "demo" / "grids").mkdir()
    (tmp_path / "demo" / "grids" / "bad.json").write_text("{")
    with pytest.warns(SkippedWarning, match=r"bad\.json is not a grid of a sweep .*: remove it"):
        assert len(runs.read_runs(tmp_path).runs) == 1


def test_a_sweep_names_the_claims_that_it_is_to_answer(write_run, tmp_path):
    write_run({0: 0.1, 5: 0.05})
    assert requested_claims(read_records(tmp_path)) == list(CLAIMS)
    config = {"training": {"epochs": 5, "lr": 0.1}, "snapshot": {"epochs": [0, 5]}, "sweep": {"claims": ["c4", "c1"]}}
    write_run({0: 0.1, 5: 0.05}, config=config, run_id="asks", seed=1)
    assert requested_claims(read_records(tmp_path)) == ["c1", "c4"]
    page = build(tmp_path).read_text()
    assert "Not tested by these sweeps: C2, C3, C5, C6." in page
    assert 'id="verdict-c2"' not in page


def test_latex_tables_are_booktabs_with_special_characters_escaped(write_run, tmp_path):
    for seed in range(2):
        write_run({0: 0.1 + seed / 100, 5: 0.05}, seed=seed, arch="my_net")
    build(tmp_path)
    text = (tmp_path / "demo" / ".." / "report" / "tables" / "mnist-3-8_test_error.tex").read_text()
    assert text.isascii()
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"my\_net", r"$\pm$", r"Test error (\%)", r"\label{tab:"):
        assert part in text
    header = text.split(r"\toprule")[1].split(r"\midrule")[0]
    assert header.count("&") == 4


def test_latex_keeps_every_character_of_cells_headings_and_captions():
    table = Table("50 % ~ a_b", "x \\le y", ["a\\ b", "n^2"], [TableRow([("{1}", "±2"), ("#3 & 4", "")])], n_keys=1)
    assert booktabs(table, "t").splitlines()[3:10] == [
        r"\caption{50 \% \textasciitilde \space a\_b. x \textbackslash le y}",
        r"\label{tab:t}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"a\textbackslash \space b & n\textasciicircum 2 \\",
        r"\midrule",
        r"\{1\} ($\pm$2) & \#3 \& 4 \\",
    ]


def test_verdicts_on_the_page_follow_the_data(write_run, tmp_path):
    for arch, sign in (("vgg", -1), ("mlp", 1)):
        for seed in range(8):
            swap = {0: 0.5 + seed / 1000, 5: 0.5 + sign * 0.1 + seed / 500}
            write_run({0: 0.1, 5: 0.08 + seed / 1000}, arch=arch, seed=seed, swap=swap)
    build(tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    for name, verdict in (("c1", "confirmed"), ("c2", "confirmed"), ("c5", "not-measured")):
        assert f'id="verdict-{name}" class="{verdict}"' in page
    assert "provisional" not in page.split("</style>")[1]


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        ({"training_end": "diverged"}, "diverged"),
        ({"train_loss": 0.68}, "training loss above 0.66 at the end, 95 % of that of guessing"),
    ],
)
def test_runs_without_a_trained_network_are_listed_and_left_out(failed, reason, write_run, tmp_path):
    for seed in range(8):
        fields = failed if seed < 2 else {"train_loss": 0.29}
        write_run({0: 0.1, 5: 0.08 + seed / 1000}, seed=seed, losses=(0.3, 0.1), **fields)
    build(tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    assert f'<th scope="row">Runs without a trained network ({reason})</th>' in page
    assert "mnist 3/8: 2 of 8 (vgg, learning rate 0.1, seed 0, 1)" in page
    assert page.count(f"<small>{reason}</small>") == 2  # in the table of runs
    assert "this section also counts 2 runs without a trained network." in page
    assert f"2 of 8 seeds ({reason})" in (tmp_path / "report" / "tables" / "claim_c1.csv").read_text()


def test_a_network_that_ends_at_the_loss_of_guessing_is_not_trained(write_run, tmp_path):
    ended = write_run({0: 0.1, 5: 0.4}, train_loss=0.67)
    write_run({0: 0.1, 5: 0.1}, seed=1, losses=(0.3,), train_loss=0.65)
    write_run({0: 0.1, 5: 0.1}, last=10, seed=2, train_loss=0.67)  # not at its end
    write_run({0: 0.1}, seed=3, train_loss=0.69)  # trains nothing
    assert [run for _, run in training_failures(read_records(tmp_path))] == [ended.name]


def test_a_network_that_has_learned_and_collapsed_is_not_trained(write_run, tmp_path):
    write_run({0: 0.1, 2: 0.1, 5: 0.4}, train_loss=0.69)
    records = [dataclasses.replace(one, train_loss=0.1) if one.epoch == 2 else one for one in read_records(tmp_path)]
    assert len(training_failures(records)) == 1


def test_of_more_classes_the_loss_of_guessing_is_larger(write_run, tmp_path):
    write_run({0: 0.1, 5: 0.4}, train_loss=1.5)
    assert len(training_failures(read_records(tmp_path))) == 1
    records = [dataclasses.replace(one, classes=tuple("abcde")) for one in read_records(tmp_path)]
    assert training_failures(records) == {}


def test_a_file_of_records_has_the_report_of_its_folder_and_its_runs_as_they_are(write_run, tmp_path):
    for seed in range(2):
        write_run({0: 0.1, 5: 0.05}, run_id=f"done{seed}", seed=seed)
    write_run({0: 0.1}, last=5, run_id="cut", seed=2)
    keep(tmp_path / "demo", later=["seed=3"])
    file = tmp_path / "all.parquet"
    export(read_records(tmp_path / "demo"), file)
    found = runs.read_runs(file, read_distinct_runs(file))
    assert {one.run_id: one.state for one in found.runs} == {"done0": "done", "done1": "done", "cut": "not done"}
    page = build(file)
    assert page == tmp_path / "all-report" / "index.html"
    assert "2 of 3 runs are done" in page.read_text()
    build(tmp_path / "demo")
    tables = sorted(path.name for path in (tmp_path / "demo/report/tables").glob("*.csv"))
    tables.remove("runs_not_done.csv")  # a file of records does not know which runs were planned
    assert tables
    for name in tables:
        assert (page.parent / "tables" / name).read_bytes() == (tmp_path / "demo/report/tables" / name).read_bytes()
    assert build_markdown(file, tmp_path / "pages") == tmp_path / "pages" / "index.md"
