"""What the documents say is so."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined

from shared.settings import Settings

_ROOT = Path(__file__).parents[1]


def test_the_readme_lists_every_setting_as_it_is() -> None:
    text = (_ROOT / "README.md").read_text()
    _, _, rest = text.partition("by a test -->\n")
    listed, _, _ = rest.partition("<!-- end of settings -->")
    assert listed == settings_table(), f"the table should be:\n{settings_table()}"


def settings_table() -> str:
    lines = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if default is PydanticUndefined:
            default = {int: "one per core"}.get(field.annotation, "")
        elif default is None:
            default = ""
        else:
            default = f"`{default}`"
        lines.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"
