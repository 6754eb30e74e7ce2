"""All pool processes of a worker serve the same model version.

A pool process that replaces another loads the model anew. Meanwhile an operator may have installed
another engine, or replaced the weights. The worker consumes the queue of the version that it has
announced, so pictures of another version would go round for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import ModelError
from shared.serving.model_info import from_json, version_of
from shared.settings import Settings
from workers.engine import Engine, load_engine

#: The settings have two names for this engine: with a card, and without.
_TORCH = "torch"


class AnotherModel(ModelError):
    """The model or its engine has changed. Start the worker again."""


def load(
    settings: Settings,
    announced: Callable[[], str],
    load_engine: Callable[[Settings], Engine] = load_engine,
) -> Engine:
    """The engine for one more pool process.

    `announced` gives what another process of this worker has announced; empty if none has. Raises
    AnotherModel if this process can only serve another version, and ModelError.
    """
    for _ in range(2):  # another process may announce its engine while this one loads
        engine = load_engine(_chosen(settings, announced()))
        version = version_of(announced())
        if version in ("", engine.model.version):
            return engine
    raise AnotherModel(
        f"this worker serves {version}, but a new process finds {engine.model.version}. The model "
        "or its engine has changed. Start the worker again to serve the new one."
    )


def _chosen(settings: Settings, announcement: str) -> Settings:
    """The settings, with the engine and the precision that another process has chosen."""
    if not announcement:
        return settings
    info = from_json(announcement)
    if info.engine == _TORCH:
        return settings
    return settings.model_copy(update={"engine": info.engine, "precision": info.precision})
