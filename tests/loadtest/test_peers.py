"""The comparison with peers, as far as it can be tested without installing them."""

from __future__ import annotations

from pathlib import Path

from loadtest.measure.measures import Level
from loadtest.peers import __main__ as runner
from loadtest.peers.peer import PEERS

_FOLDER = Path(runner.__file__).parent


def test_every_peer_has_a_program_and_pinned_requirements() -> None:
    for name in PEERS:
        assert (_FOLDER / f"{name}.py").exists()
        for line in (_FOLDER / "requirements" / f"{name}.txt").read_text().splitlines():
            assert line.startswith(("-r ", "#")) or "==" in line


def test_the_table_shows_the_slowest_requests_and_the_errors_of_a_peer() -> None:
    level = Level(rate=100, p50=500, p95=900, p99=7000, errors=2, client_core=0.1)
    levels = dict.fromkeys((1, 8, 32, 128), level)
    row = runner.Row(title="a peer", limit=200, levels=levels, paced=level, wrong=3, megabytes=512)
    last = runner.table([row]).splitlines()[-1]
    assert last.startswith("| a peer | 200 | 0.50 | 0.50 | 0.50 | 0.50 | 500 / 7000 |")
    assert last.endswith("| 0.39 | 900, 1.8 times | 10 | 3 | 512 |")
