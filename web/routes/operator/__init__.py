"""`/operator`: calls about the jobs of all clients, the lanes and the workers.

They need a key with the scope `operate`. Without API keys, only clients of this machine may call
them. Each call has a line in the log that says who made it.
"""

from web.routes.operator import dead_letters, jobs, lanes, workers  # noqa: F401  (they add calls)
from web.routes.operator.blueprint import blueprint

__all__ = ["blueprint"]
