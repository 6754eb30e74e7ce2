"""Entry of Flower: `celery -A workers.flower flower`.

Flower only watches, so it keeps unacknowledged messages under keys of its own. With the workers'
keys it would return their messages to the queue after its own timeout.
"""

from __future__ import annotations

from shared.settings import Settings
from workers.celery_app import make_celery

app = make_celery(Settings())
app.conf.broker_transport_options |= {
    f"{name}_key": f"watcher:{name}" for name in ("unacked", "unacked_index", "unacked_mutex")
}
