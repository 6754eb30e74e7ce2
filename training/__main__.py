"""`python -m training` trains the demonstration model on small labelled pictures.

    python -m training --data cifar10 --work work --output demonstration.safetensors

It continues from the checkpoint in `--work` if there is one. On a shared machine set
OMP_WAIT_POLICY=passive. Otherwise a waiting thread spins on a core that another thread needs. Set
MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=17179869184, or glibc returns the memory of each batch
to the system, which takes as long as the arithmetic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.demonstration import SIDES, ship, train
from training.pictures import read_files
from training.training import Recipe


def main() -> int:
    arguments = _arguments()
    files = read_files(arguments.data)
    labels = tuple(sorted({each.label for each in files["train"]}))
    recipe = Recipe(sides=SIDES, seed=arguments.seed, shares=arguments.processes)
    train(files, labels, arguments.work, recipe)
    accuracy = ship(arguments.work, labels, files["test"], recipe, arguments.output)
    print(f"{arguments.output}: {accuracy:.2%} of {len(files['test'])} test pictures are right")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train the demonstration model."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder or tar of the pictures")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices; default: 0")
    parser.add_argument(
        "--processes", type=int, default=2, help="processes that share each batch; default: 2"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
