"""Each lane has workers and a scaler that counts its outstanding parts."""

from __future__ import annotations

import runpy

from shared import keys
from shared.jobs import Lane
from shared.settings import Settings
from tests.ship.manifests.objects import NAMESPACE, ROOT, Objects, of_kind, pods


def test_each_lane_has_workers_and_a_scaler_that_reads_its_backlog(whole: Objects) -> None:
    workers = {name for name, _ in pods(whole) if name.startswith("worker")}
    scalers = of_kind(whole, "ScaledObject")
    assert workers == set(scalers) == {f"worker-{lane}" for lane in Lane}
    [redis] = [each for name, each in of_kind(whole, "Service").items() if name == "redis"]
    address = f"redis.{NAMESPACE}.svc.cluster.local:{redis['spec']['ports'][0]['port']}"
    for lane in Lane:
        [trigger] = scalers[f"worker-{lane}"]["spec"]["triggers"]
        assert trigger["metadata"]["listName"] == keys.outstanding(lane)
        assert trigger["metadata"]["address"] == address
        # KEDA refuses a fallback with another type of metric.
        assert trigger["metricType"] == "AverageValue"
        assert trigger["authenticationRef"]["name"] in of_kind(whole, "TriggerAuthentication")


def test_the_scaler_alone_sets_the_number_of_replicas(whole: Objects) -> None:
    for scaler in ("HorizontalPodAutoscaler", "ScaledObject"):
        for name, each in of_kind(whole, scaler).items():
            assert each["spec"]["scaleTargetRef"]["name"] == name
            assert "replicas" not in of_kind(whole, "Deployment")[name]["spec"]


def test_only_bulk_goes_to_zero_and_a_fallback_is_within_the_maximum(whole: Objects) -> None:
    scalers = {name: each["spec"] for name, each in of_kind(whole, "ScaledObject").items()}
    assert scalers["worker-bulk"]["minReplicaCount"] == 0
    assert scalers["worker-interactive"]["minReplicaCount"] >= 1
    for spec in scalers.values():
        assert spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_programs_get_enough_time_to_stop(whole: Objects) -> None:
    settings = Settings()
    templates = dict(pods(whole))
    for lane in Lane:
        grace = templates[f"worker-{lane}"]["spec"]["terminationGracePeriodSeconds"]
        assert grace > settings.batch_time_limit_seconds
    # The last worker stays until every second delivery has come.
    cooldown = of_kind(whole, "ScaledObject")["worker-bulk"]["spec"]["cooldownPeriod"]
    assert cooldown >= settings.batch_time_limit_seconds + settings.part_deadline_seconds
    web = templates["web"]["spec"]
    pause = int(web["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    gunicorn = runpy.run_path(str(ROOT / "web/server/gunicorn.conf.py"))
    assert web["terminationGracePeriodSeconds"] >= gunicorn["graceful_timeout"] + pause + 5
