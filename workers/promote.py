"""`python -m workers.promote VERSION` lets new jobs be accepted for this model version.

Without an argument it lists the versions, how many workers have each, and how many messages and
parts wait for them. It takes a second, loads
no model and needs only REDIS_URL. It is one step in Redis: if it is killed, it has happened or not.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain

from redis.exceptions import RedisError

from shared.errors import ClassifierError
from shared.jobs import Lane
from shared.redis_client import connect
from shared.serving import model_versions
from shared.settings import Settings


def main(arguments: list[str]) -> str:
    """What the command prints. Raises ModelError if no worker has the version."""
    redis = connect(Settings().redis_url, max_connections=1)
    if not arguments:
        current = model_versions.read(redis, Lane.INTERACTIVE).current
        workers = {lane: model_versions.workers(redis, lane) for lane in Lane}
        waiting = sum((model_versions.waiting(redis, lane) for lane in Lane), Counter())
        return "\n".join(_lines(current, workers, waiting)) or "No worker has loaded a model yet."
    [version] = arguments
    before = model_versions.promote(redis, version)
    if before == version:
        return f"{version} is the current model already."
    return f"New jobs are accepted for {version}. To go back: python -m workers.promote {before}"


def _lines(
    current: str, workers: Mapping[Lane, Counter[str]], waiting: Counter[str]
) -> Iterator[str]:
    """A line for each version that is current, or has workers, or parts that wait for them."""
    for version in sorted({current, *chain(*workers.values()), *+waiting} - {""}):
        counts = ", ".join(f"{lane} {of_lane[version]}" for lane, of_lane in workers.items())
        yield (
            f"{'*' if version == current else ' '} {version}  workers: {counts}"
            f"  waiting: {waiting[version]}"
        )


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except (ClassifierError, RedisError) as error:
        sys.exit(f"python -m workers.promote: {error}")
    except ValueError:
        sys.exit("usage: python -m workers.promote [VERSION]")
