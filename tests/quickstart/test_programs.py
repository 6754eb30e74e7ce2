"""Each program of the quick start has the arguments and the variables that it needs."""

from __future__ import annotations

from quickstart.programs import programs
from shared.settings import Settings


def test_each_lane_has_a_worker_that_serves_it() -> None:
    lanes = {each.name: each.environment.get("LANE") for each in programs(Settings())}
    assert (lanes["interactive"], lanes["bulk"]) == ("interactive", "bulk")


def test_webhooks_have_a_worker_only_where_they_are_on() -> None:
    assert "webhooks" not in [each.name for each in programs(Settings(webhooks=False))]
    assert "webhooks" in [each.name for each in programs(Settings(webhooks=True))]


def test_the_workers_serve_metrics_on_two_ports_where_there_is_one_setting() -> None:
    ports = {each.name: each.environment for each in programs(Settings(metrics_port=9100))}
    assert "METRICS_PORT" not in ports["interactive"]  # It inherits 9100.
    assert ports["bulk"]["METRICS_PORT"] == "9101"
    assert all("METRICS_PORT" not in each.environment for each in programs(Settings()))


def test_flower_listens_where_the_settings_say() -> None:
    flower = programs(Settings(host="0.0.0.0", flower_port=5556))[-2]
    assert flower.name == "flower"
    assert {"--address=0.0.0.0", "--port=5556", "--read_only"} <= set(flower.command)


def test_web_has_longer_for_its_answers_than_a_client_may_wait() -> None:
    settings = Settings(max_wait_seconds=50)
    seconds = {each.name: each.answer_seconds for each in programs(settings)}
    assert seconds.pop("web") > settings.web_grace_seconds > 50
    assert set(seconds.values()) == {0}
