"""Files as `torch.save` writes them, made without torch, so that each part can be wrong."""

from __future__ import annotations

import io
import pickle
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from workers.engine.graph.graph import weights_of
from workers.engine.weights.pth_file import Arrays

PROTOCOL = b"\x80\x02"
STOP = b"."
_STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}


def default_state(classes: int = 1000) -> Arrays:
    """Random weights of the default model, small enough that no number overflows."""
    weights = weights_of("mobilenet_v3_large")
    assert weights
    random = np.random.default_rng(0)
    state: Arrays = {}
    for name, shape in weights.shapes.items():
        if weights.is_in_head(name):
            shape = (classes, *shape[1:])
        if name.endswith("running_var"):
            state[name] = np.ones(shape, np.float32)
            state[name.replace("running_var", "num_batches_tracked")] = np.array(7)
        else:
            state[name] = random.normal(0, 0.05, shape).astype(np.float32)
    return state


def pth_bytes(state: Arrays) -> bytes:
    """A sound file."""
    tensors = {
        name: tensor(str(key), array.shape, kind=_STORAGES[array.dtype.str[1:]])
        for key, (name, array) in enumerate(state.items())
    }
    storages = {str(key): array.tobytes() for key, array in enumerate(state.values())}
    return archive(dictionary(tensors), storages)


def archive(
    pickled: bytes,
    storages: dict[str, bytes],
    compression: int = ZIP_STORED,
    byte_order: str = "little",
) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w", compression) as writer:
        writer.writestr("archive/data.pkl", pickled)
        writer.writestr("archive/byteorder", byte_order)
        for key, content in storages.items():
            writer.writestr(f"archive/data/{key}", content)
        writer.writestr("archive/version", "3\n")
    return file.getvalue()


def dictionary(tensors: dict[str, bytes]) -> bytes:
    """The pickle of a dictionary: an empty one, a name and a value for each entry, and the end."""
    entries = b"".join(plain(name) + value for name, value in tensors.items())
    return PROTOCOL + call("collections", "OrderedDict", b")") + b"(" + entries + b"u" + STOP


def tensor(
    key: str,
    size: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    *,
    offset: int = 0,
    elements: int | None = None,
    kind: str = "FloatStorage",
) -> bytes:
    """The steps that build a tensor of a storage."""
    if stride is None:
        stride = tuple(int(np.prod(size[axis + 1 :])) for axis in range(len(size)))
    count = int(np.prod(size)) if elements is None else elements
    kind_and_key = name_of("torch", kind) + plain(key)
    storage = b"(" + plain("storage") + kind_and_key + plain("cpu") + plain(count) + b"tQ"
    hooks = call("collections", "OrderedDict", b")")
    arguments = storage + plain(offset) + plain(size) + plain(stride) + plain(False) + hooks
    return call("torch._utils", "_rebuild_tensor_v2", b"(" + arguments + b"t")


def call(module: str, name: str, arguments: bytes) -> bytes:
    return name_of(module, name) + arguments + b"R"


def name_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def plain(value: object) -> bytes:
    """The steps that build a string, a number or a tuple of numbers."""
    return pickle.dumps(value, protocol=2).removeprefix(PROTOCOL).removesuffix(STOP)


def numbers(count: int) -> NDArray[np.float32]:
    return np.arange(count, dtype=np.float32)
