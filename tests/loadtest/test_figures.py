"""A quick run is compared with the published figures, and documents get their figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadtest.publish import document, plots
from loadtest.measure.pictures import PHOTOS, SMALL
from loadtest.publish.figures import FIGURES, Figures, Sets, comparison, stored

PUBLISHED = Sets(
    {
        SMALL: Figures(
            {"drained_share": [0.92, 0.94, 0.95], "hit_p99_ms": [2.0], "limit": [240.0]}
        ),
        PHOTOS: Figures({"drained_share": [0.96], "limit": [30.0]}),
    }
)


def small(**values: float) -> Sets:
    return Sets({SMALL: Figures({name: [value] for name, value in values.items()})})


def test_a_difference_below_the_noise_is_no_difference() -> None:
    now = small(drained_share=0.88, hit_p99_ms=3.5, limit=120.0)
    table, worse = comparison(now, PUBLISHED)
    assert worse == []
    assert "| drained / limit | pictures | 0.88 | 0.94 | +7% | 10% |" in table
    assert "bare loop" not in table, "it depends on the machine alone, so it is not compared"


def test_a_figure_that_is_worse_by_more_than_the_noise_is_named() -> None:
    _, worse = comparison(small(drained_share=0.7, hit_p99_ms=5.0), PUBLISHED)
    assert worse == [
        "drained / limit, pictures: 0.7, stored 0.94",
        "cache hit, p99 (ms), pictures: 5, stored 2",
    ]


def test_each_set_is_compared_with_its_own_figures() -> None:
    now = Sets({PHOTOS: Figures({"drained_share": [0.8]})})
    _, worse = comparison(now, PUBLISHED)
    assert worse == ["drained / limit, photos of 12 MP: 0.8, stored 0.96"]
    _, worse = comparison(now, small(drained_share=0.7))
    assert worse == [], "these photos have no published figure"


def test_a_better_figure_is_not_reported_as_worse() -> None:
    _, worse = comparison(small(drained_share=1.5, hit_p99_ms=0.1), PUBLISHED)
    assert worse == []


def test_figures_are_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text(PUBLISHED.to_json())
    assert Sets.load(path) == PUBLISHED


def test_the_published_figures_of_each_engine_are_on_the_page_and_can_be_read() -> None:
    page = document.PERFORMANCE.read_text()
    engines = re.findall(r"<!-- bench-(\S+): ", page)
    assert "onnxruntime-fp32" in engines
    for engine in engines:
        assert page.count(f"<!-- end of bench-{engine} -->") == 1
        assert Sets.load(stored(engine))[SMALL].values["drained_share"]


def test_the_table_shows_median_range_and_aim_of_each_set() -> None:
    row = "| drained / limit | 0.94 | 0.92 to 0.95 | ≥ 0.92 | 0.96 | ≥ 0.95 |"
    assert row in PUBLISHED.table()
    assert "| cache hit, p99 (ms) | 2 | 2 to 2 | ≤ 5 |  |  |" in PUBLISHED.table()


def test_a_table_of_one_round_has_no_range() -> None:
    head, _, row = small(drained_share=0.9).table().splitlines()
    assert head == "| measured | pictures | aim |"
    assert row == "| drained / limit | 0.9 | ≥ 0.92 |"


def test_every_figure_is_defined_once() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)


#: A table whose name begins with that of another one.
OTHER = "<!-- bench-two: by `make` -->\nkept\n<!-- end of bench-two -->\n"


def test_only_the_text_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n<!-- bench: by `make` -->\nold\n<!-- end of bench -->\n{OTHER}after\n"
    )
    document.fill("bench", "new", page)
    assert page.read_text() == (
        f"before\n<!-- bench: by `make` -->\nnew\n<!-- end of bench -->\n{OTHER}after\n"
    )
    with pytest.raises(ValueError):
        document.fill("peers", "new", page)


def test_every_published_table_has_its_markers() -> None:
    page = document.PERFORMANCE.read_text()
    for name in ("cpu", "overload", "peers", "peers-openvino"):
        assert page.count(f"<!-- {name}: ") == page.count(f"<!-- end of {name} -->") == 1


def test_the_same_figures_make_the_same_plots(tmp_path: Path) -> None:
    shares = ("drained_share", "bulk_share", "single_share_32", "single_share_128")
    loads = {f"{name}_at_{load}": [10.0, 12.0] for name in ("p50", "p95") for load in (30, 60, 90)}
    figures = Figures({"idle_ms": [9.0], **{share: [0.8, 0.9] for share in shares}, **loads})
    for path in (tmp_path / "one.svg", tmp_path / "other.svg"):
        plots.throughput(Sets({SMALL: figures, PHOTOS: figures}), path)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    plots.latency(figures, tmp_path / "latency.svg")
    assert (tmp_path / "latency.svg").stat().st_size > 1000
