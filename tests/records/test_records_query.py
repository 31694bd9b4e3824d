import re
from pathlib import Path

import pytest

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.records import engine, results, sql, write_record
from afterkernel.records.columns import FRAME
from afterkernel.records.record import SCHEMA_VERSION
from afterkernel.records.store import find_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_record):
    folder = tmp_path_factory.mktemp("query")
    for epoch, margin in [(0, None), (1, 0.02), (5, 0.04)]:
        record = make_record(
            ("ntk", "conjugate"), epoch=epoch, margin=margin, separable=None if epoch == 0 else epoch == 5
        )
        write_record(folder / "run0", record, 1)
    return folder


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("epoch = 5 and kernel = 'ntk'", [5]),
        ("epoch == 5 and kernel == 'ntk'", [5]),
        ("EPOCH IN (0, 5) AND kernel <> 'conjugate'", [0, 5]),
        ("epoch in [0, 5] and kernel != 'conjugate'", [0, 5]),
        ("kernel = 'ntk' and not epoch = 0", [1, 5]),
        ("kernel = 'ntk' and margin * 100 > 3", [5]),
        ("kernel = 'ntk' and margin > 0", [1, 5]),
        ("kernel like 'n%' and margin is null -- the first", [0]),
        ("separable and kernel = 'ntk'", [5]),
        ("kernel = 'ntk' and epoch = (select max(epoch) from results)", [5]),
        ("kernel = 'ntk' and config->>'$.training.epochs' = '5'", [0, 1, 5]),
        ("epoch > 99", []),
    ],
)
def test_rows_that_fit(folder, condition, rows):
    frame = results(folder, condition)
    assert frame["epoch"].tolist() == rows
    assert frame.dtypes.astype(str).to_dict() == results(folder).dtypes.astype(str).to_dict()


def test_missing_values_fit_nothing(folder):
    assert results(folder, "margin > 0")["epoch"].tolist() == [1, 1, 5, 5]
    assert results(folder, "margin <= 0").empty
    assert results(folder, "not margin > 0").empty


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("epoch = ", 'syntax error at or near "=" (character 7 of 8)'),
        ("epoch = 5)", 'syntax error at or near ")" (character 10 of 10)'),
        ("(epoch = 5", 'syntax error at or near "5" (character 10 of 10)'),
        ("arch = 'é' and and epoch = 5", 'syntax error at or near "and" (character 16 of 28)'),
        ("epoch = 'ntk", "unterminated string literal (character 9 of 12)"),
        ("epoch = 5 /* why\n", 'unterminated /* comment at or near "/* why " (character 11 of 17)'),
        ("epoch = 5 order by epoch", 'syntax error at or near "order" (character 11 of 24)'),
        ("", "it is not true or false for each row"),
        ("epoch", "it is not true or false for each row"),
        ("epok = 5", 'epok is not a column (write text in single quotes), but epoch is; --sql "desc'),
        ('kernel = "ntk"', "ntk is not a column (write text in single quotes); --sql"),
        ("epoch < 'a'", "could not convert string 'a'"),
        ("results.epok = 5", "epok is not a column"),
        ("select max(epok) > 3 from results", "epok is not a column"),
        ("1 = 1; drop table results", 'syntax error at or near ";" (character 6 of 25)'),
        ("true) union select (true", "same number of result columns"),
        ("epoch in (select count(*) from '/etc/passwd')", "/etc/passwd does not exist"),
        ("epoch in (select 1 from read_text('/etc/passwd'))", "cannot access file"),
        ("__import__('os').system('true')", "Function with name system does not exist"),
        ("error('stop') = 'a'", "stop"),
    ],
)
def test_an_invalid_condition_is_reported_briefly(folder, condition, message):
    with pytest.raises(UserError) as error:
        results(folder, condition)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250
    assert ("lists the columns" in str(error.value)) == ("(character" not in message and "true or false" not in message)


def test_sql_answers_with_typed_columns(folder):
    frame = ak.sql(folder, "select kernel, epoch, margin, separable, count(*) over () as n from results order by 1, 2")
    kinds = ["str", "float64", "Float64", "boolean", "int64"]
    assert frame.dtypes.astype(str).tolist() == kinds
    assert frame["n"].tolist() == [6] * 6
    mean = sql(folder, "select arch, epoch, avg(svm_test_error) as e from results group by arch, epoch order by epoch")
    assert mean.to_dict("list") == {"arch": ["vgg"] * 3, "epoch": [0, 1, 5], "e": [pytest.approx(0.1)] * 3}


def test_every_column_can_be_selected_and_all_of_them(folder):
    frame = sql(folder, "select * from results")
    assert list(frame.columns) == [*FRAME, "config", "provenance"]
    assert (frame["schema_version"] == SCHEMA_VERSION).all()
    assert sql(folder, "select provenance->>'$.versions.torch' as torch from results")["torch"].tolist() == ["2.9"] * 6


@pytest.mark.parametrize("made", ["describe results", "summarize results"])
def test_the_table_describes_itself(folder, made):
    assert sql(folder, made)["column_name"].tolist() == [*FRAME, "config", "provenance"]


ELSEWHERE = [
    "copy results to '{}'",
    "with gone as (copy results to '{}') select * from gone",
    "create table more as select 1",
    "insert into results select * from results",
    "drop table results",
    "attach '{}' as more",
    "install httpfs",
    "set enable_external_access = true",
    "pragma database_list",
    "select 1; select 2",
    "",
    "select * from '{}'",
    "select * from read_parquet('{}')",
    "select * from read_blob('{}')",
    "select * from glob('/*')",
    "select * from 'https://example.com/a.parquet'",
    "select * from query('copy results to ''{}''')",
    "select * from secret",
    "select getenv('HOME')",
]


@pytest.mark.parametrize("query", ELSEWHERE)
def test_a_query_reaches_nothing_but_the_table(folder, query):
    import pandas as pd

    secret = pd.DataFrame({"a": [1]})  # which the engine would find by its name
    path = folder / "run0" / "records" / "0.eval0.1.json"
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"^Can't answer [^\n]+: [^\n]{,250}\.$"):
        sql(folder, query.format(path))
    assert path.read_bytes() == before
    assert len(secret) == 1
    assert {entry.name for entry in folder.rglob("*")} == {
        "run0",
        "records",
        *(f"{n}.eval0.1.json" for n in (0, 4, 20)),
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select epoch frm results where", 'syntax error at or near "results" (character 18 of 30).'),
        (
            "select epok from results",
            "epok is not a column (write text in single quotes), but epoch is; the table",
        ),
        ("select epoch from result", "table with name result does not exist; the table is results, and --sql"),
        ("select", "SELECT clause without selection list"),
        ("drop table results", "it is not one SELECT; the table is results"),
    ],
)
def test_an_invalid_query_is_reported_briefly(folder, query, message):
    with pytest.raises(UserError) as error:
        sql(folder, query)
    assert str(error.value).startswith(f"Can't answer {query!r}: {message}")


def test_a_connection_is_cut_off_even_where_a_query_was_not_looked_at(folder):
    import duckdb

    path = folder / "run0" / "records" / "0.eval0.1.json"
    with engine.open_results(find_runs(folder), folder) as open_results:
        for query in [*ELSEWHERE[:2], *ELSEWHERE[5:8], *ELSEWHERE[11:16]]:
            with pytest.raises(duckdb.Error):
                open_results.execute(query.format(path)).fetchall()


def test_the_examples_in_the_docs_take_one_svm_alone(tmp_path, make_record):
    pages = ("README.md", "docs/how-to/own-model.md")
    text = "".join((Path(__file__).parents[2] / page).read_text() for page in pages)
    queries = re.findall(r'--sql "(.*?)"|ak\.sql\(".*?", "(.*?)"\)', text)
    assert len(queries) >= 2
    write_record(tmp_path / "run0", make_record(evaluation_id="a", svm_backend="exact"), 1)
    before = [sql(tmp_path, a or b).to_dict("list") for a, b in queries]
    again = make_record(evaluation_id="b", svm_backend="libsvm", margin=9.0, svm_test_error=0.9)
    write_record(tmp_path / "run0", again, 1)
    assert [sql(tmp_path, a or b).to_dict("list") for a, b in queries] == before
    assert all(before)
