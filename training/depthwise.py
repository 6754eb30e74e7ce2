"""A faster gradient for depthwise convolutions whose kernel is larger than the picture.

On a CPU without AVX-512, oneDNN computes the gradient of such a kernel with a slow reference loop.
At the end of the network a picture of 64 pixels has become 2 x 2, and this loop took two thirds of
the time of all convolutions. One product and sum for each tap inside the picture takes a twentieth.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

#: oneDNN is slow for kernels of this size and larger.
_LARGE = 5
#: For larger pictures oneDNN is as fast.
_SMALL_SIDE = 4


def quicken(network: nn.Module) -> None:
    """Make the network's large depthwise convolutions use the faster gradient."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_slow(module):
            module.forward = partial(_forward, module)  # type: ignore[method-assign]


def _is_slow(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups == convolution.in_channels == convolution.out_channels
    return depthwise and convolution.kernel_size[0] >= _LARGE and convolution.bias is None


def _forward(layer: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    stride, padding = layer.stride[0], int(layer.padding[0])
    if images.shape[-1] > _SMALL_SIDE or not torch.is_grad_enabled():
        return F.conv2d(images, layer.weight, None, stride, padding, groups=layer.groups)
    result: torch.Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
        images, layer.weight, stride, padding
    )
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, images: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
    ) -> torch.Tensor:
        context.save_for_backward(images, weight)
        context.stride, context.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight = context.saved_tensors
        stride, padding = context.stride, context.padding
        (gradient,) = gradients
        of_images, _, _ = torch.ops.aten.convolution_backward(
            gradient,
            images,
            weight,
            None,
            [stride] * 2,
            [padding] * 2,
            [1, 1],
            False,
            [0, 0],
            len(weight),
            [True, False, False],
        )
        return of_images, _of_weight(images, gradient, weight, stride, padding), None, None


def _of_weight(
    images: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    # In the shape (side, side, n, channels) each pixel is one block, which is fast to sum over n.
    seen = images.permute(2, 3, 0, 1)
    given = gradient.permute(2, 3, 0, 1)
    result = torch.zeros_like(weight)
    rows, columns = images.shape[2:], gradient.shape[2:]
    for down, ys in _taps(weight.shape[2], rows[0], columns[0], stride, padding):
        for across, xs in _taps(weight.shape[3], rows[1], columns[1], stride, padding):
            part = seen[ys[0]][:, xs[0]] * given[ys[1]][:, xs[1]]
            result[:, 0, down, across] = part.sum((0, 1, 2))
    return result


def _taps(
    size: int, side: int, out: int, stride: int, padding: int
) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Each tap inside the picture, with the slices of the inputs and outputs that it connects."""
    for tap in range(size):
        shift = tap - padding
        first = max(0, -(shift // stride))
        last = min(out - 1, (side - 1 - shift) // stride)
        if first <= last:
            start = first * stride + shift
            yield tap, (
                slice(start, last * stride + shift + 1, stride),
                slice(first, last + 1),
            )
