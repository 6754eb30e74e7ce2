"""Results as pages, JSON Lines and CSV: the same items, in input order, also while a job runs."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from shared.errors import DecodeFailed
from shared.records.job_records import JobRecords
from shared.jobs import (
    Durations,
    ItemState,
    Lane,
    NewItem,
    NewJob,
    Outcome,
    PartRef,
    Prediction,
    new_job_id,
)

CSV_HEAD = (
    "index,name,custom_id,state,label,probability,class_id,error_code,error_message,"
    "model_version,cache_hit,queue_ms,preprocess_ms,inference_ms"
)
SUCCESS = Outcome(
    state=ItemState.SUCCEEDED,
    predictions=(Prediction(84, "peacock", 0.875), Prediction(7, 'cock, "rooster"', 0.0625)),
    model_version="m-1",
    durations=Durations(queue_ms=12.5, preprocess_ms=2.25, inference_ms=7.125),
)
FAILURE = Outcome.failure(DecodeFailed())


def accept(jobs: JobRecords, items: int, *, top_k: int = 2, **of_item: Any) -> str:
    """A job whose items wait for a worker."""
    job_id = new_job_id()
    new = [
        NewItem(**{"name": f"{k}.jpg", "digest": f"{k:064x}", "data": b"x"} | of_item)
        for k in range(items)
    ]
    jobs.submitter.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=top_k, items=new)])
    return job_id


def commit(jobs: JobRecords, redis: Redis, job_id: str, outcomes: dict[int, Outcome]) -> None:
    """As a worker does, part by part; `outcomes` by index in the job."""
    total = jobs.reader.get(job_id).total
    pipe = redis.pipeline(transaction=False)
    for number in range(-(-total // 32)):
        of_part = {k - 32 * number: each for k, each in outcomes.items() if k // 32 == number}
        if of_part:
            ref = PartRef(job_id, number, min(32, total - 32 * number))
            jobs.parts.commit(pipe, ref, Lane.BULK, of_part)
    pipe.execute()


def done(jobs: JobRecords, redis: Redis, items: int, **options: Any) -> str:
    job_id = accept(jobs, items, **options)
    commit(jobs, redis, job_id, {k: SUCCESS for k in range(items)})
    return job_id


def get(client: FlaskClient, job_id: str, query: str = "", accept: str = "") -> TestResponse:
    headers = {"Accept": accept} if accept else {}
    return client.get(f"/jobs/{job_id}/results?{query}", headers=headers)


def rows(response: TestResponse) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


@pytest.fixture
def mixed(jobs: JobRecords, redis: Redis) -> str:
    """A running job of 70: the first part is done, of the second two items, one of them failed."""
    job_id = accept(jobs, 70, custom_id="mine")
    outcomes = {k: SUCCESS for k in range(32)} | {40: FAILURE, 41: SUCCESS}
    commit(jobs, redis, job_id, outcomes)
    return job_id


def test_json_lines_are_the_items_of_the_pages(client: FlaskClient, mixed: str) -> None:
    page = get(client, mixed).json
    response = get(client, mixed, "format=jsonl")

    assert response.content_type == "application/jsonl"
    lines = response.text.splitlines()
    assert [json.loads(line) for line in lines] == page["items"]
    assert list(json.loads(lines[0])) == list(page["items"][0])
    states = [item["state"] for item in page["items"]]
    assert states == ["succeeded"] * 32 + ["queued"] * 8 + ["failed", "succeeded"] + ["queued"] * 28


def test_a_table_tells_what_the_pages_tell(client: FlaskClient, mixed: str) -> None:
    response = get(client, mixed, "format=csv")
    assert response.content_type == "text/csv; charset=utf-8"
    assert response.text.startswith(f"{CSV_HEAD},label_2,probability_2\r\n")
    assert response.text.count("\r\n") == 71

    table = rows(response)
    assert table[41] == {
        **{"index": "41", "name": "41.jpg", "custom_id": "mine", "state": "succeeded"},
        **{"label": "peacock", "probability": "0.875", "class_id": "84"},
        **{"error_code": "", "error_message": "", "model_version": "m-1", "cache_hit": "false"},
        **{"queue_ms": "12.5", "preprocess_ms": "2.25", "inference_ms": "7.125"},
        **{"label_2": 'cock, "rooster"', "probability_2": "0.0625"},
    }
    failed = {"error_code": "decode_failed", "error_message": str(DecodeFailed())}
    empty = {"label": "", "probability": "", "queue_ms": "", "label_2": "", "probability_2": ""}
    assert table[40].items() >= (failed | empty | {"state": "failed"}).items()
    assert table[69].items() >= (empty | {"state": "queued", "error_code": ""}).items()


def test_one_prediction_each_makes_no_further_columns(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    response = get(client, done(jobs, redis, 1, top_k=1), "format=csv")
    assert response.text.splitlines()[0] == CSV_HEAD


FORMULAS = ('=HYPERLINK("http://x","y")', "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


def test_no_cell_is_a_formula_to_a_spreadsheet(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    for name in FORMULAS:
        named = Prediction(1, name, 0.5)
        job_id = accept(jobs, 1, name=name, custom_id=name)
        commit(jobs, redis, job_id, {0: Outcome(state=ItemState.SUCCEEDED, predictions=(named,))})
        [row] = rows(get(client, job_id, "format=csv"))
        assert {row[each] for each in ("name", "custom_id", "label")} == {f"'{name}"}


def test_a_name_comes_out_of_both_streams_as_it_went_in(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    for name in ('a "b", c.jpg', "two\nlines", "Äpfel 🍎.jpg", "a'b", " = "):
        job_id = done(jobs, redis, 1, name=name)
        assert rows(get(client, job_id, "format=csv"))[0]["name"] == name
        assert json.loads(get(client, job_id, "format=jsonl").text)["name"] == name


CHOICES = {
    "": "application/json",
    "*/*": "application/json",
    "application/*": "application/json",
    "text/html,application/xhtml+xml,*/*;q=0.8": "application/json",
    "application/jsonl": "application/jsonl",
    "application/x-ndjson": "application/x-ndjson",
    "text/csv": "text/csv",
    "text/*": "text/csv",
    "application/json;q=0.5, text/csv": "text/csv",
    "text/csv;q=0.5, application/json": "application/json",
}


def test_the_client_chooses_by_accept(client: FlaskClient, mixed: str) -> None:
    answers = {accept: get(client, mixed, accept=accept) for accept in CHOICES}
    assert {accept: answer.mimetype for accept, answer in answers.items()} == CHOICES
    assert all("Accept" in answer.headers["Vary"] for answer in answers.values())


def test_the_address_wins_over_accept(client: FlaskClient, mixed: str) -> None:
    assert get(client, mixed, "format=csv", "application/json").mimetype == "text/csv"
    assert get(client, mixed, "format=json", "text/csv").mimetype == "application/json"
    assert get(client, mixed, "format=jsonl", "image/png").mimetype == "application/jsonl"


def test_what_is_not_told_in_any_accepted_way_is_406(client: FlaskClient, mixed: str) -> None:
    for accept in ("image/png", "text/html", "text/csv;q=0"):
        response = get(client, mixed, accept=accept)
        assert (response.status_code, response.json["code"]) == (406, "not_acceptable")


def test_a_stream_is_a_download_that_nobody_caches_and_tells_when_it_expires(
    client: FlaskClient, mixed: str
) -> None:
    expires_at = client.get(f"/jobs/{mixed}").json["expires_at"]
    for kind in ("csv", "jsonl"):
        headers = get(client, mixed, f"format={kind}").headers
        assert headers["Content-Disposition"] == f'attachment; filename="{mixed}.{kind}"'
        assert headers["Cache-Control"] == "no-store"
        assert parsedate_to_datetime(headers["Sunset"]).timestamp() == int(expires_at)


def test_streams_are_filtered_by_state(client: FlaskClient, mixed: str) -> None:
    def indexes(state: str) -> list[str]:
        return [row["index"] for row in rows(get(client, mixed, f"format=csv&state={state}"))]

    assert indexes("failed") == ["40"]
    assert indexes("succeeded") == [*map(str, range(32)), "41"]
    assert len(indexes("queued")) == 36
    assert json.loads(get(client, mixed, "format=jsonl&state=failed").text)["index"] == 40


def test_offset_and_limit_choose_items_before_the_filter(client: FlaskClient, mixed: str) -> None:
    def indexes(query: str) -> list[str]:
        return [row["index"] for row in rows(get(client, mixed, f"format=csv&{query}"))]

    assert indexes("offset=30&limit=4") == ["30", "31", "32", "33"]
    assert indexes("offset=30&limit=4&state=succeeded") == ["30", "31"]
    assert indexes("offset=69&limit=1000000") == ["69"]
    assert indexes("offset=70") == indexes("offset=1000000") == []


def test_what_makes_no_sense_is_refused(client: FlaskClient, mixed: str) -> None:
    for query in ("state=failed", "limit=1001", "format=xml", "format=csv&limit=0", "offset=-1"):
        assert get(client, mixed, query).status_code == 422, query


def test_a_head_request_reads_no_items(client: FlaskClient, mixed: str) -> None:
    response = client.head(f"/jobs/{mixed}/results?format=csv")
    assert (response.status_code, response.data, response.mimetype) == (200, b"", "text/csv")


def test_a_job_of_ten_thousand_streams_whole_and_in_flat_memory(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    total = 10_000
    job_id = done(jobs, redis, total)
    tracemalloc.start()
    response = client.get(f"/jobs/{job_id}/results?format=jsonl", buffered=False)
    read = size = 0
    for piece in response.response:
        assert json.loads(piece.splitlines()[0])["index"] == read
        read += piece.count(b"\n")
        size += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == total and size > 3_000_000
    assert peak < 2_000_000


def test_a_part_that_expires_meanwhile_cuts_the_stream_off(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    """A table that lacks lines would look like a whole one."""
    job_id = done(jobs, redis, 1000)
    redis.delete(keys.part(job_id, 20))
    response = client.get(f"/jobs/{job_id}/results?format=csv", buffered=False)
    with pytest.raises(Exception, match="No job has this id"):
        list(response.response)


def test_an_unknown_job_is_404_in_every_format(client: FlaskClient) -> None:
    for kind in ("json", "jsonl", "csv"):
        response = get(client, "nothing", f"format={kind}")
        assert (response.status_code, response.json["code"]) == (404, "job_not_found")


def test_every_kind_of_answer_is_documented(client: FlaskClient) -> None:
    document = client.get("/openapi/openapi.json").json
    answers = document["paths"]["/api/v1/jobs/{job_id}/results"]["get"]["responses"]
    assert set(answers["200"]["content"]) == {
        *("application/json", "application/jsonl", "application/x-ndjson", "text/csv")
    }
    assert "406" in answers
