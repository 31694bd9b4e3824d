import io
import re

import pandas as pd
import pytest

from afterkernel import text as fmt
from afterkernel.cli.results import main
from afterkernel.cli.status import main as status_main
from afterkernel.errors import UserError
from afterkernel.records import results, write_record


@pytest.fixture
def sweep(tmp_path, make_record):
    for epoch, error in [(0, 0.0525), (1, 0.03), (5, 0.0123)]:
        write_record(tmp_path / "run0", make_record(("ntk", "conjugate"), epoch=epoch, svm_test_error=error), 1)
    return tmp_path


def test_table_shows_rounded_numbers_and_what_all_rows_share(sweep, capsys):
    assert main([str(sweep), "--where", "kernel == 'ntk'"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sweep=demo  dataset=mnist  minus=3  plus=8  svm_backend=exact"
    assert lines[1].split()[:5] == ["arch", "lr", "seed", "epoch", "kernel"]
    assert lines[2].split()[:6] == ["vgg", "0.03", "0", "0", "ntk", "5.25"]
    assert lines[6:] == ["ntk: the NTK at initialisation, the after kernel later"]
    legend = "svm %, net %: test error; shift, rot, zoom, swap: invariances; conv: SVM converged"
    assert lines[5].removesuffix("; \N{EN DASH}: not measured") == legend
    assert lines[1].index("kernel") == lines[2].index("ntk") == lines[4].index("ntk")
    assert lines[1].index("svm %") + 5 == lines[2].index("5.25") + 4 == lines[4].index("1.23") + 4
    assert all(len(line) <= 100 for line in lines)


def test_csv_is_the_whole_frame(sweep, capsys):
    assert main([str(sweep), "--csv"]) == 0
    back = pd.read_csv(io.StringIO(capsys.readouterr().out))
    frame = results(sweep)
    assert list(back.columns) == list(frame.columns)
    assert back["svm_test_error"].tolist() == frame["svm_test_error"].tolist()


def test_columns_by_the_headings_of_the_table(sweep, capsys):
    outs = []
    for words in (["--columns=lr,svm %,conv", "--sort=-lr"], ["--columns=learning_rate,svm_test_error,converged"]):
        main([str(sweep), *words])
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]
    assert outs[0].split()[:3] == ["learning_rate", "svm_test_error", "converged"]


def test_columns_and_sort(sweep, capsys):
    main([str(sweep), "--columns", "epoch,svm_test_error", "--sort=-epoch", "--where", "kernel == 'ntk'"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["epoch", "svm_test_error"], ["5", "0.01230"], ["1", "0.03000"], ["0", "0.05250"]]


def test_sql_prints_what_it_gives(sweep, capsys):
    query = "select kernel, max(epoch) as last, avg(svm_test_error) as e from results group by kernel order by kernel"
    assert main([str(sweep), "--sql", query]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["kernel", "last", "e"], ["conjugate", "5", "0.03160"], ["ntk", "5", "0.03160"]]
    assert main([str(sweep), "--csv", "--sql", query]) == 0
    assert capsys.readouterr().out.splitlines()[:2][0] == "kernel,last,e"
    assert main([str(sweep), "--sql", "select epoch from results where false"]) == 0
    assert capsys.readouterr().out == "No matching rows.\n"
    with pytest.raises(UserError, match="--where can't be combined with --sql"):
        main([str(sweep), "--sql", query, "--where", "epoch = 1"])


@pytest.mark.parametrize(
    ("where", "recorded"),
    [
        ("epoch == 9", "; epoch is one of 0, 1, 5"),
        ("kernel = 'after' and epoch > 0", "; epoch is one of 0, 1, 5; kernel is one of conjugate, ntk"),
        ("margin > 1e9", ""),
    ],
)
def test_an_empty_result_names_the_values_that_are_recorded(sweep, capsys, where, recorded):
    assert main([str(sweep), "--where", where]) == 0
    assert capsys.readouterr().out == f"No matching rows{recorded}.\n"


@pytest.mark.parametrize("option", ["--columns=epok", "--sort=-epok"])
def test_an_unknown_column_is_reported(sweep, option):
    with pytest.raises(UserError, match="epok is not a column, but epoch is; the first line of --csv lists all"):
        main([str(sweep), option])


def test_an_empty_list_of_columns_is_reported(sweep):
    with pytest.raises(UserError, match="names no column"):
        main([str(sweep), "--columns", ","])


def test_a_narrow_terminal_gets_fewer_columns_and_a_note(sweep, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    main([str(sweep)])
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "Columns that do not fit: net_test_error" in out
    assert all(len(line) <= 70 for line in out.splitlines()[1:-1])


def test_status_shows_what_is_missing(sweep, make_record, capsys):
    write_record(sweep / "run1", make_record(run_id="run1", epoch=0), 1)
    assert status_main([str(sweep)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:6] == ["run0", "vgg", "0.03", "0", "3/3", "done"]
    assert lines[2].split()[:6] == ["run1", "vgg", "0.03", "0", "1/3", "interrupted"]
    assert lines[2].endswith("missing epochs 1, 5")
    assert lines[4] == "1 of 2 runs done, 1 interrupted"


def test_status_shows_the_disk_use(sweep, capsys):
    (sweep / "run0" / "kernels").mkdir()
    (sweep / "run0" / "kernels" / "K.npy").write_bytes(bytes(3 * 2**20))
    records = sum(path.stat().st_size for path in (sweep / "run0" / "records").iterdir())
    status_main([str(sweep)])
    lines = capsys.readouterr().out.splitlines()
    assert "3.01 MiB" in lines[1]
    hint = f"python -m afterkernel clean {sweep} lists 3.00 MiB that can be removed"
    assert lines[2] == f"on disk 3.01 MiB (grams 3.00 MiB, records {fmt.size(records)}); {hint}"
