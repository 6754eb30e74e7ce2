"""Celery as Flower sees it: `celery -A workers.flower flower`.

It watches and never delivers, so what it notes as unacknowledged is its own. With the workers' keys
it would put their messages back after a while of its own choosing.
"""

from __future__ import annotations

from shared.settings import Settings
from workers.celery_app import make_celery

app = make_celery(Settings())
app.conf.broker_transport_options |= {
    f"{name}_key": f"watcher:{name}" for name in ("unacked", "unacked_index", "unacked_mutex")
}
