"""Talks to the service, over HTTP and nothing else.

In a clone this package is `client`; installed (`pip install ./client`) it is `image_classifier`,
so it imports its own modules by relative names.

    from image_classifier import ImageClassifier

    with ImageClassifier("http://127.0.0.1:8000") as service:
        print(service.classify("cat.jpg").label)
"""

from __future__ import annotations

from . import errors
from .errors import ImageClassifierError, NoAnswer, NotFinished, Refused
from .api.job import Job
from .api.records import (
    Classification,
    Counts,
    DeadLetter,
    Durations,
    Item,
    ItemError,
    JobStatus,
    ModelInfo,
    Prediction,
)
from .api.retries import Retries
from .api.service import ImageClassifier
from .version import VERSION

__version__ = VERSION

__all__ = [
    "Classification",
    "Counts",
    "DeadLetter",
    "Durations",
    "ImageClassifier",
    "ImageClassifierError",
    "Item",
    "ItemError",
    "Job",
    "JobStatus",
    "ModelInfo",
    "NoAnswer",
    "NotFinished",
    "Prediction",
    "Refused",
    "Retries",
    "errors",
]
