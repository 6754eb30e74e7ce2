"""The peers: servers with their commands and addresses, and programs that classify a folder."""

from __future__ import annotations

from dataclasses import dataclass

_UVICORN = ("-m", "uvicorn", "--workers", "2", "--port", "{port}", "--log-level", "warning")


@dataclass(frozen=True, kw_only=True)
class Peer:
    title: str
    commands: tuple[tuple[str, ...], ...]  #: For the Python of its environment. {port} is its port.
    path: str = "/classify"
    form: str = ""  #: Field of a multipart form. Without it the picture is the body.
    needs_redis: bool = False


PEERS = {
    "fastapi_torch": Peer(
        title="FastAPI, torch in the process",
        commands=((*_UVICORN, "loadtest.peers.fastapi_torch:app"),),
        form="file",
    ),
    "fastapi_onnxruntime": Peer(
        title="FastAPI, the model in the process",
        commands=((*_UVICORN, "loadtest.peers.fastapi_onnxruntime:app"),),
        form="file",
    ),
    "litserve_server": Peer(
        title="LitServe",
        commands=(("-m", "loadtest.peers.litserve_server", "{port}"),),
        path="/predict",
    ),
    "mosec_server": Peer(
        title="mosec",
        commands=(("-m", "loadtest.peers.mosec_server", "--port", "{port}", "--timeout", "60000"),),
        path="/inference",
    ),
    "bentoml_service": Peer(
        title="BentoML",
        commands=(
            ("-m", "bentoml", "serve", "loadtest.peers.bentoml_service:Peer", "--port", "{port}"),
        ),
        form="files",
    ),
    "ray_serve": Peer(
        title="Ray Serve", commands=(("-m", "loadtest.peers.ray_serve", "{port}"),), path="/"
    ),
    "flask_redis": Peer(
        title="Flask + Redis and nothing else",
        commands=(
            *2 * (("-m", "loadtest.peers.flask_redis"),),
            (
                *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "gevent"),
                *("--keep-alive", "75", "loadtest.peers.flask_redis:create_app()"),
            ),
        ),
        needs_redis=True,
    ),
    "flask_celery": Peer(
        title="Flask + Celery, a task for each picture, torch",
        commands=(
            (
                *("-m", "celery", "-A", "loadtest.peers.flask_celery:tasks"),
                *("worker", "--concurrency", "2"),
            ),
            (
                *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--threads", "128"),
                "loadtest.peers.flask_celery:app",
            ),
        ),
        needs_redis=True,
        form="file",
    ),
}

#: The programs of `loadtest.peers.folder` and their titles.
FOLDER_PEERS = {"ray_data": "Ray Data", "daft_table": "Daft"}
