"""The rate of an upload, and the time that is left by it."""

from __future__ import annotations

import time

import pytest

from client.cli.progress import Lines, Rate, _line


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in its last entry. It moves only when a test appends."""
    times = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[-1])
    return times


def test_the_rate_is_that_of_the_last_half_minute(seconds: list[float]) -> None:
    rate = Rate()
    for second in range(120):
        seconds.append(1000 + second)
        rate.note(10 * second if second < 60 else 600 + 2 * (second - 60))
    assert rate.per_second == pytest.approx(2, rel=0.05)


def test_the_time_before_the_first_pictures_does_not_count(seconds: list[float]) -> None:
    rate = Rate()
    seconds.append(1060)
    rate.note(0)
    seconds.append(1062)
    rate.note(20)
    assert rate.per_second == 10


class Log:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    "seconds_each, words",
    [(2.5, "1 of 1 picture, 0.4 pictures/s"), (0.01, "1 of 1 picture, 100 pictures/s")],
)
def test_a_line_counts_in_plain_english(
    seconds: list[float], seconds_each: float, words: str
) -> None:
    log = Log()
    lines = Lines(log)  # type: ignore[arg-type]
    lines.total = 1
    seconds.append(1100)
    lines.show(done=0, failed=0)
    seconds.append(1200)
    lines._rate = Rate()
    lines._rate.note(0)
    seconds.append(1200 + seconds_each)
    lines.show(done=1, failed=0)
    assert log.text.splitlines()[-1] == f"{words}, 0 failed"


def test_the_first_estimate_of_a_short_upload_is_right_within_a_factor_of_two(
    seconds: list[float],
) -> None:
    """The first of 200 pictures waits ten seconds for a worker. Then come ten a second, by 32."""
    rate, shown = Rate(), []
    for tenth in range(300):
        seconds.append(1000 + tenth / 10)
        done = min(200, max(0, tenth - 100) // 32 * 32)
        rate.note(done)
        shown.append((tenth / 10, done, _line(done, 200, 0, rate)))
    estimates = [(time_, line) for time_, _, line in shown if " left" in line]
    assert estimates[0][0] > 15 and not any("pictures/s" in each for *_, each in shown[:150])
    for time_, line in estimates:
        left = int(line.partition("pictures/s, ")[2].partition(" s left")[0])
        assert (30 - time_) / 2 <= left <= (30 - time_) * 2 + 3, (time_, line)


def test_the_time_without_an_answer_does_not_count(seconds: list[float]) -> None:
    rate = Rate()
    for second in range(200):
        seconds.append(1000 + second)
        rate.note(10 * min(second, 50) if second < 150 else 500 + 10 * (second - 149))
    assert rate.per_second == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("own", [100, 900])
def test_the_estimate_after_a_resume_is_right_within_a_factor_of_two(
    seconds: list[float], own: int
) -> None:
    """1,000 of 3,000 pictures are in the table, and 1,000 more were classified before the resume.

    The last 1,000 come at ten a second.
    """
    log = Log()
    lines = Lines(log)  # type: ignore[arg-type]
    lines.total = 3000
    lines.show(done=1000, failed=0, earlier=1000)
    seconds.append(1000.5)
    lines.show(done=2000, failed=0, earlier=2000)  # written at once
    for picture in range(1, own + 1):
        seconds.append(1000.5 + picture / 10)
        lines.show(done=2000 + picture, failed=0, earlier=2000)
    last = log.text.splitlines()[-1]
    done = int(last.split()[0].replace(",", ""))
    minutes, _, rest = last.partition(" pictures/s, ")[2].partition(" left")[0].rpartition(" min ")
    left = 60 * int(minutes or 0) + int(rest.removesuffix(" s"))
    assert (3000 - done) / 10 / 2 <= left <= (3000 - done) / 10 * 2
