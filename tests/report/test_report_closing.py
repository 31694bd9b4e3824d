"""What `report` says at its end: verdicts with effects, the address of the page, and the browser on request."""

import webbrowser

import pytest

from afterkernel.__main__ import main
from afterkernel.claims import CLAIMS


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, run_writer):
    folder = tmp_path_factory.mktemp("with space")
    write = run_writer(folder)
    for seed in range(8):
        write({0: 0.10 + 0.001 * seed, 5: 0.05 + 0.002 * seed}, seed=seed, swap={0: 0.8, 5: 0.6 + 0.01 * seed})
    return folder


def report(capsys, *words):
    assert main(["report", *map(str, words)]) == 0
    out, err = capsys.readouterr()
    return out.splitlines(), err


@pytest.mark.parametrize(("words", "page"), [([], "index.html"), (["--format", "markdown"], "index.md")])
def test_it_ends_with_one_line_a_claim_and_the_page_s_address(sweep, capsys, tmp_path, words, page):
    output = tmp_path / "a page"
    (lead, *claims, link), err = report(capsys, sweep, "--output", output, *words)
    assert err == ""
    assert lead == "mnist 3 against 8: 8 runs, 16 snapshots; 500 test images"
    assert [line.split()[0].lower() for line in claims] == list(CLAIMS)
    # Differences of -0.05 + 0.001 s for s = 0..7: mean -4.65 points, sd 0.2449, Student's t(7) 2.365.
    assert claims[0] == (
        "C1 confirmed: the after kernel's SVM is more accurate than the NTK's, for some networks (SVM test error "
        "\N{MINUS SIGN}4.65 percentage points, 95 % interval [\N{MINUS SIGN}4.85, \N{MINUS SIGN}4.45]; vgg, learning "
        "rate 0.1, 8 seeds)"
    )
    assert claims[4].startswith("C5 not measured: at equal loss, a larger learning rate gives a more accurate after")
    assert link == (output / page).as_uri()
    assert "%20" in link


def test_a_partial_sweep_says_so(sweep, run_writer, capsys, tmp_path):
    write = run_writer(tmp_path)
    for seed in range(2):
        write({0: 0.1, 5: 0.05}, seed=seed, last=5 + 5 * seed)
    lines, _ = report(capsys, tmp_path)
    assert lines[0].endswith(": 1 of 2 runs done, 4 snapshots; 500 test images; verdicts are provisional")


def test_the_page_is_opened_on_request_and_a_missing_browser_is_one_sentence(sweep, capsys, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or len(opened) == 1)
    lines, err = report(capsys, sweep, "--output", tmp_path, "--open")
    assert (opened, err) == ([lines[-1]], "")
    _, err = report(capsys, sweep, "--output", tmp_path, "--open")
    assert err == "afterkernel: no browser was found here: open the link above in one.\n"
    _, err = report(capsys, sweep, "--output", tmp_path)
    assert (len(opened), err) == (2, "")
