"""Ray Data with two actors.

python -m loadtest.peers.folder.ray_data FOLDER TABLE ENGINE
"""

from __future__ import annotations

import sys
from typing import Any

import ray

from loadtest.peers.folder.labels import Labels

_PROCESSES = 2


class Actor:
    def __init__(self, engine: Any) -> None:
        self._labels = Labels(engine)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        labels, probabilities = self._labels.of(list(batch["bytes"]))
        return {"path": batch["path"], "label": labels, "probability": probabilities}


def main() -> None:
    folder, table, engine = sys.argv[1:]
    # An actor counts as one processor. Ray reads and writes with the others.
    ray.init(num_cpus=2 * _PROCESSES, include_dashboard=False, log_to_driver=False)
    pictures = ray.data.read_binary_files(folder, include_paths=True)
    labelled = pictures.map_batches(
        Actor,
        fn_constructor_args=(engine,),
        batch_size=32,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=_PROCESSES),
    )
    labelled.write_parquet(table)


if __name__ == "__main__":
    main()
