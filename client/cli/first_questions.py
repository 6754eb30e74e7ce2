"""What an upload asks the service before it begins a table."""

from __future__ import annotations

import time
from contextlib import suppress

from ..api.records import ModelInfo
from ..api.service import ImageClassifier
from ..api.transport.retries import Retries
from ..errors import ModelNotReady, NotFound, UsageError
from ..text import path_text
from . import connect

#: Time between two questions for a model that no worker has loaded.
_MODEL_SECONDS = 1.0


def retries(patience: float) -> Retries:
    """How long a question waits for a service that is away. `_model` waits for workers itself."""
    return Retries(total_seconds=patience, wait_for_model=False)


def check_key(service: ImageClassifier) -> None:
    """Raises Refused if the service does not accept the key."""
    with suppress(NotFound):  # a service of an earlier release
        service.usage()


def check_embedding(service: ImageClassifier) -> None:
    """Raises UsageError if the model has no embedding."""
    # Without a model, the first job is refused, or answered by a model that has one.
    model = _model(service)
    if model and not model.embedding:
        raise UsageError(
            f"The model {model.version} has no embedding. Leave --embeddings out, or serve a model"
            " that has one (docs/similar.md)."
        )


def check_model(service: ImageClassifier, begun: str, output: str) -> None:
    """Raises UsageError if another model version than `begun` classifies now."""
    # Without a model, the upload goes on, and its pictures wait for a worker.
    model = _model(service)
    if model and model.version != begun:
        raise UsageError(
            f"{path_text(output)} has rows of the model {begun}, and the service has"
            f" {model.version}. Give --any-model to add rows of that model, or --overwrite to start"
            " again."
        )


def _model(service: ImageClassifier) -> ModelInfo | None:
    """The model that classifies. None: no worker has loaded one, nor a few seconds later."""
    connection = service.connection
    patience = min(connect.PATIENCE_SECONDS, connection.retries.total_seconds)
    give_up = time.monotonic() + patience
    while True:
        try:
            return service.model_info()
        except ModelNotReady as error:
            if time.monotonic() + _MODEL_SECONDS > give_up:
                return None
            connection.on_retry(error, _MODEL_SECONDS)
            connection.stopping.wait(_MODEL_SECONDS)
