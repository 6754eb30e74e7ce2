"""Reads the arrays of a file by `torch.save`, without torch.

The file is a zip archive: a pickle of a dictionary, and a member with the numbers of each storage.
A pickle can call any function. So this reader accepts only the steps that a state dict needs, and
knows only the names in `_Unpickler.find_class`. It refuses every other file.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

#: How a file of torch 1.5 and older begins. Its format is another one.
_OLD_FORMAT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

#: The pickle of a large network has 100 kB.
_LARGEST_PICKLE = 2**22

#: The steps of a pickle that build a dictionary of tensors.
_STEPS = frozenset(
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET"
    " NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE"
    " EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM SETITEMS".split()
)

#: The storages of torch and their types in numpy, which has no bfloat16.
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
}


def has_old_format(path: Path) -> bool:
    """Whether the file was written by torch 1.5 or older. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_OLD_FORMAT)) == _OLD_FORMAT


def read_pth(path: Path) -> Arrays:
    """The arrays of the state dict in a file.

    Raises ValueError if the file is damaged or holds something else, OSError if it cannot be read.
    """
    content = path.read_bytes()
    if not content.startswith(b"PK"):
        raise ValueError(
            "it is no zip archive, which torch.save writes since PyTorch 1.6, and its name does not"
            " end in .safetensors"
        )
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            state = _read(archive, len(content))
    except Exception as error:  # What a damaged archive or pickle raises is not documented.
        raise ValueError(f"it is no state dict of torch.save: {error}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in state.items()
    ):
        raise ValueError("it holds no plain state dict of names and tensors")
    return dict(state)


def bfloat16(numbers: bytes) -> NDArray[np.float32]:
    """Numbers in bfloat16, the upper half of a float32."""
    return (np.frombuffer(numbers, "<u2").astype("<u4") << 16).view("<f4")


def _read(archive: ZipFile, file_size: int) -> object:
    members = {each.filename: each for each in archive.infolist()}
    # torch compresses nothing. So the members of a sound archive are smaller than the archive, and
    # no member can unpack to more than the file.
    if any(each.compress_type != ZIP_STORED for each in members.values()):
        raise ValueError("a member is compressed")
    if sum(each.file_size for each in archive.infolist()) > file_size:
        raise ValueError("its members are larger than the file")
    folder = _folder(members)
    byte_order = f"{folder}/byteorder"
    if byte_order in members and archive.read(byte_order) != b"little":
        raise ValueError("its numbers are not little-endian")
    if members[f"{folder}/data.pkl"].file_size > _LARGEST_PICKLE:
        raise ValueError("its pickle is too large")
    pickled = archive.read(f"{folder}/data.pkl")
    _check_steps(pickled)
    return _Unpickler(pickled, lambda key: archive.read(f"{folder}/data/{key}")).load()


def _folder(members: dict[str, Any]) -> str:
    """The folder in the archive, for example `archive`."""
    folders = [name[: -len("/data.pkl")] for name in members if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise ValueError(f"it has {len(folders)} members data.pkl")
    return folders[0]


def _check_steps(pickled: bytes) -> None:
    for number, (step, argument, _) in enumerate(pickletools.genops(pickled)):
        if step.name not in _STEPS:
            raise ValueError(f"its pickle has the step {step.name}")
        # Python allocates memory for all numbers up to this one.
        if step.name.endswith("BINPUT") and (argument or 0) > number:
            raise ValueError("its pickle numbers an object too high")


class _Unpickler(pickle.Unpickler):
    """Loads a pickle that `_check_steps` has accepted. Tensors become arrays."""

    _allowed: ClassVar[dict[tuple[str, str], object]] = {
        ("collections", "OrderedDict"): OrderedDict,
        **{("torch", name): kind for name, kind in _STORAGES.items()},
    }

    def __init__(self, pickled: bytes, read: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._read = read
        self._storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return self._rebuild_parameter
        if (module, name) not in self._allowed:
            raise ValueError(f"its pickle names {module}.{name}")
        return self._allowed[module, name]

    def persistent_load(self, reference: Any) -> NDArray[Any]:
        """The storage that ("storage", type, key, device, number of elements) names."""
        word, kind, key, _, size = reference
        if word != "storage" or kind not in _STORAGES.values() or not isinstance(key, str):
            raise ValueError("its pickle names an unknown storage")
        if key not in self._storages:
            content = self._read(key)
            is_bfloat16 = kind == _BFLOAT16
            self._storages[key] = bfloat16(content) if is_bfloat16 else np.frombuffer(content, kind)
        storage = self._storages[key]
        expected = np.dtype("<f4" if kind == _BFLOAT16 else kind)
        if storage.dtype != expected or len(storage) != size:
            raise ValueError(f"storage {key} is not of the named type and size")
        return storage

    @staticmethod
    def _rebuild_tensor(
        storage: Any, offset: Any, size: Any, stride: Any, *_: object
    ) -> NDArray[Any]:
        """A view of a storage. Its elements are inside the storage, and at most as many."""
        if not isinstance(storage, np.ndarray) or len(size) != len(stride):
            raise ValueError("a tensor has no storage, or not as many strides as dimensions")
        if not all(isinstance(each, int) and each >= 0 for each in (offset, *size, *stride)):
            raise ValueError("a tensor has a size that is no natural number")
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count and (last >= len(storage) or count > len(storage)):
            raise ValueError("a tensor is larger than its storage")
        if not count:
            return np.zeros(size, storage.dtype)
        strides = [step * storage.itemsize for step in stride]
        return as_strided(storage[offset:], size, strides, writeable=False)

    @staticmethod
    def _rebuild_parameter(tensor: Any, *_: object) -> Any:
        return tensor
