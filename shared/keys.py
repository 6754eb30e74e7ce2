"""Every Redis key and channel, spelt once.

job:<id>                  hash: state, counts and options of a job
part:<id>:<n>             hash: `spec`, `attempts`, `pending`, `r<k>`: outcome of item k, and
                          while it waits its turn `message`
images:<id>:<n>           hash: k -> bytes of the k-th item; gone once the part is committed
parts:<id>                bitmap: parts that are here, of a job that was opened for parts
finished:<id>             list: indexes of items in the order in which they finished; none for a
                          job of one item. An item that is tried again is told again
idempotency:<owner>:<key> "<job id> <fingerprint>": what a client's key for a request has made
staged:<token>            hash: a part on its way in; renamed to `part:` once all of it is here
staged_images:<token>     hash: its images, likewise; both are soon gone where it never is
<lane>                    list: Celery's queue, messages that name parts
waiting:<lane>            sorted set: parts that are not in the queue yet, by turn
turn:<lane>               integer: turn of the part that was queued last
outstanding:<lane>        sorted set: parts accepted and not yet committed, by deadline; of a part
                          that waits its turn, a thousand million seconds later
outstanding_images:<lane> integer: images in those parts
held                      hash: part -> bytes of its images, and their sum as `total`
drained:<lane>:<second>   integer: images committed in that second; gone soon after
result:<version>:<digest> outcome that answers for the same bytes and model
dead_letters              hash: member -> what is known of an image that no worker survived
dead_image:<member>       its bytes, for a retry
webhooks_due              sorted set: ended jobs whose webhook is to be delivered, by when
webhooks                  list: Celery's queue of the worker that delivers them
reconciling:<lane>        lock: one worker reconciles a lane at a time
workers:<lane>            sorted set: workers that take parts, by their last sign of life
model                     what the workers have loaded
committed                 channel: "<job id> <job state>" for each commit, part and cancellation
                          (`running` of any job that goes on); for the end of a job of one item
                          "<job id> <job state> <outcome>"
"""

from __future__ import annotations

from shared.jobs import Lane

MODEL = "model"
HELD = "held"
DEAD_LETTERS = "dead_letters"
COMMITTED = "committed"
WEBHOOKS_DUE = "webhooks_due"

#: Added to the deadline of a part that waits for its round: no worker is expected to start on it.
WAITING_SECONDS = 1_000_000_000


def job(job_id: str) -> str:
    return f"job:{job_id}"


def part(job_id: str, number: int) -> str:
    return f"part:{job_id}:{number}"


def images(job_id: str, number: int) -> str:
    return f"images:{job_id}:{number}"


def parts(job_id: str) -> str:
    return f"parts:{job_id}"


def finished(job_id: str) -> str:
    return f"finished:{job_id}"


def idempotency(owner: str, key: str) -> str:
    return f"idempotency:{owner}:{key}"


def staged(token: str) -> str:
    return f"staged:{token}"


def staged_images(token: str) -> str:
    return f"staged_images:{token}"


def dead_image(member: str) -> str:
    return f"dead_image:{member}"


def reconciling(lane: Lane) -> str:
    return f"reconciling:{lane}"


def queue(lane: Lane) -> str:
    return f"{lane}"


def waiting(lane: Lane) -> str:
    return f"waiting:{lane}"


def current_round(lane: Lane) -> str:
    return f"turn:{lane}"


def outstanding(lane: Lane) -> str:
    return f"outstanding:{lane}"


def outstanding_images(lane: Lane) -> str:
    return f"outstanding_images:{lane}"


def drained(lane: Lane, second: int) -> str:
    return f"drained:{lane}:{second}"


def workers(lane: Lane) -> str:
    return f"workers:{lane}"


def result(model_version: str, digest: str) -> str:
    return f"result:{model_version}:{digest}"
