"""The demonstration model: its architecture, its training and the file that is shipped."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from training import shipped_file
from training.pictures import Labelled, Pictures, decoded
from training.training import Recipe, Training, averaged
from workers.decode.preprocessing import Preset
from workers.engine import torchvision_model
from workers.engine.weights.weights_file import Description

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

#: Sides in pixels to which each epoch enlarges the pictures. The first epochs are cheaper.
SIDES = (48,) * 15 + (64,) * 10

NOTICE = (
    "demonstration model ({} classes); for ImageNet's 1,000 classes let this machine reach the "
    "network once, or set MODEL_WEIGHTS=<file>"
)
PROVENANCE = "trained from scratch on the training pictures of CIFAR-10 by training/__main__.py"


def train(
    files: dict[str, list[Labelled]], labels: tuple[str, ...], work: Path, recipe: Recipe
) -> None:
    """Train to the end, from the checkpoint in `work` if there is one. Prints a line per epoch."""
    work.mkdir(parents=True, exist_ok=True)
    pictures = decoded(files["train"], labels)
    # Every tenth test picture shows the progress. It has no influence on the training.
    progress = decoded(files["test"][::10], labels)
    arguments = (pictures, progress, work, recipe)
    if recipe.shares == 1:
        _train(0, *arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder, "meeting").as_uri()
        spawn(  # type: ignore[no-untyped-call]
            _train_share, (meeting, *arguments), nprocs=recipe.shares
        )


def _train_share(share: int, meeting: str, *arguments: Any) -> None:
    # With several threads in a process, each waits half of the time for the others.
    torch.set_num_threads(1)
    shares = arguments[-1].shares
    distributed.init_process_group("gloo", init_method=meeting, rank=share, world_size=shares)
    try:
        _train(share, *arguments)
    finally:
        distributed.destroy_process_group()


def _train(share: int, pictures: Pictures, progress: Pictures, work: Path, recipe: Recipe) -> None:
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
                f"test {training.accuracy(progress, side):.3f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )


def ship(
    work: Path, labels: tuple[str, ...], test: list[Labelled], recipe: Recipe, output: Path
) -> float:
    """Write the shipped file and return its accuracy, which is measured with the file itself."""
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
