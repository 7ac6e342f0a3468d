"""What can go wrong with a request, named once: cause, stage and side, and what each becomes.

Nothing here ever carries an app's output, a token or a client's bytes beyond what `Failure.detail` is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import assert_never

from proxy.strict import Malformed
from supervisor_conf.control.messages import Refusal


class Stage(Enum):
    """Where in the story of a request it broke."""

    HEAD = "head"  # reading the request head
    CHOOSE = "choose"  # host, path and method to an app
    MODULES = "modules"  # what looks at a request before the app, and at its answer after it
    QUEUE = "queue"  # waiting for a start that others asked for
    START = "start"  # the start itself
    CONNECT = "connect"  # to the app
    SEND = "send"  # the request head to the app
    REQUEST_BODY = "request-body"
    AWAIT_HEAD = "await-head"  # the app's response head
    RESPONSE_BODY = "response-body"
    TUNNEL = "tunnel"  # after 101


class Side(Enum):
    """Who is to blame."""

    CLIENT = "client"
    FRONT = "front"
    APP = "app"


class Cause(Enum):
    """What happened; the value is the word for logs."""

    BAD_REQUEST = "bad-request"
    HEAD_TOO_LARGE = "head-too-large"
    TARGET_TOO_LONG = "target-too-long"
    PLAIN_HTTP = "plain-http"  # without TLS, to an https:// address
    BODY_TOO_LARGE = "body-too-large"
    SLOW_HEAD = "slow-head"
    SLOW_BODY = "slow-body"
    NOT_IMPLEMENTED = "not-implemented"  # CONNECT, an unknown transfer coding
    BAD_VERSION = "bad-version"
    NO_APP = "no-app"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REFUSED_BY_MODULE = "refused-by-module"  # Failure.status says with what
    MODULE_FAILED = "module-failed"
    START_FAILED = "start-failed"
    REFUSED = "refused"  # by the keeper: Failure.refusal says why
    QUEUE_FULL = "queue-full"
    QUEUE_TIMEOUT = "queue-timeout"
    ENDING = "ending"  # the front itself is going down
    NO_CREDENTIALS = "no-credentials"  # what the visitor delegated cannot be given to the app
    CONNECT_REFUSED = "connect-refused"
    CONNECT_TIMEOUT = "connect-timeout"
    APP_BROKE_BEFORE_HEAD = "app-broke-before-head"
    APP_SENT_NONSENSE = "app-sent-nonsense"
    APP_HEAD_TOO_LARGE = "app-head-too-large"
    APP_SILENT = "app-silent"
    APP_BROKE_OFF = "app-broke-off"  # in the middle of a body: the client's connection is cut
    UPGRADE_FAILED = "upgrade-failed"
    CLIENT_GONE = "client-gone"
    INTERNAL = "internal"


class Failure(Exception):
    """A request that cannot be answered by its app.

    `detail`: one short sentence for page, log and Proxy-Status; never a secret, app output or client bytes.
    `status`: in place of what the refusal or the cause says. `retry_after`: seconds, 0 none.
    `allowed`: methods, for METHOD_NOT_ALLOWED. `fields`: more of them for the answer.
    """

    def __init__(
        self,
        cause: Cause,
        stage: Stage,
        side: Side,
        detail: str = "",
        *,
        refusal: Refusal | None = None,
        status: int | None = None,
        retry_after: int = 0,
        allowed: tuple[str, ...] = (),
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(f"{cause.value} ({side.value}, {stage.value})")
        self.cause = cause
        self.stage = stage
        self.side = side
        self.detail = detail or (refusal.sentence if refusal else "")
        self.refusal = refusal
        self.allowed = allowed
        self.fields = fields
        self.status = status or (refusal.status if refusal else status_of(cause))
        self.retry_after = retry_after or (refusal.retry_after if refusal else _retry_after(cause))


def malformed_request(problem: Malformed) -> Failure:
    """The Failure for a request head that the strict reader refused."""
    causes = {
        414: Cause.TARGET_TOO_LONG,
        431: Cause.HEAD_TOO_LARGE,
        501: Cause.NOT_IMPLEMENTED,
        505: Cause.BAD_VERSION,
    }
    cause = causes.get(problem.status, Cause.BAD_REQUEST)
    return Failure(cause, Stage.HEAD, Side.CLIENT, problem.reason, status=problem.status)


def malformed_response(problem: Malformed) -> Failure:
    """The Failure for a response head that the strict reader refused."""
    return Failure(Cause.APP_SENT_NONSENSE, Stage.AWAIT_HEAD, Side.APP, problem.reason)


def status_of(cause: Cause) -> int:
    """The status a client sees. 499 is nginx's: nobody sees it but the log."""
    match cause:
        case Cause.BAD_REQUEST | Cause.PLAIN_HTTP:
            return 400
        case Cause.NO_APP:
            return 404
        case Cause.METHOD_NOT_ALLOWED:
            return 405
        case Cause.SLOW_HEAD | Cause.SLOW_BODY:
            return 408
        case Cause.BODY_TOO_LARGE:
            return 413
        case Cause.TARGET_TOO_LONG:
            return 414
        case Cause.HEAD_TOO_LARGE:
            return 431
        case Cause.CLIENT_GONE:
            return 499
        case Cause.REFUSED_BY_MODULE:
            return 403
        case Cause.INTERNAL | Cause.MODULE_FAILED:
            return 500
        case Cause.NOT_IMPLEMENTED:
            return 501
        case Cause.START_FAILED | Cause.CONNECT_REFUSED | Cause.APP_BROKE_BEFORE_HEAD:
            return 502
        case Cause.APP_SENT_NONSENSE | Cause.APP_HEAD_TOO_LARGE | Cause.APP_BROKE_OFF | Cause.UPGRADE_FAILED:
            return 502
        case Cause.REFUSED | Cause.QUEUE_FULL | Cause.QUEUE_TIMEOUT | Cause.ENDING | Cause.NO_CREDENTIALS:
            return 503
        case Cause.APP_SILENT | Cause.CONNECT_TIMEOUT:
            return 504
        case Cause.BAD_VERSION:
            return 505
        case _:
            assert_never(cause)


def _retry_after(cause: Cause) -> int:
    """Seconds. Every 503 tells when to come back; these pass with the start that is under way."""
    return 5 if status_of(cause) == 503 else 0


def reason_word(failure: Failure) -> str:
    """The word for logs: the refusal's own where there is one."""
    return failure.refusal.why if failure.refusal else failure.cause.value


def proxy_status(failure: Failure) -> str:
    """The value of Proxy-Status (RFC 9209): error type; side, stage and detail in its details."""
    details = f"{failure.side.value}, {failure.stage.value}: {failure.detail or reason_word(failure)}"
    return f"portico; error={_error_type(failure.cause)}; details={_quoted(details)}"


MAX_DETAILS = 200


def _quoted(text: str) -> str:
    """A string of RFC 8941 3.3.3: printable ASCII, quote and backslash escaped."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text[:MAX_DETAILS])
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _error_type(cause: Cause) -> str:
    """A type registered by RFC 9209 2.3."""
    match cause:
        case Cause.BAD_REQUEST | Cause.HEAD_TOO_LARGE | Cause.TARGET_TOO_LONG | Cause.BODY_TOO_LARGE:
            return "http_request_error"
        case Cause.NOT_IMPLEMENTED | Cause.BAD_VERSION | Cause.SLOW_HEAD | Cause.SLOW_BODY:
            return "http_request_error"
        case Cause.PLAIN_HTTP:
            return "http_request_error"
        case Cause.METHOD_NOT_ALLOWED | Cause.REFUSED_BY_MODULE:
            return "http_request_denied"
        case Cause.NO_APP:
            return "destination_not_found"
        case Cause.START_FAILED | Cause.REFUSED | Cause.ENDING:
            return "destination_unavailable"
        case Cause.QUEUE_FULL | Cause.QUEUE_TIMEOUT:
            return "connection_limit_reached"
        case Cause.CONNECT_REFUSED:
            return "connection_refused"
        case Cause.CONNECT_TIMEOUT:
            return "connection_timeout"
        case Cause.APP_BROKE_BEFORE_HEAD:
            return "connection_terminated"
        case Cause.APP_SENT_NONSENSE:
            return "http_protocol_error"
        case Cause.APP_HEAD_TOO_LARGE:
            return "http_response_header_section_size"
        case Cause.APP_SILENT:
            return "http_response_timeout"
        case Cause.APP_BROKE_OFF:
            return "http_response_incomplete"
        case Cause.UPGRADE_FAILED:
            return "http_upgrade_failed"
        case Cause.CLIENT_GONE:
            return "connection_terminated"
        case Cause.INTERNAL | Cause.MODULE_FAILED | Cause.NO_CREDENTIALS:
            return "proxy_internal_error"
        case _:
            assert_never(cause)
