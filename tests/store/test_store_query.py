import pytest

from afterkernel.errors import UserError
from afterkernel.store import query, results, write_record


@pytest.fixture
def frame(tmp_path, make_record):
    for epoch, margin in [(0, None), (1, 0.02), (5, 0.04)]:
        record = make_record(
            ("ntk", "conjugate"), epoch=epoch, margin=margin, separable=None if epoch == 0 else epoch == 5
        )
        write_record(tmp_path, record)
    return results(tmp_path)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("epoch == 5 and kernel == 'ntk'", [5]),
        ("(epoch == 5) & (kernel == 'ntk')", [5]),
        ("epoch in [0, 5] and kernel != 'conjugate'", [0, 5]),
        ("kernel == 'ntk' and not epoch == 0", [1, 5]),
        ("kernel == 'ntk' and margin * 100 > 3", [5]),
        ("kernel == 'ntk' and margin > 0", [1, 5]),
        ("separable and kernel == 'ntk'", [5]),
        ("epoch > 99", []),
    ],
)
def test_rows_that_fit(frame, expression, rows):
    assert query(frame, expression)["epoch"].tolist() == rows


def test_missing_values_fit_nothing(frame):
    assert query(frame, "margin > 0")["epoch"].tolist() == [1, 1, 5, 5]
    assert query(frame, "margin <= 0").empty


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("epoch = 5", "equality is written =="),
        ("epoch ==", "not an expression"),
        ("", "not an expression"),
        ("epok == 5", "epok is not a column"),
        ("@frame == 5", "not an expression"),
        ("epoch @ 5", "matmult is not allowed"),
        ("__import__('os').system('true')", "call is not allowed"),
        ("kernel.__class__ == 1", "attribute is not allowed"),
        ("kernel.str.len() == 3", "call is not allowed"),
        ("epoch[0] == 5", "subscript is not allowed"),
        ("(lambda: 1) == 1", "lambda is not allowed"),
        ("__builtins__ == 1", "__builtins__ is not a column"),
        ("epoch", "does not say yes or no"),
        ("epoch < 'a'", "Invalid comparison"),
        ("9 ** 9 ** 9 == 1", "pow is not allowed"),
    ],
)
def test_a_bad_expression_is_told_with_the_columns(frame, expression, told):
    with pytest.raises(UserError) as error:
        query(frame, expression)
    assert told in str(error.value)
    assert "run_id, evaluation_id, sweep" in str(error.value)
