from __future__ import annotations

import re

import pytest

from proxy.failures import (
    MAX_DETAILS,
    Cause,
    Failure,
    Side,
    Stage,
    malformed_request,
    malformed_response,
    proxy_status,
    reason_word,
    status_of,
)
from proxy.strict import Malformed
from supervisor_conf.control.messages import Refusal, Report

# RFC 9209 section 2.3.
REGISTERED = {
    "dns_timeout", "dns_error", "destination_not_found", "destination_unavailable", "destination_ip_prohibited",
    "destination_ip_unroutable", "connection_refused", "connection_terminated", "connection_timeout",
    "connection_read_timeout", "connection_write_timeout", "connection_limit_reached", "tls_protocol_error",
    "tls_certificate_error", "tls_alert_received", "http_request_error", "http_request_denied",
    "http_response_incomplete", "http_response_header_section_size", "http_response_header_size",
    "http_response_body_size", "http_response_trailer_section_size", "http_response_trailer_size",
    "http_response_transfer_coding", "http_response_content_coding", "http_response_timeout", "http_upgrade_failed",
    "http_protocol_error", "proxy_internal_response", "proxy_internal_error", "proxy_configuration_error",
    "proxy_loop_detected",
}  # fmt: skip
# sf-item: token; error=token; details=sf-string (RFC 8941).
SHAPE = re.compile(r'portico; error=([a-z_]+); details="((?:[ !#-\[\]-~]|\\["\\])*)"')


def failure(cause: Cause = Cause.APP_SILENT, detail: str = "") -> Failure:
    return Failure(cause, Stage.AWAIT_HEAD, Side.APP, detail)


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (Cause.BAD_REQUEST, 400),
        (Cause.NO_APP, 404),
        (Cause.METHOD_NOT_ALLOWED, 405),
        (Cause.SLOW_HEAD, 408),
        (Cause.BODY_TOO_LARGE, 413),
        (Cause.TARGET_TOO_LONG, 414),
        (Cause.HEAD_TOO_LARGE, 431),
        (Cause.START_FAILED, 502),
        (Cause.CONNECT_REFUSED, 502),
        (Cause.APP_BROKE_BEFORE_HEAD, 502),
        (Cause.APP_SENT_NONSENSE, 502),
        (Cause.QUEUE_FULL, 503),
        (Cause.QUEUE_TIMEOUT, 503),
        (Cause.NO_CREDENTIALS, 503),
        (Cause.APP_SILENT, 504),
    ],
)
def test_the_status_table_that_users_read(cause: Cause, status: int) -> None:
    assert status_of(cause) == status


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_status_and_a_registered_error_type(cause: Cause) -> None:
    assert 400 <= failure(cause).status <= 599
    match = SHAPE.fullmatch(proxy_status(failure(cause)))
    assert match is not None
    assert match[1] in REGISTERED
    assert match[2].startswith("app, await-head: ")


@pytest.mark.parametrize("cause", Cause)
def test_every_503_says_when_to_come_back(cause: Cause) -> None:
    assert (failure(cause).retry_after > 0) == (failure(cause).status == 503)


@pytest.mark.parametrize("detail", ['a "quote" and a \\', "line\r\nX-Evil: 1", "café\0", "x" * 500])
def test_details_are_one_harmless_string(detail: str) -> None:
    value = proxy_status(failure(detail=detail))
    assert SHAPE.fullmatch(value)
    assert len(value) < 2 * MAX_DETAILS + 60


def test_a_refusal_speaks_for_itself() -> None:
    report = Report("shop", 7, 0, "It exited.", "listening", last_lines="s3cret output", advice=())
    refusal = Refusal(502, "start-failed", "The app exited before it listened.", retry_after=7, report=report)
    refused = Failure(Cause.REFUSED, Stage.START, Side.APP, refusal=refusal)
    assert (refused.status, refused.retry_after, reason_word(refused)) == (502, 7, "start-failed")
    assert "The app exited before it listened." in proxy_status(refused)
    assert "s3cret" not in proxy_status(refused) + str(refused) + repr(refused)


def test_what_is_said_of_one_failure_goes_before_its_cause() -> None:
    assert Failure(Cause.BAD_REQUEST, Stage.HEAD, Side.CLIENT, status=417).status == 417
    assert Failure(Cause.QUEUE_FULL, Stage.QUEUE, Side.FRONT, retry_after=30).retry_after == 30


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, Cause.BAD_REQUEST),
        (414, Cause.TARGET_TOO_LONG),
        (431, Cause.HEAD_TOO_LARGE),
        (501, Cause.NOT_IMPLEMENTED),
        (505, Cause.BAD_VERSION),
    ],
)
def test_a_refused_request_head_keeps_its_status(status: int, cause: Cause) -> None:
    refused = malformed_request(Malformed(status, "a reason"))
    assert (refused.status, refused.cause, refused.side, refused.detail) == (
        status,
        cause,
        Side.CLIENT,
        "a reason",
    )


def test_a_refused_response_head_is_the_apps() -> None:
    refused = malformed_response(Malformed(502, "a reason"))
    assert (refused.status, refused.side, reason_word(refused)) == (502, Side.APP, "app-sent-nonsense")
