"""Scripts get their keys and arguments by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE
from shared.records import scripts
from shared.records.scripts import Script

PROBE = """-- Show what arrives, in an order of its own.
--
-- uses: helper
-- keys: first, second
-- keys: third
-- arguments: size
-- row keys: image
-- row arguments: name, weight
local seen = { third, second, first, size, double(size) }
for image, name, weight in rows() do
  seen[#seen + 1] = image .. name .. weight
end
return seen
"""

HELPER = """-- Doubles.
local function double(number)
  return 2 * number
end
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scripts, "_FOLDER", tmp_path)
    (tmp_path / "probe.lua").write_text(PROBE)
    (tmp_path / "helper.lua").write_text(HELPER)
    return tmp_path


@pytest.fixture
def probe(folder: Path) -> Script:
    return Script("probe")


def test_a_script_gets_its_values_by_name(probe: Script, redis: Redis) -> None:
    assert probe(redis, second="b", first="a", third="c", size=4) == [b"c", b"b", b"a", b"4", 8]


def test_rows_follow_the_named_values(probe: Script, redis: Redis) -> None:
    rows = [("i0", "x", 1), ("i1", "y", 2)]
    seen = probe(redis, rows, first="a", second="b", third="c", size=4)
    assert seen[5:] == [b"i0x1", b"i1y2"]


def test_a_script_can_be_added_to_a_pipeline(probe: Script, redis: Redis) -> None:
    pipe = redis.pipeline()
    probe(pipe, first="a", second="b", third="c", size=1)
    pipe.ping()
    assert [reply for reply in pipe.execute()] == [[b"c", b"b", b"a", b"1", 2], True]


@pytest.mark.parametrize("values", [{"second": "b"}, {"second": "b", "third": "c", "sise": 1}])
def test_a_missing_or_unknown_name_is_an_error(
    probe: Script, redis: Redis, values: dict[str, str]
) -> None:
    with pytest.raises(TypeError, match="probe.lua: missing or unknown: .*size"):
        probe(redis, first="a", **values)


def test_a_row_of_another_length_is_an_error(probe: Script, redis: Redis) -> None:
    with pytest.raises(TypeError, match="probe.lua: a row has 3 values"):
        probe(redis, [("i0", "x")], first="a", second="b", third="c", size=4)


def test_a_script_knows_the_size_of_a_part_and_the_names_of_keys(
    folder: Path, redis: Redis
) -> None:
    (folder / "constants.lua").write_text(
        "return { PART_SIZE, JOB_KEY:format('j'), PART_KEY:format('j', 3), PARTS_KEY:format('j'),"
        " FINISHED_KEY:format('j'), COMMITTED, WEBHOOKS_DUE, WAITING_SECONDS }"
    )
    size, *names, waiting = Script("constants")(redis)
    assert (size, waiting) == (PART_SIZE, keys.WAITING_SECONDS)
    assert [name.decode() for name in names] == [
        keys.job("j"),
        keys.part("j", 3),
        keys.parts("j"),
        keys.finished("j"),
        keys.COMMITTED,
        keys.WEBHOOKS_DUE,
    ]
