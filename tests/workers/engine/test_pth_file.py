"""A file by torch.save is read without torch, and a hostile one is refused without harm."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.workers.engine.state_dict import (
    PROTOCOL,
    STOP,
    archive,
    call,
    default_state,
    dictionary,
    name_of,
    numbers,
    plain,
    pth_bytes,
    tensor,
)
from workers.engine.weights.pth_file import Arrays, has_old_format, read_pth

ROOT = Path(__file__).parents[3]

STORAGE = {"0": numbers(6).tobytes()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.pth"


def read(file: Path, content: bytes) -> Arrays:
    file.write_bytes(content)
    return read_pth(file)


def test_all_arrays_of_a_network_are_read(file: Path) -> None:
    expected = default_state()
    arrays = read(file, pth_bytes(expected))
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    assert arrays["features.0.0.weight"].dtype == np.float32


def test_tensors_may_share_a_storage_and_have_another_order(file: Path) -> None:
    parts = {
        "whole": tensor("0", (2, 3)),
        "columns": tensor("0", (3, 2), (1, 3), elements=6),
        "end": tensor("0", (2,), (1,), offset=4, elements=6),
        "number": tensor("0", (), (), offset=5, elements=6),
        "empty": tensor("0", (0, 3), elements=6),
    }
    arrays = read(file, archive(dictionary(parts), STORAGE))
    assert arrays["whole"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert arrays["columns"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert arrays["end"].tolist() == [4, 5]
    assert (arrays["number"], arrays["empty"].shape) == (5, (0, 3))


def test_bfloat16_becomes_float32(file: Path) -> None:
    pickled = dictionary({"a": tensor("0", (2,), kind="BFloat16Storage")})
    arrays = read(file, archive(pickled, {"0": b"\x80\x3f\x40\xc0"}))
    assert (arrays["a"].tolist(), arrays["a"].dtype) == ([1, -3], np.float32)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("code-was-run",))


def one(steps: bytes) -> bytes:
    """A pickle of one object."""
    return PROTOCOL + steps + STOP


HOSTILE_PICKLES = {
    "a function of the system": (one(call("os", "system", b"(" + plain("x") + b"t")), "os.system"),
    "a pickled object": (pickle.dumps(Bomb(), protocol=2), "posix.mkdir"),
    "a newer pickle": (pickle.dumps(Bomb(), protocol=4), "the step FRAME"),
    "an old step": (b"(S'x'\nios\nsystem\n.", "the step STRING"),
    "a builtin": (one(call("builtins", "eval", b"(" + plain("1") + b"t")), "builtins.eval"),
    "part of a name": (
        one(name_of("collections", "OrderedDict.__class__")),
        "collections.OrderedDict.__class__",
    ),
    "another function of torch": (
        one(call("torch._utils", "_rebuild_wrapper_subclass", b")")),
        "_rebuild_wrapper_subclass",
    ),
    "a storage that is called": (one(call("torch", "FloatStorage", b")")), "not callable"),
    "a changed class": (
        one(name_of("collections", "OrderedDict") + b"}" + plain("keys") + b"K\x01sb"),
        "no state dict",
    ),
    "a memo index of two billion": (
        one(plain("x") + b"r\xff\xff\xff\x7f"),
        "numbers an object too high",
    ),
    "a text longer than the file": (one(b"X\xff\xff\xff\x7fx"), "expected 2147483647 bytes"),
    "no end": (PROTOCOL + b"}", "no state dict"),
    "nothing to call": (one(b"R"), "no state dict"),
    "a list": (one(b"]"), "the step EMPTY_LIST"),
    "a number": (one(b"K\x01"), "no plain state dict"),
    "a nested dictionary": (one(b"}" + plain("model") + b"}s"), "no plain state dict"),
    "a number as name": (one(b"}" + b"K\x01" + tensor("0", (6,)) + b"s"), "no plain state dict"),
    "a short reference": (one(b"(" + plain("storage") + b"tQ"), "no state dict"),
    "a reference that is a number": (one(b"K\x01Q"), "no state dict"),
}


@pytest.mark.parametrize(("pickled", "reason"), HOSTILE_PICKLES.values(), ids=HOSTILE_PICKLES)
def test_a_pickle_with_anything_else_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch, pickled: bytes, reason: str
) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(ValueError, match=reason):
        read(file, archive(pickled, STORAGE))
    assert os.listdir() == [file.name]
    assert list({"a": 1}) == ["a"], "no class was changed"


HOSTILE_TENSORS = {
    "too many elements": (tensor("0", (7,), elements=6), "larger than its storage"),
    "a billion of the same element": (
        tensor("0", (10**9,), (0,), elements=6),
        "larger than its storage",
    ),
    "a stride beyond the end": (tensor("0", (2,), (6,), elements=6), "larger than its storage"),
    "an offset beyond the end": (
        tensor("0", (1,), offset=6, elements=6),
        "larger than its storage",
    ),
    "a negative offset": (tensor("0", (1,), offset=-1, elements=6), "no natural number"),
    "a negative stride": (tensor("0", (2,), (-1,), elements=6), "no natural number"),
    "a negative size": (tensor("0", (-1, -6), elements=6), "no natural number"),
    "fewer strides than sizes": (tensor("0", (2, 3), (1,)), "not as many strides"),
    "huge sizes of nothing": (tensor("0", (0, 2**62, 2**62), (1, 1, 1)), "no state dict"),
    "a huge stride": (tensor("0", (1,), (2**80,), elements=6), "no state dict"),
    "a storage of another size": (tensor("0", (5,)), "not of the named type and size"),
    "a storage that is missing": (tensor("1", (6,)), "no state dict"),
    "a storage in another folder": (tensor("../data.pkl", (6,)), "no state dict"),
    "a storage of another type": (tensor("0", (3,), kind="ComplexFloatStorage"), "torch.Complex"),
    "a storage of half numbers": (tensor("0", (3,), kind="DoubleStorage"), None),
}


@pytest.mark.parametrize(("steps", "reason"), HOSTILE_TENSORS.values(), ids=HOSTILE_TENSORS)
def test_a_tensor_reaches_only_its_storage(file: Path, steps: bytes, reason: str | None) -> None:
    content = archive(dictionary({"a": steps}), STORAGE)
    if reason is None:  # 24 bytes are three numbers of eight bytes.
        assert read(file, content)["a"].shape == (3,)
        return
    with pytest.raises(ValueError, match=reason):
        read(file, content)


def test_a_storage_has_one_type(file: Path) -> None:
    both = {"a": tensor("0", (6,)), "b": tensor("0", (3,), kind="DoubleStorage")}
    with pytest.raises(ValueError, match="not of the named type"):
        read(file, archive(dictionary(both), STORAGE))


def test_a_compressed_member_is_refused_before_it_is_unpacked(file: Path) -> None:
    """A million zeros take a thousand bytes."""
    pickled = dictionary({"a": tensor("0", (2**20,))})
    content = archive(pickled, {"0": bytes(2**22)}, zipfile.ZIP_DEFLATED)
    assert len(content) < 10_000
    with pytest.raises(ValueError, match="a member is compressed"):
        read(file, content)


def test_members_that_overlap_are_refused(file: Path) -> None:
    """A hundred entries of the directory name the same bytes."""
    sound = archive(dictionary({"a": tensor("0", (1000,))}), {"0": bytes(4000)})
    file.write_bytes(sound)
    with zipfile.ZipFile(file, "a") as overlapping:
        first = overlapping.getinfo("archive/data/0")
        for key in range(1, 100):
            again = zipfile.ZipInfo(f"archive/data/{key}")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            overlapping.filelist.append(again)
            overlapping.NameToInfo[again.filename] = again
        overlapping._didModify = True
    with pytest.raises(ValueError, match="larger than the file"):
        read_pth(file)


def test_a_large_pickle_is_refused(file: Path) -> None:
    pickled = one(b"".join(b"N0" for _ in range(2**21)) + b"}")
    with pytest.raises(ValueError, match="its pickle is too large"):
        read(file, archive(pickled, {}))


def test_every_truncated_file_is_refused(file: Path) -> None:
    whole = archive(dictionary({"a": tensor("0", (2, 3))}), STORAGE)
    for length in range(0, len(whole), 7):
        with pytest.raises(ValueError, match="torch.save"):
            read(file, whole[:length])


def test_a_changed_number_is_noticed(file: Path) -> None:
    whole = pth_bytes({"a": numbers(6)})
    place = whole.index(numbers(6).tobytes())
    changed = whole[:place] + b"\xff" + whole[place + 1 :]
    with pytest.raises(ValueError, match="Bad CRC-32"):
        read(file, changed)


def test_any_changed_byte_gives_arrays_or_a_value_error(file: Path) -> None:
    """There is no other error and no crash. A hundred thousand such files were tried once."""
    whole = archive(dictionary({"a": tensor("0", (2, 3))}), STORAGE)
    random = np.random.default_rng(0)
    for _ in range(2000):
        changed = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 4)):
            changed[place] = random.integers(0, 256)
        try:
            read(file, bytes(changed))
        except ValueError:
            pass


def test_numbers_in_the_other_byte_order_are_refused(file: Path) -> None:
    content = archive(dictionary({"a": tensor("0", (6,))}), STORAGE, byte_order="big")
    with pytest.raises(ValueError, match="not little-endian"):
        read(file, content)


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_no_archive_is_refused(file: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="torch.save"):
        read(file, content)


def test_a_file_of_an_old_torch_is_recognised(file: Path) -> None:
    file.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + b"rest")
    assert has_old_format(file)
    file.write_bytes(pth_bytes({"a": numbers(6)}))
    assert not has_old_format(file)


def test_hostile_files_need_little_memory(tmp_path: Path) -> None:
    """Each is read by a process that may not take more than 600 MB of address space."""
    names = [f"{number}.pth" for number in range(5)]
    contents = [
        archive(HOSTILE_PICKLES["a memo index of two billion"][0], {}),
        archive(HOSTILE_PICKLES["a text longer than the file"][0], {}),
        archive(dictionary({"a": HOSTILE_TENSORS["a billion of the same element"][0]}), STORAGE),
        archive(dictionary({"a": tensor("0", (2**28,))}), {"0": bytes(2**20)}),
        archive(PROTOCOL + b"\x96\xff\xff\xff\xff\x01\x00\x00\x00.", {}),
    ]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from workers.engine.weights.pth_file import read_pth\n"
        "for name in sys.argv[1:]:\n"
        "    try: read_pth(Path(name)); print('read')\n"
        "    except ValueError: print('refused')\n"
    )
    limit = 600 * 2**20
    run = subprocess.run(
        [sys.executable, "-c", program, *(str(tmp_path / name) for name in names)],
        cwd=ROOT,
        env={"OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["refused"] * len(names)
