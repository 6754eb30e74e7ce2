"""Pages, JSON Lines and CSV have the same items, in input order, also while a job runs."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from email.utils import parsedate_to_datetime

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from shared.errors import DecodeFailed
from shared.jobs import ItemError, ItemState, Outcome, Prediction
from shared.records.job_records import JobRecords
from web.schemas.results import ItemSchema, Page
from tests.web.follow.stored_jobs import FAILURE, SUCCESS, accept, commit, finished

CSV_HEAD = (
    "index,name,custom_id,state,label,probability,class_id,error_code,error_message,"
    "model_version,cache_hit,queue_ms,preprocess_ms,inference_ms"
)


def get(client: FlaskClient, job_id: str, query: str = "", accept: str = "") -> TestResponse:
    headers = {"Accept": accept} if accept else {}
    return client.get(f"/jobs/{job_id}/results?{query}", headers=headers)


def rows(response: TestResponse) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


@pytest.fixture
def mixed(jobs: JobRecords, redis: Redis) -> str:
    """A running job of 70 items. 32 of its first part and 2 of its second part have finished."""
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


def test_a_page_is_what_its_schema_says(client: FlaskClient, mixed: str, jobs: JobRecords) -> None:
    """It is made without the schema, because that takes four times as long."""
    response = get(client, mixed, "offset=30&limit=20")
    assert response.content_type == "application/json"
    page = Page.model_validate(response.json)
    assert page.model_dump_json() == response.text and page.next_offset == 50
    items = [ItemSchema.of(item) for item in jobs.reader.items(mixed, 30, 50)]
    assert page.items == items
    assert get(client, mixed, "offset=50").json["next_offset"] is None
    assert not get(client, mixed, "offset=70").json["items"]


def test_a_table_has_the_items_of_the_pages(client: FlaskClient, mixed: str) -> None:
    response = get(client, mixed, "format=csv")
    assert response.content_type == "text/csv; charset=utf-8"
    assert response.text.startswith(
        f"{CSV_HEAD},label_2,probability_2,below_threshold,label_count\r\n"
    )
    assert response.text.count("\r\n") == 71

    table = rows(response)
    assert table[41] == {
        **{"index": "41", "name": "41.jpg", "custom_id": "mine", "state": "succeeded"},
        **{"label": "peacock", "probability": "0.875", "class_id": "84"},
        **{"error_code": "", "error_message": "", "model_version": "m-1", "cache_hit": "false"},
        **{"queue_ms": "12.5", "preprocess_ms": "2.25", "inference_ms": "7.125"},
        **{"label_2": 'cock, "rooster"', "probability_2": "0.0625"},
        **{"below_threshold": "false", "label_count": "1"},
    }
    failed = {"error_code": "decode_failed", "error_message": str(DecodeFailed())}
    empty = {"label": "", "probability": "", "queue_ms": "", "label_2": "", "probability_2": ""}
    assert table[40].items() >= (failed | empty | {"state": "failed"}).items()
    assert table[69].items() >= (empty | {"state": "queued", "error_code": ""}).items()


def test_one_prediction_each_makes_no_further_columns(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    response = get(client, finished(jobs, redis, 1, top_k=1), "format=csv")
    assert response.text.splitlines()[0] == f"{CSV_HEAD},below_threshold,label_count"


#: Names, and how they are written. An apostrophe makes a spreadsheet take a cell for text.
FORMULAS = {
    '=HYPERLINK("http://x","y")': '\'=HYPERLINK("http://x","y")',
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "\uff1d1+1": "'\uff1d1+1",
    " =1+1": "' =1+1",
    "\ufeff\u200b=1": "'\ufeff\u200b=1",
    "\t=1": "'\t'=1",
    "\r=1": "'\r'=1",
    "x;=1|+2": "x;'=1|'+2",
    'x; "=1': "x; \"'=1",
    "IMG - 1 (a+b)=c;x.jpg": "IMG - 1 (a+b)=c;x.jpg",
}


def test_a_spreadsheet_takes_no_cell_for_a_formula(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    for name, written in FORMULAS.items():
        named = Prediction(1, name, 0.5)
        job_id = accept(jobs, 1, name=name, custom_id=name)
        commit(jobs, redis, job_id, {0: Outcome(state=ItemState.SUCCEEDED, predictions=(named,))})
        [row] = rows(get(client, job_id, "format=csv"))
        assert {row[each] for each in ("name", "custom_id", "label")} == {written}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_separator_makes_a_formula_of_a_text(
    client: FlaskClient, jobs: JobRecords, redis: Redis, separator: str
) -> None:
    """In many countries a spreadsheet splits cells at the semicolon."""
    names = ["x;=cmd|' /C calc'!A0", "x\t=1+1", "|=2", "x,=1", 'x";=1', 'x;"=1', "x\n=1;", "x; =1"]
    names += FORMULAS
    cells: list[str] = []
    for name in names:
        named = Prediction(1, name, 0.5)
        error = Outcome(state=ItemState.FAILED, error=ItemError(code="code", message=name))
        labelled = Outcome(state=ItemState.SUCCEEDED, predictions=(named, named))
        job_id = accept(jobs, 2, name=name, custom_id=name)
        commit(jobs, redis, job_id, {0: labelled, 1: error})
        text = get(client, job_id, "format=csv").text
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        cells += [cell.strip("\ufeff\u200b\t\r\n ") for line in lines for cell in line]
    assert len(cells) > 3 * len(names)
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))]


def test_names_are_the_same_in_both_streams_as_when_they_were_sent(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    for name in ('a "b", c.jpg', "two\nlines", "Äpfel 🍎.jpg", "a'b", " a = "):
        job_id = finished(jobs, redis, 1, name=name)
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
    answers = {header: get(client, mixed, accept=header) for header in CHOICES}
    assert {header: answer.mimetype for header, answer in answers.items()} == CHOICES
    assert all("Accept" in answer.headers["Vary"] for answer in answers.values())


def test_the_address_wins_over_accept(client: FlaskClient, mixed: str) -> None:
    assert get(client, mixed, "format=csv", "application/json").mimetype == "text/csv"
    assert get(client, mixed, "format=json", "text/csv").mimetype == "application/json"
    assert get(client, mixed, "format=jsonl", "image/png").mimetype == "application/jsonl"


def test_a_client_that_accepts_no_known_type_gets_406(client: FlaskClient, mixed: str) -> None:
    for header in ("image/png", "text/html", "text/csv;q=0"):
        response = get(client, mixed, accept=header)
        assert (response.status_code, response.json["code"]) == (406, "not_acceptable")


def test_a_stream_is_a_download_that_is_not_cached_and_says_when_it_expires(
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


def test_a_request_that_makes_no_sense_is_refused(client: FlaskClient, mixed: str) -> None:
    for query in ("state=failed", "limit=1001", "format=xml", "format=csv&limit=0", "offset=-1"):
        assert get(client, mixed, query).status_code == 422, query


def test_a_head_request_reads_no_items(client: FlaskClient, mixed: str) -> None:
    response = client.head(f"/jobs/{mixed}/results?format=csv")
    assert (response.status_code, response.data, response.mimetype) == (200, b"", "text/csv")


def parts_read(redis: Redis) -> int:
    """How often the items of a part were read."""
    calls = redis.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0)
    return int(calls)


def test_a_stream_reads_items_when_the_client_takes_them(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = finished(jobs, redis, 1000)
    response = client.get(f"/jobs/{job_id}/results?format=jsonl", buffered=False)
    before = parts_read(redis)
    indexes: list[int] = []
    for number, piece in enumerate(response.response):
        indexes += [json.loads(line)["index"] for line in piece.splitlines()]
        assert parts_read(redis) - before <= 8 * number
    assert indexes == list(range(1000))


def test_a_job_of_ten_thousand_streams_in_flat_memory(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = finished(jobs, redis, 10_000)
    tracemalloc.start()
    response = client.get(f"/jobs/{job_id}/results?format=jsonl", buffered=False)
    size = lines = 0
    for piece in response.response:
        size += len(piece)
        lines += piece.count(b"\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (lines, size > 3_000_000) == (10_000, True)
    assert peak < 2_000_000


def test_a_part_that_expires_during_the_stream_cuts_it_off(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    """Otherwise a table without these lines would look complete."""
    job_id = finished(jobs, redis, 1000)
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
