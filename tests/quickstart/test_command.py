"""How a command of the quick start says what is wrong with a setting."""

from __future__ import annotations

import pytest

from quickstart.command import command


def test_a_wrong_setting_is_named_with_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "http://localhost")
    with pytest.raises(SystemExit) as ended, command("run"):
        pass
    expected = "run: HOST: write an address or a name, without a scheme, a port or a path"
    assert ended.value.code == expected
