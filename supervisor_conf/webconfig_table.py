"""THE TABLE of attributes of `aspNetCore` and `httpPlatform`: which key each one is, how IIS writes its values.

Ranges are those of the modules' schemas, which the keys of `setting_table.py` share. Attributes that are no key by
themselves (`processPath`, `arguments`, the log, `hostingModel`) are read by `webconfig.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from supervisor_conf.webconfig_sections import ASP_NET_CORE, HTTP_PLATFORM

_TIME_SPAN = re.compile(r"(?:([0-9]{1,5})\.)?([0-9]{1,7}):([0-5]?[0-9]):([0-5]?[0-9])")


@dataclass(frozen=True, slots=True)
class Form:
    """How values of one kind are written. `convert` raises ValueError."""

    expected: str
    convert: Callable[[str], object]


def whole(low: int, high: int, unit: str = "") -> Form:
    """The schemas' `uint`."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError("no such number")
        return int(text)

    return Form(f"a whole number{unit} from {low} to {high}", convert)


def _time_span(text: str) -> int:
    """`[days.]hours:minutes:seconds`; hours may exceed a day, minutes and seconds end at 59."""
    match = _TIME_SPAN.fullmatch(text)
    if match is None:
        raise ValueError("no time span")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total > 1296000:
        raise ValueError("too long")
    return total


def _flag(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError as problem:
        raise ValueError("no truth value") from problem


FLAG = Form("true or false", _flag)
TIME_SPAN = Form(
    "hours:minutes:seconds from 00:00:00 to 360:00:00, minutes and seconds from 00 to 59", _time_span
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that is a key: its value becomes the key's, negated where the key says the opposite."""

    name: str
    key: str
    form: Form
    example: str
    negated: bool = False


ATTRIBUTES = (
    Attribute("startupTimeLimit", "startup_time_limit", whole(0, 3600, " of seconds"), "120"),
    Attribute("shutdownTimeLimit", "shutdown_time_limit", whole(0, 600, " of seconds"), "10"),
    Attribute("rapidFailsPerMinute", "rapid_fails_per_minute", whole(0, 100), "10"),
    Attribute("requestTimeout", "request_timeout", TIME_SPAN, "00:02:00"),
    Attribute("processesPerApplication", "processes", whole(1, 100), "1"),
    Attribute("disableStartUpErrorPage", "startup_error_page", FLAG, "false", negated=True),
)

_OF_BOTH = (
    "processPath",
    "arguments",
    "startupTimeLimit",
    "rapidFailsPerMinute",
    "requestTimeout",
    "stdoutLogEnabled",
    "stdoutLogFile",
    "processesPerApplication",
    "forwardWindowsAuthToken",
)

KNOWN = {
    ASP_NET_CORE: (*_OF_BOTH, "shutdownTimeLimit", "disableStartUpErrorPage", "hostingModel"),
    HTTP_PLATFORM: (*_OF_BOTH, "startupRetryCount"),
}
"""The attributes that each section's schema has."""

DEFAULT_LOG = {ASP_NET_CORE: ".\\aspnetcore-stdout", HTTP_PLATFORM: ".\\httpplatform-stdout"}

MODULES = {
    ASP_NET_CORE: ("AspNetCoreModuleV2", "AspNetCoreModule"),
    HTTP_PLATFORM: ("httpPlatformHandler", "httpPlatformHandlerV2"),
}
"""Names of the module that a handler names for each section, the usual one first."""

CONTENT_LENGTH = whole(0, 2**32 - 1, " of bytes")

DELAY = whole(0, 2**31 - 1, " of milliseconds")

HANDLER_SETTINGS = {
    "handlerVersion": "there are no versions of a handler to choose from",
    "debugFile": "Portico's own events are in portico.log of the run directory",
    "debugLevel": "Portico's own events are in portico.log of the run directory",
    "enableOutOfProcessConsoleRedirection": "output is always captured",
    "forwardResponseConnectionHeader": "Connection belongs to one connection (RFC 9110, 7.6.1)",
    "shutdownDelay": "a recycle starts the new process first",
    "enableShadowCopy": "files that run are not locked on this system",
    "shadowCopyDirectory": "files that run are not locked on this system",
    "cleanShadowCopyDirectory": "files that run are not locked on this system",
    "stackSize": "it is for apps inside of IIS",
    "setCurrentDirectory": "it is for apps inside of IIS",
    "callStartupHook": "it is for apps inside of IIS",
}
"""Why each known `handlerSetting` has no effect; `disallowRotationOnConfigChange` has one."""

SET_AT_EVERY_START = frozenset(
    {
        "PORT",
        "HOST",
        "ASPNETCORE_APPL_PATH",
        "ASPNETCORE_IIS_HTTPAUTH",
        "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED",
        "HTTP_PLATFORM_APPL_PATH",
        "LISTEN_FDS",
        "LISTEN_PID",
    }
)
"""Variables whose configured value never reaches an app (ANCM overwrites or removes its own as well)."""
