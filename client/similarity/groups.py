"""Groups of similar pictures.

Two pictures are similar if the cosine of their embeddings is large enough. A group has all pictures
that are similar to another one of it, so its ends may differ more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .vectors import Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    #: For a picture: its number, those of others that are similar, and the largest cosine.
    _Similar = Iterator[tuple[int, NDArray[np.int64], float]]

#: Each picture is compared with each other one, if there are no more. The time grows with the
#: square of their number. usearch finds the neighbours among more, and may miss some.
_MOST_COMPARED = 20_000

#: Pictures that are compared with all others at a time.
_AT_ONCE = 256

#: Neighbours that usearch gives for each picture.
_NEIGHBOURS = 32


@dataclass(frozen=True)
class Member:
    path: str
    similarity: float  #: The cosine with the most similar other picture of the group.


def similar_groups(vectors: Vectors, least: float) -> list[list[Member]]:
    """Groups of pictures that have a cosine of at least `least`: large ones first."""
    import numpy as np  # optional

    first, copies = _equal(vectors.embeddings)
    different = _normalised(vectors.embeddings[first])
    labels = np.arange(len(first))
    best = np.where(np.array([len(each) for each in copies]) > 1, 1.0, -1.0)
    for number, others, largest in _similar(different, least):
        best[number] = max(best[number], largest)
        joined = np.unique(labels[[number, *others]])
        if len(joined) > 1:
            labels[np.isin(labels, joined)] = joined[0]
    groups: dict[int, list[tuple[int, float]]] = {}
    for number, label in enumerate(labels.tolist()):
        members = [(picture, float(best[number])) for picture in copies[number]]
        groups.setdefault(label, []).extend(members)
    several = [sorted(each) for each in groups.values() if len(each) > 1]
    return [
        [Member(vectors.paths[picture], round(largest, 4)) for picture, largest in group]
        for group in sorted(several, key=lambda each: (-len(each), each[0]))
    ]


def _equal(embeddings: NDArray[np.float16]) -> tuple[list[int], Sequence[list[int]]]:
    """The first picture with each embedding, and all pictures that have this embedding."""
    pictures: dict[bytes, list[int]] = {}
    for number, each in enumerate(embeddings):
        pictures.setdefault(each.tobytes(), []).append(number)
    return [each[0] for each in pictures.values()], list(pictures.values())


def _normalised(embeddings: NDArray[np.float16]) -> NDArray[np.float32]:
    import numpy as np  # optional

    numbers = embeddings.astype(np.float32)
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    numbers /= np.where(lengths > 0, lengths, 1)
    return numbers


def _similar(vectors: NDArray[np.float32], least: float) -> _Similar:
    return (_compared if len(vectors) <= _MOST_COMPARED else _searched)(vectors, least)


def _compared(vectors: NDArray[np.float32], least: float) -> _Similar:
    import numpy as np  # optional

    for start in range(0, len(vectors), _AT_ONCE):
        cosines = vectors[start : start + _AT_ONCE] @ vectors.T
        for row, of_row in enumerate(cosines):
            of_row[start + row] = -1.0  # itself
            others = np.flatnonzero(of_row >= least)
            if len(others):
                yield start + row, others, min(1.0, float(of_row.max()))


def _searched(vectors: NDArray[np.float32], least: float) -> _Similar:
    import numpy as np  # optional
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="f16")
    index.add(np.arange(len(vectors)), vectors)
    for start in range(0, len(vectors), _AT_ONCE):
        found = index.search(vectors[start : start + _AT_ONCE], _NEIGHBOURS)
        for row, (keys, count) in enumerate(zip(found.keys, found.counts, strict=True)):
            near = keys[:count].astype(np.int64)
            near = near[near != start + row]
            cosines = vectors[near] @ vectors[start + row]
            others = near[cosines >= least]
            if len(others):
                yield start + row, others, min(1.0, float(cosines.max()))
