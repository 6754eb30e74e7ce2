"""The name of every Redis key and channel.

job:<id>                  hash: state, counts and options of a job
jobs:<owner>              sorted set: the newest jobs of an owner, by the time at which they were
                          made, without the single pictures of `/classify`
owners                    sorted set: owners of listed jobs, by the time of their newest one
part:<id>:<n>             hash: `spec`, `attempts`, `pending`, `r<k>` (the outcome of item k),
                          `e<k>` (its embedding, if the job asks), `slow:<k>` (item k was slow to
                          decode), `turn` (the part's round), and `message` while it waits for that
images:<id>:<n>           hash: k -> bytes of the k-th item; deleted when the part is committed
parts:<id>                bitmap: the parts that are here, of a job that was opened for parts
finished:<id>             list: indexes of items in the order in which they finished, once more for
                          an item that was retried. A job of one item has no list
open_jobs:<client>        hash: job -> its images, of the jobs that a client has opened lately
idempotency:<owner>:<key> "<job id> <fingerprint>": the job that a request with this key has made
staged:<token>            hash: a part during its upload; renamed to `part:` when all of it is here
staged_images:<token>     hash: the images of that part, likewise. If not renamed, both expire soon
<lane>@<version>          list: Celery's queue of the parts whose job was accepted for this model
                          version; messages that name parts
<lane>                    list: the same for all workers, whatever their model version: of jobs that
                          no version was chosen for, and of releases without versions
waiting:<lane>            sorted set: parts that are not in the queue yet. The value is 0, or the
                          round if the part's job names no client
waiting:<lane>:<client>   sorted set: those of one client, by the round of their job
clients:<lane>            sorted set: clients with such parts, by their next round. `slow:<client>`
                          stands for those parts of a client that are slow to decode
ready:<lane>              sorted set: parts that have waited and are now in the queue or
                          prefetched, by deadline; only of the lane `interactive`
ready:<lane>:slow:<client>
                          sorted set: the slow parts of one client, likewise, of each lane
turn:<lane>               integer: the latest round of a job's part that was queued
                          The last six have a twin for each model version: waiting:<lane>@<version>
outstanding:<lane>        sorted set: parts that are accepted and not yet committed, by deadline.
                          WAITING_SECONDS are added for a part that waits for its round
outstanding_images:<lane> integer: images in those parts
held                      hash: part -> bytes of its images; `total` is their sum. `<part>:left`:
                          images of the part without an outcome, if its message says otherwise
reserved                  sorted set: "<process> <request> <bytes> <rest> <client>": bytes that a
                          web process is storing for a request, and those that are not stored yet,
                          by the time at which this ends at the latest; expires with the last one
charges                   hash: part -> "<images> <bytes> <lane> <client>": what a client has
                          outstanding and held, and is charged for this part
account:<client>          hash: the sums of these charges (`interactive` and `bulk` images, and
                          `bytes`); `kept:<hour>`, bytes of the client's records that expire in
                          this hour; `today`, images that it sent on the `day`; `life`, seconds that
                          the account lives once nothing is outstanding. Days and hours count since
                          1970
drained:<lane>:<second>   integer: images committed in that second; expires soon
result:<version>:<digest> outcome: the cached result for this model version and these bytes
embedding:<version>:<digest>
                          float16 numbers, little-endian: the cached embedding, if one was asked for
thumbnail:<digest>        JPEG: a small version of the picture with this digest
dead_letters              hash: member -> JSON about an image on which workers died
dead_image:<member>       the bytes of that image, for a retry
webhooks_due              sorted set: ended jobs whose webhook is due, by time
webhooks_under_way        sorted set: jobs whose webhook is being delivered, by the end of the
                          lease; expires with the last lease
webhook_host:<host>       sorted set: the same for the webhooks to this host
webhook_client:<client>   sorted set: the same for the webhooks of this client
webhook_later:<client>    the latest time until which a webhook of this client was postponed,
                          because too many were due
webhooks                  list: Celery's queue of the worker that delivers webhooks
reconciling:<lane>        lock: one worker reconciles a lane at a time
lane_states               hash: lane -> JSON: what the operator wants of the lane. A lane without it
                          is open
workers:<lane>            sorted set: workers that accept parts, by their last sign of life
worker:<lane>:<name>      JSON: what a worker runs; expires soon after its last sign of life
serving:<lane>            sorted set: "<version> <worker>": workers and the model version that they
                          have loaded, by their last sign of life
versions:<lane>           sorted set: model versions, by the last sign of life of a worker of this
                          lane that has it. A version stays here until no part of it waits
model                     JSON: the current model. New jobs are accepted for it
model:<version>           JSON: a model that a worker has loaded; expires when none has had it for a
                          day
labels:<version>          JSON: the labels of a model by class id; expires when no worker has had
                          this model for a day
committed                 channel: "<job id> <job state>" for each commit, part and cancellation.
                          The state is `running` until the job ends. At the end of a job of one
                          item: "<job id> <job state> <outcome>"

The stored names call a round of fair scheduling a turn: `turn:<lane>`, and in a job's hash
`first_turn` and `next_turn`. Running deployments have records with these names.
"""

from __future__ import annotations

from shared.jobs import Lane

MODEL = "model"
HELD = "held"
RESERVED = "reserved"
CHARGES = "charges"
DEAD_LETTERS = "dead_letters"
COMMITTED = "committed"
OWNERS = "owners"
LANE_STATES = "lane_states"
WEBHOOKS_DUE = "webhooks_due"
WEBHOOKS_UNDER_WAY = "webhooks_under_way"

#: Added to the deadline of a part that waits for its round. No worker is expected to start on it.
WAITING_SECONDS = 1_000_000_000

#: A part that was queued so many seconds ago no longer counts as `ready`: its message may be lost.
READY_SECONDS = 10


def job(job_id: str) -> str:
    return f"job:{job_id}"


def jobs_of(owner: str) -> str:
    return f"jobs:{owner}"


def part(job_id: str, number: int) -> str:
    return f"part:{job_id}:{number}"


def images(job_id: str, number: int) -> str:
    return f"images:{job_id}:{number}"


def parts(job_id: str) -> str:
    return f"parts:{job_id}"


def webhook_host(host: str) -> str:
    return f"webhook_host:{host}"


def webhook_client(client: str) -> str:
    return f"webhook_client:{client}"


def webhook_later(client: str) -> str:
    return f"webhook_later:{client}"


def open_jobs(client: str) -> str:
    return f"open_jobs:{client}"


def account(client: str) -> str:
    return f"account:{client}"


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


def queue(lane: Lane, version: str = "") -> str:
    """The queue of a model version. Without a version: that of all workers."""
    return f"{lane}@{version}" if version else f"{lane}"


def waiting(lane: Lane, version: str = "") -> str:
    return f"waiting:{queue(lane, version)}"


def waiting_of(lane: Lane, client: str, version: str = "") -> str:
    return f"{waiting(lane, version)}:{client}" if client else waiting(lane, version)


def slow(client: str) -> str:
    """The name under which the slow parts of a client share a lane."""
    return f"slow:{client}"


def clients(lane: Lane, version: str = "") -> str:
    return f"clients:{queue(lane, version)}"


def ready(lane: Lane, version: str = "") -> str:
    return f"ready:{queue(lane, version)}"


def current_round(lane: Lane, version: str = "") -> str:
    return f"turn:{queue(lane, version)}"


def outstanding(lane: Lane) -> str:
    return f"outstanding:{lane}"


def outstanding_images(lane: Lane) -> str:
    return f"outstanding_images:{lane}"


def drained(lane: Lane, second: int) -> str:
    return f"drained:{lane}:{second}"


def workers(lane: Lane) -> str:
    return f"workers:{lane}"


def worker(lane: Lane, name: str) -> str:
    return f"worker:{lane}:{name}"


def serving(lane: Lane) -> str:
    return f"serving:{lane}"


def versions(lane: Lane) -> str:
    return f"versions:{lane}"


def model(version: str) -> str:
    return f"model:{version}"


def labels(model_version: str) -> str:
    return f"labels:{model_version}"


def thumbnail(digest: str) -> str:
    return f"thumbnail:{digest}"


def result(model_version: str, digest: str) -> str:
    return f"result:{model_version}:{digest}"


def embedding(model_version: str, digest: str) -> str:
    return f"embedding:{model_version}:{digest}"
