"""`python -m training`: trains a demonstration model on small labelled pictures.

It goes on from the checkpoint in `--work` if there is one. Where cores are shared, set
OMP_WAIT_POLICY=passive, or a thread that waits spins on the core that the other one needs.
MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=17179869184 keep glibc from giving back each batch's
memory, which takes as long as the arithmetic.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from training import shipped_file
from training.pictures import Labelled, Pictures, decoded, read_files
from training.training import Recipe, Training, averaged
from workers.engine import torchvision_model
from workers.engine.weights_file import Description
from workers.decode.preprocessing import Preset

ARCHITECTURE = "mobilenet_v3_large"
CHECKPOINT = "checkpoint.pt"

#: The size, mean and std are those of the training pictures.
PRESET = Preset(
    resize_size=32,
    crop_size=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    interpolation="bilinear",
)

#: To what pictures are enlarged in each epoch, in pixels: to less at first, which is cheaper.
SIDES = (48,) * 15 + (64,) * 10

NOTICE = (
    "demonstration model ({} classes); for ImageNet's 1,000 classes let this machine reach the "
    "network once, or set MODEL_WEIGHTS=<file>"
)
PROVENANCE = "trained from scratch on the training pictures of CIFAR-10 by training/__main__.py"


def main() -> int:
    arguments = _arguments()
    files = read_files(arguments.data)
    labels = tuple(sorted({each.label for each in files["train"]}))
    recipe = Recipe(sides=SIDES, seed=arguments.seed, shares=arguments.processes)
    train(files, labels, arguments.work, recipe)
    accuracy = ship(arguments.work, labels, files["test"], recipe, arguments.output)
    print(f"{arguments.output}: {accuracy:.2%} of {len(files['test'])} test pictures")
    return 0


def train(
    files: dict[str, list[Labelled]], labels: tuple[str, ...], work: Path, recipe: Recipe
) -> None:
    """Train to the end, from the checkpoint in `work` on, with a line for each epoch."""
    work.mkdir(parents=True, exist_ok=True)
    pictures = decoded(files["train"], labels)
    # Every tenth test picture: a look at the way it goes, on which nothing is decided.
    glance = decoded(files["test"][::10], labels)
    arguments = (pictures, glance, work, recipe)
    if recipe.shares == 1:
        _train(0, *arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder, "meeting").as_uri()
        spawn(  # type: ignore[no-untyped-call]
            _train_share, (meeting, *arguments), nprocs=recipe.shares
        )


def _train_share(share: int, meeting: str, *arguments: Any) -> None:
    # Between themselves the threads of one process spend half of their time waiting.
    torch.set_num_threads(1)
    shares = arguments[-1].shares
    distributed.init_process_group("gloo", init_method=meeting, rank=share, world_size=shares)
    try:
        _train(share, *arguments)
    finally:
        distributed.destroy_process_group()


def _train(share: int, pictures: Pictures, glance: Pictures, work: Path, recipe: Recipe) -> None:
    torch.manual_seed(recipe.seed)
    classes = int(pictures.classes.max()) + 1
    network = torchvision_model.build(ARCHITECTURE, PRESET, classes=classes)
    training = Training(network, recipe, PRESET, share=share)
    checkpoint = work / CHECKPOINT
    if checkpoint.exists():
        training.resume(checkpoint)
    while not training.finished:
        started = time.monotonic()
        loss = training.run_epoch(pictures)
        if share == 0:
            training.save(checkpoint)
            side = recipe.sides[training.epoch - 1]
            print(
                f"epoch {training.epoch}/{len(recipe.sides)}: {side} px, loss {loss:.3f}, "
                f"test {training.accuracy(glance, side):.3f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )


def ship(
    work: Path, labels: tuple[str, ...], test: list[Labelled], recipe: Recipe, output: Path
) -> float:
    """Write the weights with the accuracy that the file itself was measured to have; return it."""
    state = averaged(work / CHECKPOINT)
    description = Description(
        architecture=ARCHITECTURE,
        variant="demonstration model",
        notice=NOTICE.format(len(labels)),
        labels=labels,
        preset=PRESET,
        enlarged_size=recipe.sides[-1],
    )
    facts = {"provenance": PROVENANCE}
    candidate = work / output.name
    shipped_file.write(candidate, state, description, facts)
    accuracy = shipped_file.measured_accuracy(candidate, ARCHITECTURE, test, work)
    facts["accuracy"] = f"{accuracy:.4f} on {len(test)} test pictures"
    shipped_file.write(output, state, description, facts)
    return accuracy


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a demonstration model.")
    parser.add_argument("--data", type=Path, required=True, help="folder or tar of the pictures")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="that share each batch")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
