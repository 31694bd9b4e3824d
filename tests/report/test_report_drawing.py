"""Charts that other processes draw are the charts that this process draws, also if those processes die."""

import os
import signal

import pytest

from afterkernel.report import drawing

FORMATS = ("png", "svg")


def chart(title):
    points = {"values": [{"x": at, "y": at * at} for at in range(4)]}
    axes = {name: {"field": name, "type": "quantitative"} for name in "xy"}
    return {"usermeta": {"rates": 1}, "title": title, "data": points, "mark": "point", "encoding": axes}


CHARTS = [chart(f"chart {at}") for at in range(drawing.FEW + 3)]


@pytest.fixture
def drawer(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    drawer = drawing.Drawer()
    yield drawer
    drawer.close()


@pytest.fixture
def drawn_here(monkeypatch):
    """The titles of the charts that this process has drawn."""
    titles, draw = [], drawing.images

    def images(spec, formats):
        titles.append(spec["title"])
        return draw(spec, formats)

    # A process receives the function by this name, and imports the original.
    images.__module__, images.__qualname__ = draw.__module__, draw.__qualname__
    monkeypatch.setattr(drawing, "images", images)
    return titles


def test_many_charts_are_drawn_by_other_processes_with_the_same_images(drawer, drawn_here):
    drawings = [drawer.draw(spec, FORMATS) for spec in CHARTS]
    found = [one.images for one in drawings]
    assert drawn_here == []
    assert found == [drawing.images(spec, FORMATS) for spec in CHARTS]
    assert len({one["svg"] for one in found}) == len(CHARTS)


@pytest.mark.parametrize(("number", "cores"), [(drawing.FEW, 2), (drawing.FEW + 1, 1)], ids=["few", "one core"])
def test_few_charts_or_one_core_need_no_process(drawer, drawn_here, monkeypatch, number, cores):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    drawings = [drawer.draw(spec, ("svg",)) for spec in CHARTS[:number]]
    assert drawn_here == []  # until the images are asked for
    assert all(one.images is one.images for one in drawings)
    assert drawn_here == [spec["title"] for spec in CHARTS[:number]]


def test_charts_of_processes_that_died_are_drawn_here(drawer, drawn_here):
    drawings = [drawer.draw(spec, FORMATS) for spec in CHARTS[:-1]]
    assert drawings[0].images
    for process in drawer._executor._processes:
        os.kill(process, signal.SIGKILL)
    found = [one.images for one in drawings]
    late = drawer.draw(CHARTS[-1], FORMATS)  # the pool refuses more work
    assert late.images == drawing.images(CHARTS[-1], FORMATS)
    assert CHARTS[-1]["title"] in drawn_here
    assert found == [drawing.images(spec, FORMATS) for spec in CHARTS[:-1]]


def test_processes_draw_all_charts_before_they_end(drawer, drawn_here):
    drawings = [drawer.draw(spec, ("svg",)) for spec in CHARTS]
    drawer.close()
    assert all(one.images for one in drawings)
    assert drawn_here == []
    assert [one.images for one in drawings] == [drawing.images(spec, ("svg",)) for spec in CHARTS]
