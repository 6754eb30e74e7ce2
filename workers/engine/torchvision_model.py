"""torchvision's part: a classification model by name, with weights, preset and labels."""

from __future__ import annotations

import difflib
import hashlib
import socket
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
import torch.nn.functional as F
from torch import nn

from shared.errors import ModelError, WeightsUnreachable
from shared.settings import Settings
from workers.engine.export_file import file_digest, weights_file, weights_source
from workers.engine.model import Model, relabelled, weights_version
from workers.engine.weights_file import Description, read_description, read_state
from workers.decode.preprocessing import Preset

try:
    import torchvision
except RuntimeError:
    # torchvision's wheels are built for CUDA. Beside a torch for CPUs their operators do not load,
    # and the import stops at these two. Classifying needs neither, so their names are enough.
    _SCHEMAS = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for _name in ("nms", "qnms"):
        _SCHEMAS.define(  # type: ignore[no-untyped-call]
            f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    import torchvision

#: For the first answer of the network, and then for each read.
_PATIENCE_SECONDS = 5
_TIMEOUT_SECONDS = 10

#: Whoever answers in the server's place, as a hotel's network does, sends a file of another digest
#: (RuntimeError) or none (the last two).
_FETCHING_FAILS = (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError)
#: Of the OSErrors among them.
_NETWORK_FAILS = (URLError, ConnectionError, TimeoutError, SSLError)


class Classifier(nn.Module):
    """A network with normalisation before and softmax after it; enlarges first where it is told to.

    uint8 RGB of shape (n, crop, crop, 3) in, float32 probabilities of shape (n, classes) out.
    """

    def __init__(
        self, network: nn.Module, preset: Preset, enlarged_size: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.enlarged_size = enlarged_size
        mean, std = torch.tensor(preset.mean), torch.tensor(preset.std)
        self.scale = nn.Buffer((1 / (255 * std)).view(3, 1, 1))
        self.shift = nn.Buffer((-mean / std).view(3, 1, 1))
        self.eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
        if self.enlarged_size:
            side = self.enlarged_size
            images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
        scores: torch.Tensor = self.network(images)
        return scores.float().softmax(1)


def load(settings: Settings) -> tuple[Classifier, Model]:
    """The network that the settings ask for, on the CPU in fp32, and what is known of it.

    The labels are those that the weights bring; MODEL_LABELS counts only where they bring none.
    Raises ModelError: an unknown name, weights that cannot be had or do not fit, labels missing.
    """
    path = weights_file(settings)
    own = read_description(path) if path else None
    name = _architecture(settings, own)
    published = _published(name)
    described = own or _description(published)
    if weights_source(settings) == "random":
        described = replace(described, variant="random weights")
        network = _random(name, described.preset, classes=len(described.labels))
        digest = _digest(network)
    else:
        path = path or download(published)
        network = _trained(name, described.preset, path, classes=len(described.labels))
        digest = file_digest(path)
    variant = f" ({described.variant})" if described.variant else ""
    model = Model(
        name=f"{name}{variant}",
        version=weights_version(name, digest, variant=described.variant),
        weights=Path(settings.model_weights).name,
        weights_digest=digest,
        labels=described.labels,
        preset=described.preset,
        notice=described.notice,
    )
    labelled = _labelled(model, _classes(network), settings.model_labels)
    return Classifier(network, described.preset, described.enlarged_size), labelled


def fetch(settings: Settings) -> None:
    """Have torchvision's weights in torch's cache. Raises ModelError, as `load` does."""
    download(_published(settings.model))


def _architecture(settings: Settings, own: Description | None) -> str:
    """What the weights say they are of, else what MODEL says. Raises ModelError where both do."""
    told, usual = own.architecture if own else "", Settings.model_fields["model"].default
    if told and settings.model not in (told, usual):
        raise ModelError(
            f"MODEL_WEIGHTS={settings.model_weights} is a {told}, not MODEL={settings.model}"
        )
    return told or settings.model


def _published(name: str) -> Any:
    """torchvision's best weights for a model: an address, a preset and labels."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name in known:
        return torchvision.models.get_model_weights(name).DEFAULT
    if name in torchvision.models.list_models():
        raise ModelError(f"MODEL={name} does something other than classify pictures")
    close = difflib.get_close_matches(name, known)
    hint = f"did you mean {' or '.join(close)}?" if close else f"one of {', '.join(known)}"
    raise ModelError(f"MODEL={name} is no classification model of torchvision; {hint}")


def _description(published: Any) -> Description:
    transforms = published.transforms()
    preset = Preset(
        resize_size=transforms.resize_size[0],
        crop_size=transforms.crop_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )
    labels = tuple(published.meta["categories"])
    return Description(variant="", notice="", labels=labels, preset=preset)


def build(name: str, preset: Preset, *, classes: int, auxiliary: bool = False) -> nn.Module:
    """A network with the options that torchvision sets when it loads its own weights."""
    options: dict[str, Any] = {"num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"transform_input": True, "aux_logits": auxiliary, "init_weights": False}
    if name.startswith("vit_"):
        options["image_size"] = preset.crop_size
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network


def _random(name: str, preset: Preset, *, classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # Every worker answers the same.
        return build(name, preset, classes=classes)


def _trained(name: str, preset: Preset, path: Path, *, classes: int) -> nn.Module:
    """With the file's number of classes; `classes` is the likeliest, and saves building twice."""
    state = read_state(path)
    auxiliary = any(key.lower().startswith("aux") for key in state)
    network = build(name, preset, classes=classes, auxiliary=auxiliary)
    head = list(network.state_dict())[-1]
    if head not in state:
        raise ModelError(f"The weights in {path} are not of MODEL={name}: they have no {head}")
    if len(state[head]) != classes:
        network = build(name, preset, classes=len(state[head]), auxiliary=auxiliary)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 300)
        raise ModelError(f"The weights in {path} are not of MODEL={name}: {reason}") from error
    return network


def _classes(network: nn.Module) -> int:
    return len(list(network.parameters())[-1])


def _labelled(model: Model, classes: int, labels: Path | None) -> Model:
    if len(model.labels) == classes:
        return model
    if labels is None:
        raise ModelError(
            f"The weights have {classes} classes, but {len(model.labels)} are named: "
            "name them with MODEL_LABELS, a file with one label per line"
        )
    return relabelled(model, labels, classes=classes)


def _digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.numpy())
    return digest.hexdigest()


def download(published: Any) -> Path:
    """torchvision's file in torch's cache, fetched and its digest checked if it is not there.

    Raises WeightsUnreachable where the network does not bring it, ModelError where it cannot be
    kept.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(published.url).path).name)
    if path.exists():
        return path
    try:
        _knock(published.url)
        with _impatience():
            published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except _FETCHING_FAILS as error:
        # Of a disk that is full or a folder that is closed, no network is to blame.
        unreachable = not isinstance(error, OSError) or isinstance(error, _NETWORK_FAILS)
        raise (WeightsUnreachable if unreachable else ModelError)(
            f"The weights {published} cannot be had from {published.url}: {error}. Let this "
            "machine reach the network once; or set MODEL_WEIGHTS=<file>, a .pth or .safetensors; "
            "or set MODEL_WEIGHTS=demonstration, a small model of few classes; "
            "or set MODEL_WEIGHTS=random, for load tests."
        ) from error
    return path


def _knock(url: str) -> None:
    """Raise OSError unless the address answers within seconds.

    A time-out for connecting holds for each of a name's many addresses, and none for looking the
    name up: only a thread that nobody waits for is sure to be given up in time.
    """
    failures: list[Exception] = []

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=_PATIENCE_SECONDS).close()
        except (OSError, HTTPException) as error:
            failures.append(error)
            if isinstance(error, HTTPError):
                error.close()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    if asking.is_alive():
        raise TimeoutError(f"no answer in {_PATIENCE_SECONDS} s")
    if failures:
        raise failures[0]


@contextmanager
def _impatience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
