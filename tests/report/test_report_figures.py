import io
import itertools
import json
import math
import sys

import altair as alt
import pandas as pd
import pytest

from afterkernel.claims import CLAIMS, judge
from afterkernel.records import read_records
from afterkernel.report import (
    build,
    drawing,
    figure_claim,
    figure_errors,
    figure_file,
    figure_invariances,
    figure_trajectory,
    style,
)
from afterkernel.report import table_data as tables
from afterkernel.report.page import build_page
from afterkernel.report.sections import make_sections


@pytest.fixture
def rows(tmp_path):
    def load():
        (section,) = make_sections(read_records(tmp_path))
        return section.rows()

    return load


def data(chart):
    """The rows that the JSON of a chart carries."""
    return pd.read_csv(io.StringIO(chart["data"]["values"]), dtype={"rate": str})


def errors_figure(rows):
    return figure_errors.draw(rows, tables.errors_by_epoch(rows))


def test_the_chart_of_errors_has_the_numbers_of_the_table_in_percent(write_run, rows):
    for seed, shift in enumerate([0.0, 0.02]):
        write_run({0: 0.1 + shift, 1: 0.04 + shift, 5: 0.02 + shift}, seed=seed, rate=0.1)
        write_run({0: 0.1 + shift, 1: 0.08 + shift, 5: 0.06 + shift}, seed=seed, rate=0.01)
    table, drawn = tables.errors_by_epoch(rows()), data(errors_figure(rows()))
    titles = {"Neural tangent kernel (NTK) → after kernel (AK)": "ntk", "Conjugate kernel (CK)": "conjugate"}
    drawn = drawn.assign(kernel=drawn["kernel"].map(titles).fillna("network"))
    keys = ["panel", "kernel", "learning_rate", "epoch"]
    means = drawn.dropna(subset=["mean"]).assign(learning_rate=lambda one: one["rate"].astype(float))
    both = means.merge(table[(table["kernel"] != "network") | (table["epoch"] > 0)], on=keys, suffixes=("", "_table"))
    assert len(both) == len(means) == 2 * 2 * 3 + 2 * 2
    for name, column in {"mean": "mean_table", "low": "ci95_low", "high": "ci95_high"}.items():
        assert both[name].to_numpy() == pytest.approx(100 * both[column].to_numpy(dtype=float))
    assert (both["n"] == 2).all()
    assert drawn.dropna(subset=["start"])[["kernel", "start"]].to_numpy().tolist() == [
        ["conjugate", pytest.approx(12.0)],
        ["ntk", pytest.approx(11.0)],
    ]


def test_points_of_fewer_seeds_are_open(write_run, rows):
    write_run({0: 0.1, 1: 0.04, 5: 0.03}, seed=0)
    write_run({0: 0.1, 1: 0.04}, seed=1, last=5)
    drawn = data(errors_figure(rows())).dropna(subset=["mean"])
    assert set(drawn[drawn["fewer"] == 1]["epoch"]) == {5}
    marks = [layer["mark"] for layer in errors_figure(rows())["spec"]["layer"]]
    assert [mark.get("style") for mark in marks if mark["type"] == "point"] == [None, "open"]


def test_a_click_on_the_legend_switches_learning_rates_and_hover_has_meanings_and_units(write_run, rows):
    for rate in (0.1, 0.03):
        write_run({0: 0.1, 1: 0.04}, rate=rate)
    spec = errors_figure(rows())
    (switch,) = [one for one in spec["params"] if one["name"] == "rates"]
    assert switch["value"] == ["0.03", "0.1"]
    tips = [tip["title"] for layer in spec["spec"]["layer"] for tip in layer["encoding"].get("tooltip", [])]
    assert {"learning rate", "epoch", "test error (%)", "95 % interval over seeds", "seeds"} <= set(tips)


def test_dumbbells_join_before_and_after(write_run, rows):
    write_run({0: 0.1, 5: 0.02}, swap={0: 0.8, 5: 0.6})
    changes = figure_invariances.invariance_changes(tables.changes(rows()))
    drawn = data(figure_invariances.draw(changes, [0.1]))
    assert drawn["transform"].unique().tolist() == ["shift", "rotation", "zoom", "swap (lower = more global)"]
    swap = drawn[drawn["transform"].str.startswith("swap")]
    assert set(zip(swap["before"], swap["after"], strict=True)) == {(0.8, 0.6)}
    assert "swap (lower = more global) falls at 1 of 1 rate (mean 0.800 to 0.600)" in figure_invariances.result(changes)


def test_no_invariances_no_figure(write_run, rows, tmp_path):
    none = dict.fromkeys([f"{name}_invariance" for name in ("shift", "rotation", "zoom", "swap")])
    write_run({0: 0.1}, kernel_fields=none)
    assert figure_invariances.invariance_changes(tables.changes(rows())).empty
    build(tmp_path)
    assert not list((tmp_path / "report" / "figures").glob("*_invariances.*"))


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(colour, other):
    low, high = sorted([luminance(colour), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", style.THEMES)
def test_colours_have_contrast_and_rates_are_ordered_by_lightness(theme):
    config, page = style.config(theme, 7), style.page_colour(theme)
    outcomes = style.config(theme, 0)["range"]["category"]
    graphics = [*config["range"]["category"], *outcomes, config["style"]["ink"]["color"]]
    assert all(contrast(colour, page) >= 3 for colour in graphics)
    texts = [config[part][name] for part in ("axis", "legend") for name in ("labelColor", "titleColor")]
    assert all(contrast(colour, page) >= 4.5 for colour in [*texts, config["header"]["labelColor"]])
    ramp = [luminance(colour) for colour in config["range"]["category"]]
    assert ramp == sorted(ramp)
    assert len(set(style.SHAPES)) == len(style.SHAPES) >= 5


@pytest.fixture
def spec(write_run, rows):
    write_run({0: 0.1, 1: 0.04})
    return errors_figure(rows())


def test_one_description_gives_valid_deterministic_files(spec):
    starts = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}
    images = [drawing.images(spec, starts) for _ in range(2)]
    assert [images[0][kind] == images[1][kind] for kind in ("png", "svg")] == [True, True]
    assert all(image.startswith(starts[kind]) for kind, image in images[0].items())
    assert b">test error (%), scale log(1 + x)</text>" in images[0]["svg"]  # text is text
    alt.Chart.from_dict(spec | {"config": style.config("dark", 1)})  # raises for a spec that the schema refuses


def test_every_figure_of_a_report_is_valid_by_the_schema(write_run, tmp_path):
    for seed, rate in itertools.product(range(2), (0.1, 0.01)):
        write_run({0: 0.1, 1: 0.04}, seed=seed, rate=rate, losses=(0.25,))
        write_run({0: 0.1, 1: 0.05}, seed=seed, rate=rate, training={"augment": "rotation"}, losses=(0.25,))
    figures = build_page(tmp_path).files.figures
    kinds = {"claim", "test_error", "invariances", "trajectory", "losses"}
    assert {kind for kind in kinds for name in figures if kind in name} == kinds
    for figure in figures.values():
        alt.Chart.from_dict(figure.spec)  # raises for a spec that the schema refuses


def test_a_report_does_without_altair(write_run, tmp_path, monkeypatch):
    """Building its charts takes a fifth of the time of a large report."""
    write_run({0: 0.1, 1: 0.04})
    monkeypatch.setitem(sys.modules, "altair", None)
    assert build_page(tmp_path).files.figures


def test_the_description_of_a_figure_cannot_end_its_script(spec):
    figure = figure_file.PageFigure("", "", spec | {"title": "</script><b>"}, drawing.Drawing({}, ()), [])
    assert "<" not in figure.script
    assert json.loads(figure.script)["title"] == "</script><b>"


def test_trajectories_show_every_measure_from_the_start(write_run, rows):
    for seed in (0, 1):
        write_run({0: 0.1, 1: 0.05 + seed / 100, 60: 0.02}, swap={0: 0.8, 1: 0.7, 60: 0.4 + seed / 10}, seed=seed)
    write_run({0: 0.1, 1: 0.06}, seed=2, last=60)
    ntk = rows()
    ntk = ntk[ntk["kernel"] == "ntk"]
    table = figure_trajectory.trajectory(ntk)
    swap = table[table["measure"] == "swap_invariance"].set_index("epoch")
    assert swap.loc[60, "mean"] == pytest.approx(0.45)
    assert swap.loc[60, "standard_error"] == pytest.approx(0.05)
    assert swap.loc[60, "ci95_low"] == pytest.approx(0.45 - 12.706 * 0.05, abs=1e-4)
    assert swap["n_seeds"].tolist() == [3, 3, 2]
    figure = figure_trajectory.draw(table, [0.1])
    drawn = data(figure)
    assert figure["facet"]["sort"][:3] == ["SVM test error (%)", "SVM margin", "shift invariance"]
    error = drawn[drawn["title"] == "SVM test error (%)"]
    assert error["mean"].tolist() == pytest.approx([10.0, 100 * (0.05 + 0.06 + 0.06) / 3, 2.0])
    # The interval over two seeds is cut for the axis and not for the reader.
    last = drawn[(drawn["measure"] == "swap_invariance") & (drawn["epoch"] == 60)].iloc[0]
    assert last["low"] == pytest.approx(swap.loc[60, "ci95_low"])
    assert last["bar_low"] == pytest.approx(0.45 - (0.7 - 0.45))
    assert "swap invariance (lower = more global) 0.700 to 0.450" in figure_trajectory.result(table)


def test_a_measure_that_a_later_version_adds_is_drawn_and_one_that_is_missing_is_not(write_run, rows):
    write_run({0: 0.1, 1: 0.05}, kernel_fields={"margin": None})
    frame = rows().assign(distance_to_initial=0.3)
    measures = set(figure_trajectory.trajectory(frame[frame["kernel"] == "ntk"])["measure"])
    assert "distance_to_initial" in measures
    assert "margin" not in measures


def test_the_figure_of_a_claim_shows_every_seed_mean_and_interval(write_run, rows):
    for arch, change in (("vgg", -0.1), ("mlp", -0.1)):
        for seed in range(8):
            swap = {0: 0.5, 5: 0.5 + change + seed / 100}
            write_run({0: 0.1, 5: 0.1}, arch=arch, seed=seed, swap=swap)
    finding = judge(CLAIMS["c2"], rows())
    chart = figure_claim.draw(figure_claim.measured(finding))
    drawn = data(chart)
    means, seeds = drawn.dropna(subset=["mean"]), drawn.dropna(subset=["value"])
    assert means["outcome"].tolist() == ["shown to hold", "shown not to hold"]
    for (_, one), row in zip(finding.comparisons, means.to_dict("records"), strict=True):
        assert [row["mean"], row["low"], row["high"]] == [one.test.mean, one.test.low, one.test.high]
    assert (
        seeds.groupby("part")["value"].apply(list).tolist()
        == [pytest.approx([-0.1 + seed / 100 for seed in range(8)])] * 2
    )
    panels = chart["vconcat"]
    domains = [panel["layer"][-1]["encoding"]["x"]["scale"]["domain"] for panel in panels]
    assert domains[0] == domains[1]  # the same unit, the same scale
    assert [panel["layer"][-1]["encoding"]["x"]["axis"]["title"] for panel in panels] == ["cosine", "cosine"]
    left, right = ([panel["layer"][0]["data"] for panel in panels][place] for place in (0, 1))
    assert left != right  # the claimed regions: below 0, and above it
    assert "VGG nets: shown to hold in 1 of 1 comparison drawn" in figure_claim.result(finding)
    assert figure_claim.measured(judge(CLAIMS["c5"], rows())) == []


def test_the_result_of_errors_says_where_the_after_kernel_is_better(write_run, rows):
    write_run({0: 0.034, 5: 0.011}, rate=0.1)
    write_run({0: 0.034, 5: 0.05}, rate=0.3)
    assert figure_errors.result(tables.changes(rows())) == (
        "vgg: test error of the after kernel (AK) after training is below that of the Neural tangent kernel (NTK) at "
        "initialisation at 1 of 2 learning rates: 1.10 % against 3.40 % at rate 0.1."
    )


@pytest.mark.parametrize("last", [0.3, 1.0, 60.0, 3000.0])
def test_ticks_are_round_and_have_room(last):
    ticks = style.nice_ticks(last, 200, 24)
    places = [math.log1p(tick) / math.log1p(last) * 200 for tick in ticks]
    assert ticks[0] == 0
    assert len(ticks) >= 3
    assert all(right - left > 24 for left, right in itertools.pairwise(places))
