"""The summary that an upload prints at its end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from client.cli.summary import summary, summary_lines


def test_the_summary_says_how_to_classify_cancelled_pictures() -> None:
    """An operator may have cancelled the job, or purged its lane."""
    counts = Counter(succeeded=2, cancelled=3)
    told = summary(Path("labels.csv"), counts, Counter(), 1, skipped={})
    lines = [line.strip() for line in summary_lines(told)]
    assert "3 cancelled" in lines
    again = "--retry-failed classifies them again"
    assert f"their rows in labels.csv have the state cancelled; {again}" in lines
