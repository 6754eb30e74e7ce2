"""A pytest plugin that gives each test its tier, and its process when several run side by side.

The tiers are markers. `make check` runs `fast`, `make test` runs all but `long`, and
`make test-long` runs `long`: first what may run side by side, then each `alone`. A test marks
itself `long`, `alone` or `torch`. This file sets `fast`, and `long` for tests of the service that
Prometheus, exporters and Flower watch.

pytest-xdist's own groups have no effect with pytest 9.2, which keeps a test's id elsewhere. So each
process writes the groups of the tests to a file, and the scheduler reads it.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

_TESTS = Path(__file__).parents[1]

#: The folders and files of the fast tests. `pytest -m fast` imports no other test file, since the
#: others may import torch or a browser's driver, and `make check` installs neither.
FAST = (
    "client",
    "docs/test_architecture.py",
    "docs/test_docs.py",
    "docs/test_links.py",
    "docs/test_prose.py",
    "loadtest/test_figures.py",
    "loadtest/test_peers.py",
    "monitoring",
    "quickstart/test_make.py",
    "quickstart/test_programs.py",
    "quickstart/test_ready.py",
    "quickstart/test_screen.py",
    "shared",
    "web",
    "workers/batching",
    "workers/classify",
    "workers/decode",
    "workers/engine/test_choice.py",
    "workers/engine/test_download.py",
    "workers/engine/test_labels.py",
    "workers/engine/test_onnx_engine.py",
    "workers/engine/test_pth_file.py",
    "workers/models/test_command.py",
    "workers/models/test_huggingface.py",
    "workers/models/test_labels.py",
    "workers/models/test_onnx_file.py",
    "workers/test_app.py",
    "workers/test_celery_app.py",
    "workers/webhooks",
)

#: Files in those folders that belong to `make test` alone. They start workers, whole uploads or
#: programs of others, or measure memory. Without them `make check` stays well under 90 seconds.
SLOWER = (
    "client/evaluation/test_figures_of_libraries.py",
    "client/test_package.py",
    "client/upload/test_min_score.py",
    "client/upload/test_upload_end.py",
    "client/upload/test_upload_faults.py",
    "client/upload/test_upload_options.py",
    "monitoring/test_alertmanager.py",
    "monitoring/test_log_stack.py",
    "monitoring/test_prometheus.py",
    "monitoring/test_rules.py",
    "monitoring/test_tracing.py",
    "monitoring/test_watchers.py",
    "shared/records/load/test_footprint.py",
    "shared/test_start.py",
    "web/http/test_replicas.py",
    "web/submit/test_memory.py",
    "workers/batching/test_lost_workers.py",
    "workers/batching/test_micro_batch.py",
    "workers/batching/test_paused_worker.py",
    "workers/decode/test_limits.py",
)

#: The line of a file whose tests all need torch.
_ALL_NEED_TORCH = re.compile(r"^pytestmark = .*mark\.torch\b", re.MULTILINE)

#: The fixture of the service that others watch. To start all of them takes half a minute.
WATCHED = "watched"

#: Groups of tests, in the order in which they start. The tests of a group run in one process, so
#: that the running service or the browser of its fixtures is started once. They take longest.
GROUPS = ("service", "page", WATCHED)

#: Long files, which start before the others. Else one would still run when the others have ended.
LONGEST = (
    "workers/models/with_torch/test_kinds.py",
    "pipeline/delivery/test_openvino_worker.py",
    "upgrade/test_previous_release.py",
    "pipeline/delivery/test_model_exchange.py",
    "loadtest/test_on_a_card.py",
    "pipeline/servers/test_sentinel.py",
)


class Scheduling(LoadScopeScheduling):
    """The tests of a group run in one process, and so do those of a file that are in no group."""

    _groups: dict[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._groups is None:
            file = _groups_file(self.config)
            self._groups = json.loads(file.read_text())
            file.unlink()
        return self._groups.get(nodeid) or nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["groups_file"] = str(_groups_file(node.config))


def _groups_file(config: pytest.Config) -> Path:
    cache = config.cache
    assert cache
    return Path(cache.mkdir("groups"), f"{os.getpid()}.json")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Imports no file without a test that the markers select. An import may take seconds."""
    expression: str = config.option.markexpr
    if collection_path.is_relative_to(_TESTS / "support"):
        return None
    if expression == "fast":
        return None if _leads_to_fast_tests(collection_path) else True
    if not collection_path.match("test_*.py"):
        return None
    first, *_ = expression.split() or [""]
    text = collection_path.read_text()
    marks = {"long": ("pytest.mark.long", WATCHED), "torch": ("pytest.mark.torch",)}
    unmarked = not any(mark in text for mark in marks.get(first, ("",)))
    deselected = "not torch" in expression and _ALL_NEED_TORCH.search(text)
    return True if unmarked or deselected else None


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    groups: dict[str, str] = {}
    for item in items:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        if group := _group(item, fixtures):
            groups[item.nodeid] = group
        if WATCHED in fixtures:
            item.add_marker("long")
        slow = "model_environment" in fixtures  # a test of the running service
        if _in_fast_folder(item.path) and not slow and not _has(item, "long", "torch"):
            item.add_marker("fast")
    items.sort(key=lambda item: _rank(item, groups.get(item.nodeid)))
    if worker := getattr(config, "workerinput", None):
        unfinished = Path(worker["groups_file"] + worker["workerid"])
        unfinished.write_text(json.dumps(groups))
        unfinished.replace(worker["groups_file"])


def _group(item: pytest.Item, fixtures: list[str]) -> str | None:
    """All tests of the page are a group; elsewhere a group is named after its fixture.

    A file that has its own fixture of this name shares it with no other file.
    """
    if item.path.is_relative_to(_TESTS / "page"):
        return "page"
    own = vars(getattr(item, "module", None) or object)
    return next((name for name in GROUPS if name in fixtures and name not in own), None)


@functools.cache
def _in_fast_folder(path: Path) -> bool:
    fast = any(path.is_relative_to(_TESTS / each) for each in FAST)
    return fast and path not in {_TESTS / each for each in SLOWER}


def _leads_to_fast_tests(path: Path) -> bool:
    return _in_fast_folder(path) or any((_TESTS / each).is_relative_to(path) for each in FAST)


def _has(item: pytest.Item, *markers: str) -> bool:
    return any(item.get_closest_marker(name) for name in markers)


def _rank(item: pytest.Item, group: str | None) -> int:
    """Sorts the tests: the groups, the longest files, other slow tests, then the fast ones."""
    if group:
        return GROUPS.index(group)
    if item.path in {_TESTS / each for each in LONGEST}:
        return len(GROUPS)
    return len(GROUPS) + 1 + _has(item, "fast")
