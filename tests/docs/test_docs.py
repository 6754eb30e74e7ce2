"""The documents agree with the code."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from shared import errors
from shared.settings import Settings
from tests.docs.test_links import documents, links
from web.http.errors import status_for

_ROOT = Path(__file__).parents[2]


def test_the_settings_page_lists_every_setting_as_it_is() -> None:
    text = (_ROOT / "docs/settings.md").read_text()
    _, _, rest = text.partition("by a test -->\n")
    listed, _, _ = rest.partition("<!-- end of settings -->")
    assert listed == settings_table(), f"the table should be:\n{settings_table()}"


def test_the_http_guide_lists_every_error_as_it_is() -> None:
    text = (_ROOT / "docs/http.md").read_text()
    _, _, rest = text.partition("web/http/errors.py by a test -->\n")
    listed, _, _ = rest.partition("<!-- end of errors -->")
    assert listed == errors_table(), f"the table should be:\n{errors_table()}"


def test_the_readme_links_to_every_page() -> None:
    pages = {page for page in documents() if re.fullmatch(r"docs/[^/]+\.md", page)}
    assert pages <= set(links(_ROOT / "README.md"))


def test_every_variable_that_is_named_exists() -> None:
    pattern = r"\b[A-Z]+(_[A-Z0-9]+)+\b"
    command = ["git", "grep", "-hoE", pattern, "--", ":!*.md"]
    found = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    known = {*found.stdout.split(), *map(str.upper, Settings.model_fields)}
    known.add("OTEL_TRACES_SAMPLER")  # OpenTelemetry's own
    # These two also name things that are not in the code.
    for document in {*documents()} - {"CHANGELOG.md", "docs/experiments.md"}:
        text = (_ROOT / document).read_text()
        named = {each[0] for each in re.finditer(pattern, text)}
        assert named <= known, f"{document} names {named - known}"


def test_the_runbook_names_panels_and_dashboards_that_exist() -> None:
    boards = [
        json.loads(path.read_text())
        for path in (_ROOT / "monitoring/grafana/dashboards").glob("*.json")
    ]
    panels = {panel["title"] for board in boards for panel in _panels(board)}
    _, _, runbook = (_ROOT / "docs/operations.md").read_text().partition("## Alerts")
    runbook = " ".join(runbook.split())
    named = re.findall(r'"([^"]+)"', runbook)
    assert named and set(named) <= panels, set(named) - panels
    assert set(re.findall(r"\*(\w+)\*", runbook)) <= {board["title"] for board in boards}


def _panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from _panels(panel) if "panels" in panel else ()


def errors_table() -> str:
    """The errors that a client can get. The error of a failed item has no status."""
    lines = ["| code | status | |", "|---|---|---|"]
    for error in vars(errors).values():
        is_one = isinstance(error, type) and issubclass(error, errors.ClassifierError)
        # Two are base classes, and model errors never reach a client.
        abstract = error in (errors.ClassifierError, errors.TryLater)
        if is_one and not abstract and not issubclass(error, errors.ModelError):
            status = status_for(error)
            shown = "" if status == 500 else status
            lines.append(f"| `{error.code}` | {shown} | {error.__doc__} |")
    return "\n".join(lines) + "\n"


def settings_table() -> str:
    meanings = _meanings()
    lines = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if default is PydanticUndefined:
            made = {"worker_processes": "one per core", "web_processes": "one per two cores"}
            default = made.get(name, "")
        elif default is None:
            default = ""
        else:
            default = f"`{default}`"
        lines.append(f"| `{name.upper()}` | {default} | {meanings[name]} |")
    return "\n".join(lines) + "\n"


def _meanings() -> dict[str, str]:
    """The text below each field of Settings. pydantic does not read it: it takes 60 ms."""
    groups = [each for each in Settings.__bases__ if issubclass(each, BaseSettings)]
    trees = [ast.parse(inspect.getsource(each)).body[0] for each in groups]
    return {
        field.target.id: " ".join(text.value.value.split())
        for tree in trees
        if isinstance(tree, ast.ClassDef)
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
