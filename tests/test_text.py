import pandas as pd
import pytest

from afterkernel import text as fmt


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (fmt.general(0.03), "0.03"),
        (fmt.general(1e-5), "1e-5"),
        (fmt.general(1.0), "1"),
        (fmt.general(1e20), "1e20"),
        (fmt.percent(0.01325), "1.32"),
        (fmt.percent(0.125, 1), "12.5"),
        (fmt.cosine(0.8764), "0.876"),
        (fmt.scientific(3.14e-7), "3.1e-7"),
        (fmt.scientific(0.0), "0"),
        (fmt.significant(0.012345), "0.0123"),
        (fmt.significant(9.999), "10.0"),
        (fmt.significant(4512.0), "4510"),
        (fmt.significant(-1.2), "-1.20"),
        (fmt.significant(1e-9), "1.0e-9"),
        (fmt.seconds(0.0001), "<0.001"),
        (fmt.seconds(14.23), "14.2"),
        (fmt.size(512), "512 B"),
        (fmt.size(3 * 2**30), "3.00 GiB"),
        (fmt.count(11982), "11,982"),
        (fmt.flag(True), "yes"),
        (fmt.plural(1, "seed"), "1 seed"),
        (fmt.plural(3, "seed"), "3 seeds"),
        (fmt.spread("1.3", "0.1"), "1.3 ± 0.1"),
        (fmt.spread("1.3", fmt.MISSING), "1.3"),
        (fmt.signed("0.2", 0.2), "+0.2"),
        (fmt.signed("-0.2", -0.2), "\N{MINUS SIGN}0.2"),
        (fmt.signed("-0.000", -1e-9), "0.000"),
        (fmt.signed("0.000", 1e-9), "0.000"),
        (fmt.table_cell(True), "yes"),
        (fmt.table_cell("mlp"), "mlp"),
    ],
)
def test_numbers_for_people(text, wanted):
    assert text == wanted


@pytest.mark.parametrize("missing", [None, pd.NA, float("nan")])
@pytest.mark.parametrize(
    "form",
    [
        fmt.general,
        fmt.percent,
        fmt.cosine,
        fmt.scientific,
        fmt.significant,
        fmt.seconds,
        fmt.size,
        fmt.count,
        fmt.flag,
        fmt.table_cell,
    ],
)
def test_what_is_missing_is_a_dash(form, missing):
    assert form(missing) == fmt.MISSING


def test_small_test_sets_carry_fewer_decimals():
    assert [fmt.percent_decimals(n) for n in (72, 499, 500, 10000)] == [1, 1, 2, 2]
