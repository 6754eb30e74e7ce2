"""How a command of the quick start says what is wrong with a setting."""

from __future__ import annotations

import sys

import pytest

from quickstart import __main__
from quickstart.command import command


def test_a_wrong_setting_is_named_with_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "http://localhost")
    with pytest.raises(SystemExit) as ended, command("run"):
        pass
    expected = "run: HOST: write an address or a name, without a scheme, a port or a path"
    assert ended.value.code == expected


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--port", 2)])
def test_the_quick_start_does_not_begin_when_it_has_arguments(
    argument: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> None:
        raise AssertionError("the service was started")

    monkeypatch.setattr(__main__, "run", run)
    monkeypatch.setattr(sys, "argv", ["quickstart", argument])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == status
    output = "".join(capsys.readouterr())
    assert "usage: python -m quickstart" in output
