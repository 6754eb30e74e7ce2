"""The training: a network, an optimizer and a schedule, in epochs that can be resumed."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import depthwise
from training.augmentation import Chance, augment
from training.pictures import Pictures
from workers.engine.torchvision_model import State
from workers.decode.preprocessing import Preset


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parameters of a training."""

    #: In pixels, one for each epoch. Small pictures come first: they teach as much and are cheaper.
    sides: tuple[int, ...]
    seed: int
    batch_size: int = 128
    #: Shares of each batch. Each share has its own process and its own batch normalisation.
    shares: int = 1
    peak_rate: float = 0.2
    warm_up_epochs: float = 1.0
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    average_decay: float = 0.998  #: Of the running average of the weights, which is shipped.

    def rate(self, progress: float) -> float:
        """Learning rate after `progress` epochs: it rises linearly, then falls as half a cosine."""
        if progress < self.warm_up_epochs:
            return self.peak_rate * progress / self.warm_up_epochs
        done = (progress - self.warm_up_epochs) / (len(self.sides) - self.warm_up_epochs)
        return self.peak_rate * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    def strength(self, epoch: int) -> float:
        """Strength of the augmentation. In the last epochs the pictures are nearly unchanged."""
        return 0.5 - 0.4 * epoch / len(self.sides)


class Training:
    """A network in training. `epoch` is the number of finished epochs.

    If the recipe has several shares, each process of torch's default group has a training for the
    share of its rank. All their networks stay equal.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, preset: Preset, *, share: int = 0
    ) -> None:
        self.recipe = recipe
        self.epoch = 0
        self._share = share
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _prepare(self.network)
        averaging = get_ema_multi_avg_fn(recipe.average_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True)
        depthwise.quicken(self.network)
        self._learning = self.network
        if recipe.shares > 1:
            # Only the statistics of the first share are used.
            self._learning = DistributedDataParallel(self.network, forward_sync_buffers=False)
        self._optimizer = torch.optim.SGD(
            _decayed(self.network, recipe.weight_decay),
            lr=0.0,
            momentum=0.9,
            nesterov=True,
            fused=True,
        )
        self._mean = torch.tensor(preset.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(preset.std).view(1, 3, 1, 1)

    @property
    def finished(self) -> bool:
        return self.epoch >= len(self.recipe.sides)

    def run_epoch(self, pictures: Pictures) -> float:
        """Train on every picture once, except an incomplete last batch. Returns the mean loss."""
        recipe = self.recipe
        # Random choices depend only on the epoch, so a resumed training makes the same ones.
        seeds = torch.Generator().manual_seed(recipe.seed * 1000 + self.epoch)
        order = torch.randperm(len(pictures.classes), generator=seeds)
        chance = self._chance(seeds)
        steps = len(order) // recipe.batch_size
        self._learning.train()
        total = 0.0
        for step in range(steps):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            chosen = chosen[self._share :: recipe.shares]
            for group in self._optimizer.param_groups:
                group["lr"] = recipe.rate(self.epoch + step / steps)
            images = augment(pictures.pixels[chosen], recipe.sides[self.epoch], chance)
            total += self._step(images, pictures.classes[chosen])
        self.epoch += 1
        return total / steps

    def _chance(self, seeds: torch.Generator) -> Chance:
        shares = self.recipe.shares
        seed = int(torch.randint(2**31, (shares,), generator=seeds)[self._share])
        source = torch.Generator().manual_seed(seed)
        return Chance(self.recipe.batch_size // shares, source, self.recipe.strength(self.epoch))

    def _step(self, images: torch.Tensor, classes: torch.Tensor) -> float:
        scores = self._learning(self._normal(images))
        loss = F.cross_entropy(scores, classes, label_smoothing=self.recipe.label_smoothing)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.average.update_parameters(self.network)
        return float(loss.detach())

    @torch.inference_mode()
    def accuracy(self, pictures: Pictures, side: int) -> float:
        """Accuracy of the present weights on pictures that are enlarged to `side` pixels.

        The averaged weights are worse until the learning rate is low.
        """
        self.network.eval()
        right = 0
        for first in range(0, len(pictures.classes), 250):
            pixels = pictures.pixels[first : first + 250]
            classes = pictures.classes[first : first + 250]
            images = self._normal(_enlarged(pixels, side))
            right += int((self.network(images).argmax(1) == classes).sum())
        return right / len(pictures.classes)

    def save(self, path: Path) -> None:
        """Write a checkpoint in one step."""
        partial = path.with_suffix(".partial")
        state = {
            "epoch": self.epoch,
            "sides": list(self.recipe.sides),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, partial)
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises ValueError if its epochs had other sides."""
        state = torch.load(path, weights_only=True)
        if tuple(state["sides"][: state["epoch"]]) != self.recipe.sides[: state["epoch"]]:
            raise ValueError(f"{path} was trained with other sides: {state['sides']}")
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _normal(self, images: torch.Tensor) -> torch.Tensor:
        images = (images - self._mean) / self._std
        return images.contiguous(memory_format=torch.channels_last)


def averaged(checkpoint: Path) -> State:
    """The averaged weights in a checkpoint, by the network's names."""
    state = torch.load(checkpoint, weights_only=True)["average"]
    prefix = "module."
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def _prepare(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # In so few epochs the network does not overfit.
        elif isinstance(module, nn.Conv2d) and module.groups > 1:
            # torchvision initialises as if each kernel fed all channels. Some kernels would start
            # 30 times smaller than one training step changes them.
            nn.init.kaiming_normal_(module.weight, mode="fan_in")


def _enlarged(pixels: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(pixels.float() / 255, (side, side), mode="bilinear")


def _decayed(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameter groups. Weight decay does not apply to biases and normalisation."""
    parameters = list(network.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
