"""The lines of all programs on one screen."""

from __future__ import annotations

import io

from quickstart.screen import Screen


def test_text_that_could_steer_the_terminal_is_escaped() -> None:
    output = io.StringIO()
    Screen(output, ["web"]).show("web", "a\rb \x1b[31mred\x1b]0;title\x07 \u202egpj.exe\r\n")
    assert output.getvalue() == "web        | a\\rb \\x1b[31mred\\x1b]0;title\\x07 \\u202egpj.exe\n"
