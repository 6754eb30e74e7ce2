"""Compare the labels of the service with those of torchvision's own transforms and model.

    python -m loadtest.accuracy PICTURES

PICTURES is a folder of JPEGs with names like `<anything>_<class name>.JPEG`, as ImageNet samples
have. MODEL and MODEL_WEIGHTS choose the model. The reference runs in fp32 in this process.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path

import httpx
import torch
from PIL import Image

from tests.support.local_service import export_model, local_service
from shared.jobs import Lane
from shared.settings import Settings
from workers.engine import torchvision_model


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    pictures = sorted(arguments.parse_args().pictures.glob("*.[jJ][pP]*[gG]"))
    export_model()
    served = _served(pictures)
    reference = _reference(pictures, Settings())
    wanted = [_letters(picture.stem.partition("_")[2]) for picture in pictures]

    print(f"pictures: {len(pictures)}")
    print(f"same label from the service and torchvision: {_equal(served, reference)}")
    print(f"right labels from the service: {_equal(served, wanted)}")
    print(f"right labels from torchvision: {_equal(reference, wanted)}")


def _served(pictures: list[Path]) -> list[str]:
    """The best label of each picture, from the whole service over HTTP."""
    with tempfile.TemporaryDirectory() as folder, local_service(
        Path(folder), os.environ
    ) as service:
        service.start_worker(Lane.INTERACTIVE)
        service.start_web()
        service.await_ready()
        with httpx.Client(base_url=service.base_url, timeout=60, trust_env=False) as http:
            answers = [
                http.post("/api/v1/classify", content=picture.read_bytes()).raise_for_status()
                for picture in pictures
            ]
    return [_letters(each.json()["predictions"][0]["class_name"]) for each in answers]


def _reference(pictures: list[Path], settings: Settings) -> list[str]:
    classifier, model = torchvision_model.load(settings)
    transforms = torchvision_model.torchvision.models.get_model_weights(
        settings.model
    ).DEFAULT.transforms()
    labels = []
    with torch.inference_mode():
        for picture in pictures:
            image = transforms(Image.open(picture).convert("RGB"))
            scores = classifier.network(image.unsqueeze(0))
            labels.append(_letters(model.labels[int(scores.argmax())]))
    return labels


def _equal(some: list[str], others: list[str]) -> int:
    return sum(one == other for one, other in zip(some, others, strict=True))


def _letters(name: str) -> str:
    """Only the letters, because some names are `great_grey_owl` and some `great grey owl`."""
    return re.sub(r"[^a-z]", "", name.lower())


if __name__ == "__main__":
    main()
