import math

import pytest

from afterkernel.claims import CLAIMS, judge
from afterkernel.records import read_records
from afterkernel.report import build, figure_claim, figure_errors, figure_invariances, figure_trajectory, style
from afterkernel.report import table_data as tables
from afterkernel.report.sections import make_sections


@pytest.fixture
def rows(tmp_path):
    def load():
        (section,) = make_sections(read_records(tmp_path))
        return section.rows()

    return load


def lines(axes, *, bars=False):
    """Solid lines: those with markers, of the means, or those without, broken between the bars."""
    return [
        (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.get_lines()
        if line.get_linestyle() == "-" and (line.get_marker() == "None") == bars
    ]


def test_lines_are_the_means_in_percent_a_panel_a_kernel(write_run, rows):
    for seed, shift in enumerate([0.0, 0.02]):
        write_run({0: 0.1 + shift, 1: 0.04 + shift, 5: 0.02 + shift}, seed=seed, rate=0.1)
        write_run({0: 0.1 + shift, 1: 0.08 + shift, 5: 0.06 + shift}, seed=seed, rate=0.01)
    figure = figure_errors.draw(rows(), tables.errors_by_epoch(rows()))
    ntk, ck, own = figure.axes
    assert lines(ntk)[0] == ([0, 1, 5], pytest.approx([11.0, 9.0, 7.0]))
    assert lines(ntk)[1] == ([0, 1, 5], pytest.approx([11.0, 5.0, 3.0]))
    assert lines(ck)[1] == ([0, 1, 5], pytest.approx([12.0, 6.0, 4.0]))
    assert lines(own)[0] == ([1, 5], pytest.approx([7.77, 7.77]))
    error = 100 * 0.01  # of two values 0.02 apart
    places, ends = lines(ntk, bars=True)[1]
    assert places == [0, 0, 0, 1, 1, 1, 5, 5, 5]
    assert ends == pytest.approx(
        [11 - error, 11 + error, math.nan, 5 - error, 5 + error, math.nan, 3 - error, 3 + error, math.nan], nan_ok=True
    )
    dashed = [line for line in ntk.get_lines() if line.get_linestyle() == "--"]
    assert list(dashed[0].get_ydata()) == pytest.approx([11.0, 11.0])
    assert ntk.get_ylim() == ck.get_ylim() == own.get_ylim()


def test_the_legend_covers_no_panel_and_names_the_band(write_run, rows):
    for seed in (0, 1):
        write_run({0: 0.1, 1: 0.04}, seed=seed)
    figure = figure_errors.draw(rows(), tables.errors_by_epoch(rows()))
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert [text.get_text() for text in legend.get_texts() if text.get_text().strip()] == [
        "learning rate 0.1",
        "kernel at initialisation",
        "bar: ± standard error over seeds",
    ]


def test_points_of_fewer_seeds_are_open(write_run, rows):
    write_run({0: 0.1, 1: 0.04, 5: 0.03}, seed=0)
    write_run({0: 0.1, 1: 0.04}, seed=1, last=5)
    figure = figure_errors.draw(rows(), tables.errors_by_epoch(rows()))
    faces = {
        line.get_markerfacecolor(): line.get_xdata().tolist()
        for line in figure.axes[0].get_lines()
        if line.get_marker() == "o"
    }
    assert faces["white"] == [5]
    assert any("fewer seeds" in text.get_text() for text in figure.legends[0].get_texts())


def test_dumbbells_join_before_and_after(write_run, rows):
    write_run({0: 0.1, 5: 0.02}, swap={0: 0.8, 5: 0.6})
    figure = figure_invariances.draw(figure_invariances.invariance_changes(tables.changes(rows())), [0.1])
    ends = [tuple(line.get_xdata()) for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2]
    assert (0.8, 0.6) in ends
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["shift", "rotation", "zoom", "swap\n(lower = more global)"]


def test_no_invariances_no_figure(write_run, rows, tmp_path):
    none = dict.fromkeys([f"{name}_invariance" for name in ("shift", "rotation", "zoom", "swap")])
    write_run({0: 0.1}, kernel_fields=none)
    assert figure_invariances.invariance_changes(tables.changes(rows())).empty
    build(tmp_path)
    assert not list((tmp_path / "report" / "figures").glob("*_invariances.*"))


def test_colours_and_markers_distinguish_rates_in_order():
    styles = style.rate_styles([0.1, 0.01, 0.03])
    assert list(styles) == [0.01, 0.03, 0.1]
    brightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in (look["color"] for look in styles.values())]
    assert brightness == sorted(brightness)
    assert len({look["marker"] for look in styles.values()}) == 3


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_data_draw_the_same_bytes(write_run, rows, kind):
    write_run({0: 0.1, 1: 0.04})
    images = [style.render(figure_errors.draw(rows(), tables.errors_by_epoch(rows())), kind) for _ in range(2)]
    assert images[0] == images[1]
    assert images[0].startswith(b"\x89PNG" if kind == "png" else b"<?xml")


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
    assert swap["n_seeds"].tolist() == [3, 3, 2]
    figure = figure_trajectory.draw(table, [0.1])
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    assert titles[:3] == ["SVM test error (%)", "SVM margin", "shift invariance"]
    assert "swap invariance\n(lower = more global)" in titles
    (axes,) = [one for one in figure.axes if one.get_title(loc="left").startswith("SVM test")]
    assert lines(axes)[0] == ([0, 1], pytest.approx([10.0, 100 * (0.05 + 0.06 + 0.06) / 3]))
    assert axes.get_xlim()[0] <= 0
    assert style.render(figure, "svg").startswith(b"<?xml")


def test_a_measure_that_a_later_version_adds_is_drawn_and_one_that_is_missing_is_not(write_run, rows):
    write_run({0: 0.1, 1: 0.05}, kernel_fields={"margin": None})
    frame = rows().assign(distance_to_initial=0.3)
    measures = set(figure_trajectory.trajectory(frame[frame["kernel"] == "ntk"])["measure"])
    assert "distance_to_initial" in measures
    assert "margin" not in measures


def test_the_figure_of_a_claim_shows_outcomes_by_shape_and_shades_the_claimed_region(write_run, rows):
    for arch, change in (("vgg", -0.1), ("mlp", -0.1)):
        for seed in range(8):
            swap = {0: 0.5, 5: 0.5 + change + seed / 100}
            write_run({0: 0.1, 5: 0.1}, arch=arch, seed=seed, swap=swap)
    figure = figure_claim.draw(figure_claim.measured(judge(CLAIMS["c2"], rows())))
    markers = [line.get_marker() for axes in figure.axes for line in axes.get_lines() if line.get_marker() in "oXD"]
    assert markers == ["o", "X"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["cosine", "cosine"]
    assert figure_claim.measured(judge(CLAIMS["c5"], rows())) == []
