"""REDIS_URL in each of its forms, for the job records and for Celery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.addresses.redis_address import parse
from shared.settings import Settings
from workers.broker.address import broker

REQUIRED = {"ssl_cert_reqs": "required"}


@pytest.mark.parametrize(
    ("url", "options", "of_celery"),
    [
        ("redis://h", {"host": "h"}, "redis://h:6379/0"),
        (
            "redis://me:p%40ss@h:1/3",
            {"host": "h", "port": 1, "db": 3, "username": "me", "password": "p@ss"},
            "redis://me:p%40ss@h:1/3",
        ),
        ("redis://[::1]:1/0", {"host": "::1", "port": 1, "db": 0}, "redis://%3A%3A1:1/0"),
        ("redis://h:1?db=3", {"host": "h", "port": 1, "db": 3}, "redis://h:1/3"),
        ("unix:///a%20b/c", {"path": "/a b/c"}, "redis+socket:///a%20b/c"),
    ],
)
def test_an_address_without_tls(url: str, options: dict[str, Any], of_celery: str) -> None:
    address = parse(url)
    assert (address.options, address.tls, address.sentinels) == (options, None, None)
    assert broker(url) == (of_celery, None, {})


def test_tls_checks_certificates_unless_the_address_says_otherwise(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.touch()
    assert parse("rediss://h").tls == REQUIRED
    assert broker("rediss://:p@h:1").tls == REQUIRED
    assert parse("sentinels://h/group").tls == broker("sentinels://h/group").tls == REQUIRED
    url = f"rediss://h/2?ssl_ca_certs={authorities}"
    assert broker(url)[:2] == ("rediss://h:6379/2", REQUIRED | {"ssl_ca_certs": str(authorities)})
    assert parse("rediss://h?ssl_cert_reqs=none").tls == {"ssl_cert_reqs": "none"}


def test_an_address_of_several_sentinels() -> None:
    url = "sentinel://me:secret@a:1,b,[::1]:4/group/3?sentinel_password=other"
    address = parse(url)
    assert address.sentinels
    assert address.sentinels.hosts == [("a", 1), ("b", 26379), ("::1", 4)]
    assert (address.sentinels.master, address.sentinels.login) == ("group", {"password": "other"})
    login = {"username": "me", "password": "secret"}
    assert {name: address.options[name] for name in login} == login
    assert address.options["db"] == 3
    of_celery = broker(url)
    assert of_celery.url == "sentinel://me:secret@a:1/3"
    assert of_celery.options["master_name"] == "group"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost:6379", "must start with one of redis://, rediss://, unix://, sentinel://"),
        ("http://localhost", "must start with one of"),
        ("redis://:hidden@h/hidden", "must end with the number of a database, such as /0"),
        ("redis://:hidden#hidden@h:1/0", "a port that is no number: write a special character"),
        ("redis://h:99999", "a port that is no number"),
        ("redis://h?ssl_ca_certs=ca.pem", "redis:// has no TLS: use rediss://"),
        ("sentinel://h/group?ssl_ca_certs=ca.pem", "sentinel:// has no TLS: use sentinels://"),
        ("rediss://h?ssl_ca_certs=ca.pem", "ssl_ca_certs=ca.pem, and there is no such file"),
        ("sentinel://h:26379", "must name what Sentinel calls the servers"),
        ("sentinel://:hidden@h:x/group", "has the Sentinel 'h:x': write HOST:26379"),
    ],
)
def test_an_address_that_is_not_valid_is_refused_at_the_start(url: str, problem: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(redis_url=url)
    assert problem in str(raised.value) and "hidden" not in str(raised.value)
