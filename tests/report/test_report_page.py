import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from afterkernel.cli.report import main
from afterkernel.errors import UserError
from afterkernel.records.record import RECORDED
from afterkernel.report import build
from afterkernel.text import MISSING


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.links, self.tags, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def read():
    def load(page):
        reader = _Reader()
        reader.feed(page.read_text())
        return re.sub(r"\s+", " ", " ".join(reader.text)), reader

    return load


def test_the_page_holds_the_numbers_of_the_data(write_run, tmp_path, read):
    for seed, (before, after) in enumerate([(0.10, 0.07), (0.20, 0.15)]):
        write_run({0: before, 5: after}, swap={0: 0.8, 5: 0.6 + 0.01 * seed}, seed=seed)
    page = build(tmp_path)
    text, _ = read(page)
    assert page == tmp_path / "report" / "index.html"
    assert "mnist 3 against 8: 2 runs, 4 snapshots; 500 test images" in text
    assert "from 15.00 ± 5.00 % with the NTK to 11.00 ± 4.00 % with the after kernel at epoch 5" in text
    assert "(lower in 2 of 2 runs)" in text
    assert "Swap invariance goes from 0.800 to 0.605: more global" in text
    assert "0.800 → 0.605" in text
    assert "7.77 ± 0.00" in text  # the network's own
    for number in ("2.5e-9", "321", "0.0123", "3.00 GiB", "95,267", "2 of 2"):
        assert number in text
    assert "Complete: every planned snapshot of all 2 runs is recorded." in text


def test_the_page_loads_nothing_from_elsewhere(write_run, tmp_path, read):
    write_run({0: 0.1, 5: 0.05})
    page = build(tmp_path)
    _, reader = read(page)
    links = [link for link in reader.links if not link.startswith("data:")]
    assert [link for link in links if ":" in link] == ["https://arxiv.org/abs/2105.10585"]
    own, vega, rest = re.split(r'<script id="vega">|window.vegaEmbed=[^<]*</script>', page.read_text())
    assert len(vega) > 500_000  # once
    assert not re.search(
        r"@import|url\((?!#)|<script src|https?://(?!arxiv\.org|vega\.github\.io/schema|www\.w3\.org/)", own + rest
    )
    assert "Content-Security-Policy" in page.read_text()
    local = [link for link in links if ":" not in link and not link.startswith("#")]
    assert len(local) >= 9
    assert all((page.parent / link).is_file() for link in local)
    anchors = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert anchors <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)


def test_an_interrupted_sweep_reports_what_is_missing(write_run, tmp_path, read):
    write_run({0: 0.1, 1: 0.08, 5: 0.05}, seed=0)
    write_run({0: 0.1}, seed=1, last=5, run_id="halfway")
    text, _ = read(build(tmp_path))
    assert "Partial report. 1 of 2 runs are done (1 not done)" in text
    assert re.search(rf"halfway seed=1 training\.lr=0\.1 not done {MISSING} 0 5", text)
    assert "Complete" not in text


def test_only_initialisations_make_a_page_too(write_run, tmp_path, read):
    write_run({0: 0.1}, last=5)
    text, _ = read(build(tmp_path))
    assert "only the kernels at initialisation are recorded so far" in text
    assert "this section also counts" not in text
    assert "Networks at their last snapshot" not in text


def test_svms_that_did_not_converge_are_marked_and_reported(write_run, tmp_path, read):
    write_run(
        {0: 0.1, 1: 0.1}, kernels=("ntk",), kernel_fields={"converged": False, "margin": None, "separable": False}
    )
    page = build(tmp_path)
    text, _ = read(page)
    assert re.search(r"SVMs that did not converge 2 Their errors are left out .* mnist 3/8: 2 of 2", text)
    assert re.search(r"Kernels that do not separate the training data 2 .* mnist 3/8: 2 of 2", text)
    assert page.read_text().count('<tr class=" alert"') == 2
    assert "this section also counts 2 SVMs that did not converge." in text


def test_evaluations_are_shown_apart(write_run, tmp_path, read):
    write_run({0: 0.1, 1: 0.02})
    write_run({0: 0.4}, last=1, evaluation_id="eval1", kernel_fields={"svm_backend": "other"})
    text, _ = read(build(tmp_path))
    assert "evaluated with 2 sets of options, which are never averaged together" in text
    assert "the one with most rows, eval0 (SVM: exact)" in text
    assert "Test error (%), evaluation eval1 (SVM: other)" in text
    assert "40.00" in text
    assert (tmp_path / "report" / "tables" / "mnist-3-8_test_error_eval1.csv").is_file()


def test_pairs_have_sections_of_their_own(write_run, tmp_path, read):
    write_run({0: 0.1, 1: 0.02})
    write_run({0: 0.1, 1: 0.02}, plus="9", run_id="other")
    text, reader = read(build(tmp_path))
    assert "mnist: 3 against 8" in text
    assert "mnist: 3 against 9" in text
    assert {"mnist-3-8", "mnist-3-9"} <= set(reader.ids)
    assert "Figure 8." in text


def test_settings_provenance_and_command(write_run, tmp_path, read):
    command = ["python", "-m", "afterkernel", "name=a b"]
    write_run({0: 0.1, 1: 0.02}, rate=0.1, provenance={"command": command, "versions": {"torch": "2.9"}})
    write_run({0: 0.1, 1: 0.02}, rate=0.03, provenance={"command": command, "versions": {"torch": "2.9"}})
    text, _ = read(build(tmp_path))
    assert "python -m afterkernel 'name=a b'" in text
    assert re.search(r"training\.lr\s+0\.03, 0\.1", text)
    assert re.search(r"arch\.name\s+vgg", text)
    assert re.search(r"versions\.torch\s+2\.9", text)


def test_names_are_escaped(write_run, tmp_path):
    write_run({0: 0.1, 1: 0.02}, minus="<script>alert(1)</script>")
    page = build(tmp_path)
    assert "<script>alert" not in page.read_text()
    assert "&lt;script&gt;" in page.read_text()


def test_tables_next_to_the_page_are_unrounded(write_run, tmp_path):
    write_run({0: 1 / 3, 1: 0.1})
    build(tmp_path, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "tables" / "mnist-3-8_test_error.csv")
    assert table[(table["kernel"] == "ntk") & (table["epoch"] == 0)]["mean"].tolist() == [1 / 3]
    names = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    tables = ["test_error", "before_after", "svm_health", "costs", "networks"]
    both = {f"mnist-3-8_{name}.{kind}" for name in tables for kind in ("csv", "tex")}
    assert both | {"results.csv", "claim_c1.csv", "claim_c1.tex", "mnist-3-8_trajectory_0_ntk.csv"} <= names
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    drawn = ["mnist-3-8_test_error", "mnist-3-8_invariances", "mnist-3-8_trajectory_0_ntk", "claim_c1"]
    assert {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")} <= figures


def test_the_command_prints_where_the_page_is(write_run, tmp_path, capsys):
    write_run({0: 0.1, 1: 0.02})
    assert main([str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (tmp_path / "page.html").as_uri()
    assert (tmp_path / "page.html").is_file()


def test_the_same_store_makes_the_same_page(write_run, tmp_path):
    write_run({0: 0.1, 1: 0.02})
    first = build(tmp_path).read_bytes()
    assert build(tmp_path).read_bytes() == first


def test_nothing_to_show_is_reported(tmp_path):
    with pytest.raises(UserError, match="contains no readable records"):
        build(tmp_path)


def test_recorded_trainings_have_no_sections_on_claims(write_run, tmp_path, read):
    run = write_run({0: 0.1, 5: 0.05}, config={RECORDED: {"name": "cnn"}}, rate=None)
    (run / "config.yaml").unlink()
    text, _ = read(build(tmp_path))
    assert "Verdicts" not in text
    assert "Claims, one by one" not in text
    assert "has been measured yet" not in text
    assert "claims need configured sweeps, since they pair runs whose options are known to agree" in text
    assert "best learning rate" not in text
    assert "SVM test error, NTK → after kernel: vgg 10.0" in text
    assert not (tmp_path / "report" / "tables" / "verdicts.csv").exists()


def test_terms_are_defined_and_not_repeated(write_run, tmp_path, read):
    write_run({0: 0.1, 5: 0.05}, kernel_fields={"target_alignment": 0.5})
    text, _ = read(build(tmp_path))
    assert "the cosine between the kernel matrix and that of the labels" in text
    assert "alignment with the labels (" not in text
