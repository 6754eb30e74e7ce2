"""The Python client of the image classifier. It talks to the service over HTTP only.

In a clone this package is `client`. Installed by `pip install ./client`, it is
`image_classifier`. Therefore its modules import each other by relative names.

    from image_classifier import ImageClassifier

    with ImageClassifier("http://127.0.0.1:8000") as service:
        print(service.classify("cat.jpg").label)
"""

from __future__ import annotations

from . import errors
from .api.asynchronous import AsyncImageClassifier, AsyncJob
from .api.events import JobEvent
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
    Usage,
    UsageLimits,
)
from .api.transport.retries import Retries
from .api.service import ImageClassifier
from .errors import ImageClassifierError, NoAnswer, NotFinished, Refused
from .version import __version__

__all__ = [
    "AsyncImageClassifier",
    "AsyncJob",
    "Classification",
    "Counts",
    "DeadLetter",
    "Durations",
    "ImageClassifier",
    "ImageClassifierError",
    "Item",
    "ItemError",
    "Job",
    "JobEvent",
    "JobStatus",
    "ModelInfo",
    "NoAnswer",
    "NotFinished",
    "Prediction",
    "Refused",
    "Retries",
    "Usage",
    "UsageLimits",
    "__version__",
    "errors",
]
