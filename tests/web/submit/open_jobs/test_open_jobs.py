"""Jobs that are filled in parts, over HTTP and without a worker."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from pydantic import ValidationError
from redis import Redis

from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model
from tests.web.submit.open_jobs.new_jobs import code, digest, learn, open_id, open_job, picture, put
from web.routes import open_request
from web.schemas.job import PART_TYPES
from web.schemas.submission import OpenRequest


def test_a_job_is_opened_and_filled(client: FlaskClient) -> None:
    opened = open_job(client, total=33, top_k=3)
    assert opened["part_size"] == 32 and opened["known"] == []
    assert opened["part_types"] == PART_TYPES
    job = opened["job"]
    assert (job["state"], job["lane"], job["top_k"]) == ("receiving", "bulk", 3)
    assert job["counts"]["total"] == 33 and job["counts"]["received"] == 0
    parts = {"total": 2, "missing": [0, 1], "part_types": PART_TYPES}
    assert client.get(f"/jobs/{job['id']}/parts").json == parts

    first = put(client, job["id"], 1, [32])
    part = {"job_id": job["id"], "number": 1, "items": 1, "missing_parts": 1}
    assert (first.status_code, first.json) == (201, part)
    again = put(client, job["id"], 1, [32])
    assert (again.status_code, again.json) == (200, part)
    assert client.get(f"/jobs/{job['id']}/parts").json == parts | {"missing": [0]}

    assert put(client, job["id"], 0, range(32)).json["missing_parts"] == 0
    job = client.get(f"/jobs/{job['id']}").json
    assert (job["state"], job["counts"]["received"]) == ("queued", 33)
    page = client.get(f"/jobs/{job['id']}/results?offset=31").json
    assert [(item["index"], item["name"]) for item in page["items"]] == [
        (31, "31.jpg"),
        (32, "32.jpg"),
    ]


def test_entries_name_the_items(client: FlaskClient) -> None:
    job_id = open_id(client, 2)
    items = [{"name": "a/ä.jpg", "custom_id": "one"}, {"name": "b\n.jpg"}]
    assert put(client, job_id, 0, range(2), items).status_code == 201
    page = client.get(f"/jobs/{job_id}/results").json
    assert [(item["name"], item["custom_id"]) for item in page["items"]] == [
        ("a/ä.jpg", "one"),
        ("b\ufffd.jpg", None),
    ]


def test_lone_surrogates_in_the_names_of_entries_are_replaced(client: FlaskClient) -> None:
    """JavaScript and Python write names that are not UTF-8 in this way."""
    job_id = open_id(client, 3)
    names = ["m\udcfcll.jpg", "\ud83d\ude00.jpg", r"\ud83d.jpg" + "\ud83d\\"]
    assert put(client, job_id, 0, range(3), [{"name": name} for name in names]).status_code == 201
    items = client.get(f"/jobs/{job_id}/results").json["items"]
    assert [item["name"] for item in items] == [
        *("m\ufffdll.jpg", "😀.jpg", r"\ud83d.jpg" + "\ufffd\\")
    ]


def test_a_file_that_is_no_picture_is_an_item_and_the_part_is_stored(client: FlaskClient) -> None:
    job_id = open_id(client, 3)
    files = [(io.BytesIO(data), "x") for data in (b"text", b"", JPEG + bytes(300_001))]
    assert client.put(f"/jobs/{job_id}/parts/0", data={"files": files}).status_code == 201
    page = client.get(f"/jobs/{job_id}/results").json
    assert [item["error"]["code"] for item in page["items"]] == [
        "unsupported_format",
        "empty_file",
        "image_too_large",
    ]
    assert page["job"]["state"] == "completed"


def test_a_part_may_be_larger_than_other_requests(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_request_bytes=100_000, max_image_bytes=5_000).test_client()
    job_id = open_id(client, 64)
    files = [(io.BytesIO(picture(k) + bytes(4_000)), f"{k}.jpg") for k in range(32)]
    assert client.put(f"/jobs/{job_id}/parts/0", data={"files": files}).status_code == 201
    files = [(io.BytesIO(picture(k) + bytes(9_000)), f"{k}.jpg") for k in range(32)]
    refused = client.put(f"/jobs/{job_id}/parts/1", data={"files": files})
    assert code(refused) == (413, "request_too_large")


def test_a_manifest_says_which_pictures_need_no_upload(client: FlaskClient, redis: Redis) -> None:
    learn(redis, 0, 1, 33)
    opened = open_job(client, total=34, top_k=2, digests=[digest(k) for k in range(34)])
    assert opened["known"] == [0, 1, 33]
    job_id = opened["job"]["id"]

    known = [{"name": f"{k}.jpg", "digest": digest(k)} for k in (0, 1)]
    sent = [{"name": f"{k}.jpg"} for k in range(2, 32)]
    assert put(client, job_id, 0, range(2, 32), known + sent).status_code == 201
    last = [{"name": "32.jpg"}, {"name": "33.jpg", "digest": digest(33)}]
    assert put(client, job_id, 1, [32], last).status_code == 201

    page = client.get(f"/jobs/{job_id}/results").json
    assert page["job"]["counts"] | {"received": 0} == {
        "total": 34,
        "received": 0,
        "queued": 31,
        "succeeded": 3,
        "failed": 0,
        "cancelled": 0,
        "cached": 3,
    }
    first = page["items"][0]
    assert (first["state"], len(first["predictions"]), first["cache_hit"]) == ("succeeded", 2, True)
    assert first["model_version"] == "m-1"


def test_a_second_run_over_known_pictures_uploads_nothing(
    client: FlaskClient, redis: Redis
) -> None:
    learn(redis, *range(40))
    opened = open_job(client, total=40, digests=[digest(k) for k in range(40)])
    assert opened["known"] == list(range(40))
    for number, indexes in enumerate((range(32), range(32, 40))):
        items = [{"name": f"{k}.jpg", "digest": digest(k)} for k in indexes]
        assert put(client, opened["job"]["id"], number, [], items).status_code == 201
    job = client.get(f"/jobs/{opened['job']['id']}").json
    assert (job["state"], job["counts"]["cached"]) == ("completed", 40)


def test_pictures_that_the_cache_has_lost_are_asked_for(client: FlaskClient, redis: Redis) -> None:
    learn(redis, *range(34))
    job_id = open_id(client, 34, digests=[digest(k) for k in range(34)])
    items = [{"name": "", "digest": digest(k)} for k in (32, 33)]
    redis.delete(f"result:m-1:{digest(33)}")
    refused = put(client, job_id, 1, [], items)
    assert code(refused) == (409, "images_needed")
    assert refused.json["indexes"] == [33]
    assert client.get(f"/jobs/{job_id}/parts").json["missing"] == [0, 1]
    assert put(client, job_id, 1, [33], [items[0], {"name": ""}]).status_code == 201
    # A stored part is recognised by its digests, whatever the cache has.
    redis.delete(f"result:m-1:{digest(32)}")
    assert put(client, job_id, 1, [], items).status_code == 200


def test_the_cache_has_no_answers_of_another_model(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    learn(redis, 0)
    announce_model(redis, version="m-2")
    client = make_app().test_client()
    opened = open_job(client, total=1, digests=[digest(0)])
    assert opened["known"] == []
    refused = put(client, opened["job"]["id"], 0, [], [{"name": "", "digest": digest(0)}])
    assert refused.json["indexes"] == [0]


OPEN_REFUSALS: dict[str, Any] = {
    "no total": {},
    "total 0": {"total": 0},
    "more than the service accepts": {"total": 101},
    "more than any service accepts": {"total": 1_000_001},
    "total as text": {"total": "many"},
    "top_k 11": {"total": 1, "top_k": 11},
    "no such lane": {"total": 1, "lane": "fast"},
    "too few digests": {"total": 2, "digests": [digest(0)]},
    "a digest in capitals": {"total": 1, "digests": [digest(0).upper()]},
    "a digest with a newline": {"total": 1, "digests": [digest(0) + "\n"]},
    "a number as digest": {"total": 1, "digests": [1]},
}


@pytest.mark.parametrize("case", OPEN_REFUSALS)
def test_a_request_that_describes_no_job_opens_none(
    make_app: Callable[..., OpenAPI], redis: Redis, case: str
) -> None:
    client = make_app(max_job_images=100).test_client()
    assert code(client.post("/jobs", json=OPEN_REFUSALS[case])) == (422, "invalid_request")
    assert not redis.keys("job:*")


def test_a_body_that_is_no_json_or_has_unknown_fields_is_refused(client: FlaskClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert code(client.post("/jobs", data=b"{", headers=headers)) == (422, "invalid_request")
    assert code(client.post("/jobs", json=[1])) == (422, "invalid_request")
    assert code(client.post("/jobs", json={"total": 1, "color": 1})) == (422, "unknown_field")


def test_a_list_of_bad_digests_is_refused_at_the_first(client: FlaskClient) -> None:
    text = json.dumps({"total": 1000, "digests": ["x"] * 1000})
    with pytest.raises(ValidationError) as refused:
        OpenRequest.model_validate_json(text)
    assert refused.value.error_count() == 1  # each error takes a kilobyte, and a list a million
    response = client.post("/jobs", data=text, content_type="application/json")
    assert code(response) == (422, "invalid_request")
    assert response.json["detail"].startswith("digests.0:")


def test_a_refused_part_counts_in_plain_english(client: FlaskClient) -> None:
    job_id = open_id(client, 1)
    detail = put(client, job_id, 0, range(2)).json["detail"]
    assert detail.startswith("This part has 1 item, ")
    assert detail.endswith("The form had 2 items and 2 files.")
    assert "this job has 1 part, " in put(client, job_id, 1, range(1)).json["detail"]


def test_a_part_must_be_what_its_number_says(client: FlaskClient) -> None:
    job_id = open_id(client, 34)
    name = {"name": "a"}
    assert code(put(client, job_id, 1, range(3))) == (422, "wrong_part_size")
    assert code(put(client, job_id, 0, range(31))) == (422, "wrong_part_size")
    assert code(put(client, job_id, 1, range(2), [name])) == (422, "wrong_part_size")
    assert code(put(client, job_id, 1, range(1), [name, name])) == (422, "wrong_part_size")
    assert code(put(client, job_id, 1, [])) == (422, "no_files")
    assert code(put(client, job_id, 2, range(1))) == (422, "invalid_request")
    assert code(put(client, job_id, -1, range(1)))[0] in (404, 422)
    assert code(client.put(f"/jobs/{job_id}/parts/x")) == (422, "invalid_request")
    for items in ("{", "[1, 2]", '[{"custom_id": "a"}]', '[{"name": "a", "digest": "b"}]'):
        assert code(put(client, job_id, 1, range(2), items)) == (422, "invalid_request")
    assert code(put(client, job_id, 1, range(2), '[{"name": "", "x": 1}]')) == (
        422,
        "unknown_field",
    )
    response = client.put(f"/jobs/{job_id}/parts/1", data={"color": "red"})
    assert code(response) == (422, "unknown_field")
    assert client.get(f"/jobs/{job_id}/parts").json["missing"] == [0, 1]


def test_other_content_as_the_same_part_is_a_conflict(client: FlaskClient) -> None:
    job_id = open_id(client, 2)
    put(client, job_id, 0, range(2)).close()
    assert code(put(client, job_id, 0, range(1, 3))) == (409, "part_conflict")


def test_a_job_that_was_sent_in_one_request_accepts_no_parts(client: FlaskClient) -> None:
    made = client.post("/jobs", data={"files": (io.BytesIO(JPEG), "a.jpg")}).json
    assert code(put(client, made["id"], 0, range(1))) == (409, "job_closed")
    parts = client.get(f"/jobs/{made['id']}/parts").json
    assert (parts["total"], parts["missing"]) == (1, [])
    assert code(put(client, "nothing", 0, range(1))) == (404, "job_not_found")
    assert code(client.get("/jobs/nothing/parts")) == (404, "job_not_found")


def test_requests_with_many_digests_are_read_with_long_pauses(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of half a million digests holds up all other clients for a quarter of a second."""
    pauses, short = list[float](), list[float]()
    monkeypatch.setattr(open_request._many_digests, "wait", pauses.append)
    monkeypatch.setattr(open_request._some_digests, "wait", short.append)
    open_job(client, total=100, digests=[digest(k) for k in range(100)])
    assert pauses == short == []
    open_job(client, total=3000, digests=[digest(k) for k in range(3000)])
    assert pauses == [] and short[0] < 0.02, "it does not wait for larger ones"
    open_job(client, total=20_000, digests=[digest(k) for k in range(20_000)])
    [pause] = pauses
    assert len(short) == 1 and 0.08 < pause < 0.12  # reading them takes some 10 ms
