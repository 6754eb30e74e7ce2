"""The signature of an event, against the example of Standard Webhooks and with its library."""

from __future__ import annotations

import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from workers.webhooks.event import Event
from workers.webhooks.signature import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_headers_are_those_of_the_published_example() -> None:
    event = Event("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    assert Signer(SECRET).headers(event, timestamp=1614265330) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_changed_body_or_id_does_not_pass_verification() -> None:
    event = Event("msg_1", '{"type": "job.completed", "name": "Käse"}'.encode())
    headers = Signer(SECRET).headers(event, timestamp=int(time.time()))
    assert Webhook(SECRET).verify(event.body, headers)["name"] == "Käse"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(event.body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(event.body, headers | {"webhook-id": "msg_2"})


def test_receivers_of_the_old_and_of_the_new_secret_accept_an_event() -> None:
    new = "whsec_" + "QUJD" * 8
    event = Event("msg_1", b"{}")
    headers = Signer(f"{new} {SECRET}\n").headers(event, timestamp=int(time.time()))
    for secret in (SECRET, new):
        assert Webhook(secret).verify(event.body, headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "QUJE" * 8).verify(event.body, headers)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "secret",
        f"{SECRET} secret",
        "whsec_",
        "whsec_!!!!",
        "whsec_c2hvcnQ=",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2La",
    ],
)
def test_a_malformed_secret_is_refused_and_the_error_does_not_contain_it(secret: str) -> None:
    with pytest.raises(ValueError) as raised:
        Signer(secret)
    for each in secret.split():
        assert len(each) <= len("whsec_") or each not in str(raised.value)
