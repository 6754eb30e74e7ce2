"""The right labels: from the names of folders, or from a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.errors import UsageError
from client.evaluation.truth import Names, Truth, of_folders, of_list
from client.upload.walk import Walk


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
    return folder


def folders(folder: Path) -> Truth:
    return of_folders(Walk(folder=str(folder), recursive=True))


def test_the_first_folder_names_the_label(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/deeper/2.png", "dog/3.jpg", "4.jpg", "dog/notes.txt")
    truth = folders(tmp_path)
    assert truth.names == {
        "cat/1.jpg": ("cat",),
        "cat/deeper/2.png": ("cat",),
        "dog/3.jpg": ("dog",),
    }
    assert truth.without == 1


def test_a_name_that_is_not_utf_8_is_joined_and_found_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "chien").mkdir()
    with open(bytes(tmp_path) + b"/chien/caf\xe9.jpg", "wb"):
        pass
    truth = folders(tmp_path)
    assert truth.names == {"chien/caf\\xe9.jpg": ("chien",)}
    assert (tmp_path / truth.files["chien/caf\\xe9.jpg"]).exists()


def test_a_folder_without_folders_needs_a_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folders with pictures.*--truth"):
        folders(put(tmp_path, "1.jpg"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_list_of_a_spreadsheet(tmp_path: Path, separator: str) -> None:
    lines = [["label", "by", "path"], ["cat", "Ada", "./a/1.jpg"], ["dog", "Bo", f"{tmp_path}/2"]]
    text = "\n".join(separator.join(line) for line in lines)
    (tmp_path / "list.csv").write_text(text, encoding="utf-8-sig")
    truth = of_list(str(tmp_path), tmp_path / "list.csv")
    assert truth.names == {"a/1.jpg": ("cat",), "2": ("dog",)}


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,class\n1.jpg,cat\n", "needs the columns path and label; its first line is: file,cl"),
        ("", "needs the columns path and label"),
        ("path,label\n1.jpg,\n", "line 2 has an empty cell"),
        ("path,label\n1.jpg\n", "line 2 has an empty cell"),
        ("path,label\n1.jpg,cat\n./1.jpg,dog\n", "line 3: 1.jpg has the labels cat and dog"),
    ],
)
def test_a_list_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        of_list(str(tmp_path), tmp_path / "list.csv")


def test_a_list_of_several_labels(tmp_path: Path) -> None:
    lines = "path,label\n1.jpg,cat\n1.jpg,indoors\n./1.jpg,cat\n2.jpg,\n3.jpg,\n3.jpg,dog\n"
    (tmp_path / "list.csv").write_text(lines)
    truth = of_list(str(tmp_path), tmp_path / "list.csv", several=True)
    assert truth.names == {"1.jpg": ("cat", "indoors"), "2.jpg": (), "3.jpg": ("dog",)}
    with pytest.raises(UsageError, match="tiger"):
        Names().check(Truth(names={"1.jpg": ("cat", "tiger")}), ["cat", "dog"])
    (tmp_path / "list.csv").write_text("path,label\n,cat\n")
    with pytest.raises(UsageError, match="line 2 has an empty cell"):
        of_list(str(tmp_path), tmp_path / "list.csv", several=True)


def test_a_list_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,label\n1.jpg,caf\xe9\n")
    with pytest.raises(UsageError, match="not CSV in UTF-8"):
        of_list(str(tmp_path), tmp_path / "list.csv")


def test_a_name_may_have_several_labels(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name,label\ncat,tabby\ncat,Siamese cat\n")
    (tmp_path / "names.json").write_text(json.dumps({"cat": ["tabby", "Siamese cat"]}))
    for file in ("names.csv", "names.json"):
        names = Names.read(tmp_path / file)
        found = [names.name_of(label) for label in ("tabby", "Siamese cat", "pug")]
        assert found == ["cat", "cat", "pug"]


@pytest.mark.parametrize("text", ["[1]", "{", '{"cat": 3}', '{"cat": [3]}'])
def test_names_that_are_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(UsageError, match="names.json"):
        Names.read(tmp_path / "names.json")


def test_a_label_that_the_model_does_not_have_is_refused_with_a_similar_one() -> None:
    truth = Truth(names={"1": ("tabbi",), "2": ("pug",), "3": ("xyz",)})
    with pytest.raises(UsageError) as refusal:
        Names().check(truth, ["tabby", "pug"])
    assert "does not have 2 labels: tabbi (it has tabby); xyz. Give --names" in str(refusal.value)
    Names({"tabbi": ["tabby"], "xyz": ["pug"]}).check(truth, ["tabby", "pug"])


def test_a_label_of_the_names_that_the_model_does_not_have_is_refused() -> None:
    """Its pictures would count as wrong, also where another label of the name is right."""
    truth = Truth(names={"1": ("cat",)})
    names = Names({"cat": ["tabbi", "Siamese"], "fish": ["of another model"]})
    with pytest.raises(UsageError) as refusal:
        names.check(truth, ["tabby", "Siamese"])
    expected = (
        "does not have 1 label: tabbi (it has tabby). Correct the labels of the file of --names"
    )
    assert expected in str(refusal.value)
