"""Random changes that make a picture look different in every epoch, for whole batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# The largest change in either direction, at full strength.
_SHIFT = 0.2  #: In half sides of the picture.
_ZOOM = 0.25  #: Of the logarithm. Zooming out mirrors the edges.
_CLOSER = 0.07  #: Zooming in is more frequent by this much.
_ASPECT = 0.1  #: Of the logarithm.
_ROTATION = math.radians(8)
_COLOUR = 0.25  #: Share of brightness, contrast and saturation.
_HIDDEN = 0.4  #: Largest side of the hidden square, as a share of the picture's side.


@dataclass(frozen=True)
class Chance:
    """Random numbers for a batch of n pictures."""

    n: int
    source: torch.Generator
    strength: float  #: 0 to 1.

    def share(self) -> torch.Tensor:
        return torch.rand(self.n, generator=self.source)

    def within(self, most: float) -> torch.Tensor:
        """Between `-most` and `most`, times the strength."""
        return (2 * self.share() - 1) * most * self.strength


def augment(pixels: torch.Tensor, side: int, chance: Chance) -> torch.Tensor:
    """Flip, shift, zoom, rotate and recolour pictures, and hide a square in every second one.

    uint8 of shape (n, 3, h, w) in, float32 of shape (n, 3, side, side) out. The values are in 0..1,
    or a little outside where colours were stretched.
    """
    images = pixels.float() / 255
    grid = F.affine_grid(_views(chance), [chance.n, 3, side, side], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return _hide(_recolour(images, chance), chance)


def _views(chance: Chance) -> torch.Tensor:
    """Matrices of shape (n, 2, 3) that map output pixels to positions in their picture."""
    zoom = torch.exp(chance.within(_ZOOM) - _CLOSER * chance.strength)
    aspect = torch.exp(chance.within(_ASPECT))
    flip = torch.where(chance.share() < 0.5, -1.0, 1.0)
    rotation = chance.within(_ROTATION)
    width, height = zoom * aspect, zoom / aspect
    across = (flip * width * rotation.cos(), -height * rotation.sin(), chance.within(_SHIFT))
    down = (flip * width * rotation.sin(), height * rotation.cos(), chance.within(_SHIFT))
    return torch.stack((torch.stack(across, 1), torch.stack(down, 1)), 1)


def _recolour(images: torch.Tensor, chance: Chance) -> torch.Tensor:
    saturation, contrast, brightness = (chance.within(_COLOUR).view(-1, 1, 1, 1) for _ in range(3))
    gray = images.mean(1, keepdim=True)
    images = images + saturation * (images - gray)
    mean = images.mean((1, 2, 3), keepdim=True)
    return images + contrast * (images - mean) + brightness * mean


def _hide(images: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Paint a square in the picture's mean colour. Half of the sizes are negative: no square."""
    size = chance.within(_HIDDEN).view(-1, 1)
    side = images.shape[-1]
    place = (torch.arange(side) + 0.5).view(1, side) / side
    across, down = ((place - chance.share().view(-1, 1)).abs() < size / 2 for _ in range(2))
    hidden = down.view(-1, 1, side, 1) & across.view(-1, 1, 1, side)
    return torch.where(hidden, images.mean((2, 3), keepdim=True), images)
