"""Daft with a user-defined class in two processes.

python -m loadtest.peers.folder.daft_table FOLDER TABLE ENGINE
"""

from __future__ import annotations

import os
import sys
from typing import Any

import daft
from daft import DataType, col
from daft.functions import download

from loadtest.peers.folder.labels import Labels

_ROW = DataType.struct({"label": DataType.string(), "probability": DataType.float64()})


@daft.cls(use_process=True, max_concurrency=2)
class Actor:
    def __init__(self, engine: Any) -> None:
        os.environ.pop("LOG_LEVEL", None)  # Daft sets a number, which Settings refuses.
        self._labels = Labels(engine)

    @daft.method.batch(return_dtype=_ROW, batch_size=32)
    def rows(self, pictures: daft.Series) -> list[dict[str, Any]]:
        labels, probabilities = self._labels.of(pictures.to_pylist())
        pairs = zip(labels, probabilities, strict=True)
        return [{"label": label, "probability": probability} for label, probability in pairs]


def main() -> None:
    folder, table, engine = sys.argv[1:]
    pictures = daft.from_glob_path(f"{folder}/*.jpg")
    labelled = pictures.select("path", Actor(engine).rows(download(col("path"))).alias("row"))
    labelled.select("path", col("row").get("label"), col("row").get("probability")).write_parquet(
        table
    )


if __name__ == "__main__":
    main()
