"""What the documents say is so."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined

from shared import errors
from shared.settings import Settings
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


def errors_table() -> str:
    """What a client may hear of; the failed item of a job is no answer, and has no status."""
    lines = ["| code | status | |", "|---|---|---|"]
    for error in vars(errors).values():
        is_one = isinstance(error, type) and issubclass(error, errors.ClassifierError)
        # Two are only there to be derived from, and some never leave a worker.
        abstract = error in (errors.ClassifierError, errors.TryLater)
        if is_one and not abstract and not issubclass(error, errors.ModelError):
            status = status_for(error)
            shown = "" if status == 500 else status
            lines.append(f"| `{error.code}` | {shown} | {error.__doc__} |")
    return "\n".join(lines) + "\n"


def settings_table() -> str:
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
        lines.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"
