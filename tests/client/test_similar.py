"""`image-classifier similar`: groups of similar pictures in a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.api.embedding import decoded
from client.api.records import Item, ItemError
from client.cli import similar
from client.cli.command import main
from client.similarity import groups
from client.similarity.vectors import Vectors
from client.tables.rows import EMBEDDING, flat_columns, row
from client.tables.table import Table
from tests.client.scripted_jobs import ScriptedJobs
from tests.client.scripted_server import scripted_server

SIZE = 64
COLUMNS = [*flat_columns(["path"], 1, with_threshold=True), EMBEDDING]
GOOD: dict[str, Any] = {"index": 0, "name": "", "state": "succeeded", "model_version": "m-1"}
ROW: dict[str, Any] = {"path": "a", "model_version": "m"}


def vectors(*, copies: int = 3, pictures: int = 40) -> NDArray[np.float16]:
    """Vectors in all directions. `copies` of the first are near it; of the tenth, equal to it."""
    source = np.random.default_rng(5)
    every = source.normal(size=(pictures, SIZE))
    every[1 : 1 + copies] = every[0] + 0.05 * source.normal(size=(copies, SIZE))
    every[10 : 11 + copies] = every[10]
    return every.astype(np.float16)


def save(path: Path, embeddings: NDArray[np.float16]) -> None:
    """As `upload --embeddings` does, with a picture that has failed."""
    table = Table(path, COLUMNS)
    for number, each in enumerate(embeddings):
        item = Item(**GOOD, embedding=tuple(float(f"{x:.5g}") for x in each))
        table.append([row(item, path=f"{number}.jpg")])
    failed = Item(index=0, name="", state="failed", error=ItemError("empty_file", "It is empty."))
    table.append([row(failed, path="failed.jpg")])
    table.finish()


def run(capsys: Any, *arguments: str) -> str:
    assert main(["similar", *arguments]) == 0
    out: str = capsys.readouterr().out
    return out


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_near_and_equal_pictures_are_grouped(tmp_path: Path, capsys: Any, name: str) -> None:
    embeddings = vectors()
    save(tmp_path / name, embeddings)
    found = json.loads(run(capsys, str(tmp_path / name), "--json"))
    paths = [[each["path"] for each in group] for group in found]
    assert paths == [[f"{k}.jpg" for k in range(4)], [f"{k}.jpg" for k in range(10, 14)]]
    assert [each["similarity"] for each in found[1]] == [1] * 4
    near = embeddings[:4].astype(np.float64)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    best = (near @ near.T - 2 * np.eye(4)).max(axis=1)
    assert [each["similarity"] for each in found[0]] == pytest.approx(best, abs=2e-4)


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
@pytest.mark.parametrize("most_compared", [groups._MOST_COMPARED, 0])
def test_embeddings_without_a_direction_are_left_out(
    tmp_path: Path, capsys: Any, name: str, most_compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_MOST_COMPARED", most_compared)
    embeddings = vectors()
    embeddings[20:22], embeddings[22:24, 5], embeddings[24:26, 6] = 0, np.nan, np.inf
    embeddings[26] = -np.inf
    save(tmp_path / name, embeddings)
    text = run(capsys, str(tmp_path / name), "--min-similarity", "0.95")
    assert "2 groups with 8 of 33 pictures\n" in text
    assert "left out: 7 pictures with an embedding that cannot be compared" in text
    assert "nan" not in text


def test_a_table_in_which_no_embedding_has_a_direction_has_no_groups(
    tmp_path: Path, capsys: Any
) -> None:
    save(tmp_path / "t.jsonl", np.zeros((3, SIZE), np.float16))
    assert "0 groups with 0 of 0 pictures" in run(capsys, str(tmp_path / "t.jsonl"))
    line = json.dumps(ROW | {EMBEDDING: [1e10, 1]})
    (tmp_path / "t.jsonl").write_text(f"{line}\n{line}\n")
    assert "left out: 2 pictures with an emb" in run(capsys, str(tmp_path / "t.jsonl"))


def test_the_forms_of_the_groups(tmp_path: Path, capsys: Any) -> None:
    table = str(tmp_path / "t.jsonl")
    save(Path(table), vectors())
    text = run(capsys, table)
    assert text.startswith("group 1: 4 pictures\n  0.99")
    assert "  1.0000  10.jpg\n" in text
    assert "2 groups with 8 of 40 pictures\n  left out: 1 picture without an embedding\n" in text
    for name in ("groups.csv", "groups.jsonl"):
        assert "group 1" not in run(capsys, table, "--output", str(tmp_path / name))
    lines = (tmp_path / "groups.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    with open(tmp_path / "groups.csv", newline="") as file:
        of_csv = [(int(k), path, float(x)) for k, path, x in list(csv.reader(file))[1:]]
    assert of_csv == [tuple(each.values()) for each in rows] and len(rows) == 8


@pytest.mark.parametrize("name", ["groups.csv", "groups.jsonl"])
def test_a_file_is_replaced_only_when_that_is_allowed(
    tmp_path: Path, capsys: Any, name: str
) -> None:
    save(tmp_path / "t.jsonl", vectors())
    command = ["similar", str(tmp_path / "t.jsonl"), "--output", str(tmp_path / name)]
    (tmp_path / name).write_text("mine")
    assert main(command) == 2
    message = f"{tmp_path / name} exists. Give --overwrite to replace it, or another --output."
    assert message in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"
    assert main([*command, "--overwrite"]) == 0
    assert "10.jpg" in (tmp_path / name).read_text()


def test_the_groups_never_replace_the_table_of_the_pictures(tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "t.jsonl"
    save(table, vectors())
    before = table.read_bytes()
    assert main(["similar", str(table), "--output", str(table), "--overwrite"]) == 2
    assert "would replace the table of the pictures" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_the_threshold_decides(tmp_path: Path, capsys: Any) -> None:
    table = str(tmp_path / "t.jsonl")
    save(Path(table), vectors())
    assert "1 group with 4 of" in run(capsys, table, "--min-similarity", "1")
    assert "1 group with 40 of" in run(capsys, table, "--min-similarity", "0")


def test_usearch_finds_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    many = vectors(pictures=400, copies=7)
    given = Vectors([f"{k}" for k in range(400)], many, 0)
    compared = groups.similar_groups(given, 0.95)
    monkeypatch.setattr(groups, "_MOST_COMPARED", 10)
    assert groups.similar_groups(given, 0.95) == compared
    assert [len(each) for each in compared] == [8, 8]


@pytest.mark.parametrize(
    "content, message",
    [
        (ROW, "has no embeddings. Make it with: image-classifier"),
        ({"embedding": [1.0]}, "is not a table of `image-classifier upload`: KeyError"),
        (ROW | {"embedding": 1.0}, "an embedding is no list of numbers"),
        (ROW | {"embedding": [[1.0]]}, "an embedding is no list of numbers"),
        (ROW | {"embedding": [1.0], "path": 5}, "a path is no text"),
    ],
)
def test_a_table_that_cannot_be_used(
    tmp_path: Path, capsys: Any, content: dict[str, Any], message: str
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(content) + "\n")
    assert main(["similar", str(path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
def test_embeddings_of_two_models_are_not_compared(
    tmp_path: Path, capsys: Any, name: str, size: int
) -> None:
    """They may have different sizes."""
    table = Table(tmp_path / name, COLUMNS)
    for version, numbers in (("m-2", SIZE), ("m-3", size)):
        item = Item(**GOOD | {"model_version": version}, embedding=(0.5,) * numbers)
        table.append([row(item, path="a.jpg"), row(item, path="b.jpg")])
    table.finish()
    assert main(["similar", str(tmp_path / name)]) == 2
    assert "of several models, which cannot be compared: m-2, m-3." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["t.csv", "t.txt"])
def test_csv_has_no_embeddings(tmp_path: Path, capsys: Any, name: str) -> None:
    assert main(["similar", str(tmp_path / name)]) == 2
    assert "must end in .jsonl or .parquet. CSV has no embeddings." in capsys.readouterr().err
    assert main(["upload", str(tmp_path), "--embeddings", "--output", f"{tmp_path}/t.csv"]) == 2
    assert "--embeddings needs a table that ends in .jsonl" in capsys.readouterr().err


def test_without_usearch_the_command_says_what_to_install(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "find_spec", lambda name: None)
    assert main(["similar", str(tmp_path / "t.jsonl")]) != 0
    assert "No such file" in capsys.readouterr().err, "it is no use to install usearch"
    save(tmp_path / "t.jsonl", vectors())
    assert main(["similar", str(tmp_path / "t.jsonl")]) == 2
    assert "Install it with: pip install usearch" in capsys.readouterr().err


def test_an_upload_to_a_model_without_an_embedding_begins_no_table(
    tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    table = tmp_path / "t.jsonl"
    command = ["upload", str(tmp_path), "--embeddings", "--output", str(table)]
    with scripted_server(ScriptedJobs()) as server:
        assert main([*command, "--url", server.url]) == 2
    assert "has no embedding. Leave --embeddings out" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["a.jpg"]


def test_every_number_of_float16_comes_back() -> None:
    import base64

    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    numbers = every[np.isfinite(every)]
    read = decoded(base64.b64encode(numbers.astype("<f2").tobytes()).decode())
    assert np.array_equal(np.array(read, np.float16), numbers)
    assert max(len(repr(each)) for each in read) <= 12


def test_parquet_has_a_list_of_float16(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    embeddings = vectors()
    save(tmp_path / "t.parquet", embeddings)
    read = parquet.read_table(tmp_path / "t.parquet")
    assert read.schema.field(EMBEDDING).type == pyarrow.list_(pyarrow.float16(), SIZE)
    column = read[EMBEDDING].combine_chunks()
    assert column.null_count == 1
    assert np.array_equal(column.drop_null().flatten().to_numpy().reshape(-1, SIZE), embeddings)


def test_parquet_has_lists_of_any_size_if_two_models_gave_them(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = Table(tmp_path / "t.parquet", COLUMNS)
    given: list[list[float] | None] = [[0.5] * 2, None, [0.25] * 3]
    for embedding in given:
        table.append([row(Item(**GOOD, embedding=tuple(embedding or ())), path="a.jpg")])
    table.finish()
    assert parquet.read_table(tmp_path / "t.parquet")[EMBEDDING].to_pylist() == given
    assert sorted(each.name for each in tmp_path.iterdir()) == ["t.parquet", "t.parquet.rows"]


def test_a_table_that_cannot_be_made_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("client.tables.parquet.os.fsync", full)
    with pytest.raises(OSError):
        save(tmp_path / "t.parquet", vectors())
    assert [each.name for each in tmp_path.iterdir()] == ["t.parquet.rows"]
