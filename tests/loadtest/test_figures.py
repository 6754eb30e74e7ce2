"""A quick run is compared with the published figures, and documents get their figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.publish import document, plots
from loadtest.publish.figures import FIGURES, Figures, comparison

STORED = Figures({"drained_share": [0.92, 0.94, 0.95], "hit_p99_ms": [2.0], "limit": [240.0]})


def test_a_difference_below_the_noise_is_no_difference() -> None:
    now = Figures({"drained_share": [0.88], "hit_p99_ms": [3.5], "limit": [120.0]})
    table, worse = comparison(now, STORED)
    assert worse == []
    assert "| drained / limit | 0.88 | 0.94 | +7% | 10% |" in table
    assert "bare loop" not in table, "it depends on the machine alone, so it is not compared"


def test_a_figure_that_is_worse_by_more_than_the_noise_is_named() -> None:
    _, worse = comparison(Figures({"drained_share": [0.7], "hit_p99_ms": [5.0]}), STORED)
    assert worse == ["drained / limit: 0.7, stored 0.94", "cache hit, p99 (ms): 5, stored 2"]


def test_a_better_figure_is_not_reported_as_worse() -> None:
    _, worse = comparison(Figures({"drained_share": [1.5], "hit_p99_ms": [0.1]}), STORED)
    assert worse == []


def test_figures_are_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text(STORED.to_json())
    assert Figures.load(path).values == STORED.values


def test_the_table_shows_median_range_and_aim() -> None:
    assert "| drained / limit | 0.94 | 0.92 to 0.95 | ≥ 0.92 |" in STORED.table()


def test_every_figure_is_defined_once() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)


def test_only_the_text_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: by `make` -->\nold\n<!-- end of bench -->\nafter\n")
    document.fill("bench", "new", page)
    assert page.read_text() == (
        "before\n<!-- bench: by `make` -->\nnew\n<!-- end of bench -->\nafter\n"
    )
    with pytest.raises(ValueError):
        document.fill("peers", "new", page)


def test_every_published_table_has_its_markers() -> None:
    page = document.PERFORMANCE.read_text()
    for name in ("bench", "cpu", "overload", "peers"):
        assert page.count(f"<!-- {name}: ") == page.count(f"<!-- end of {name} -->") == 1


def test_the_same_figures_make_the_same_plots(tmp_path: Path) -> None:
    shares = ("drained_share", "bulk_share", "single_share_32", "single_share_128")
    loads = {f"{name}_at_{load}": [10.0, 12.0] for name in ("p50", "p95") for load in (30, 60, 90)}
    figures = Figures({"idle_ms": [9.0], **{share: [0.8, 0.9] for share in shares}, **loads})
    for path in (tmp_path / "one.svg", tmp_path / "other.svg"):
        plots.throughput(figures, path)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    plots.latency(figures, tmp_path / "latency.svg")
    assert (tmp_path / "latency.svg").stat().st_size > 1000
