"""THE TABLE of configuration keys. It drives reading, ranges, suggestions and `docs/settings.md`.

Keys stand in the order of the reference.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from supervisor_conf import setting_kinds as kinds
from supervisor_conf.setting_kinds import Kind

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its default as the file would write it (REQUIRED: none), its sentence in the reference."""

    name: str
    kind: Kind
    default: object
    text: str
    example: str = ""

    @property
    def shown_example(self) -> str:
        return self.example or self.kind.example


FRONT = (
    Key(
        "listen",
        kinds.LISTEN,
        ["http://127.0.0.1:8080"],
        "Addresses visitors connect to: `http://HOST:PORT` (IPv4, `[IPv6]` or a name; `0.0.0.0` is every IPv4 address "
        "of this machine, `[::]` every IPv6 address and no other), `https://HOST:PORT` (wants `[front.tls]`), "
        "`unix:/path`, `fd:N` (an inherited listening socket). `proxy_protocol` behind an address, after a blank: its "
        "connections begin with the PROXY protocol ([trusted-proxies.md](trusted-proxies.md)).",
    ),
    Key(
        "workers",
        kinds.WORKERS,
        "auto",
        "Worker processes; `auto` is the number of cores this process may use.",
    ),
    Key(
        "run_directory",
        kinds.FOLDER,
        "run",
        "Folder for sockets, rendered files, logs of Portico itself and the pid.",
    ),
    Key(
        "user",
        kinds.USER,
        "",
        'What the workers become when started as root, after imports and sockets; `""` is `nobody`.',
        example='"www-data"',
    ),
    Key(
        "drain_limit",
        kinds.duration(0, kinds.HOUR, "30"),
        30,
        "A worker or generation that is going away finishes what runs, this long.",
    ),
    Key(
        "trusted_proxies",
        kinds.NETWORKS,
        [],
        "Networks of the proxies in front that are believed about who is calling ([trusted-proxies.md]"
        "(trusted-proxies.md)); `unix` is whoever comes over a Unix socket.",
        example='["10.0.0.0/8", "2001:db8::/32", "unix"]',
    ),
    Key(
        "trusted_fields",
        kinds.choice("auto", "x-forwarded", "forwarded"),
        "auto",
        "How trusted proxies tell: `X-Forwarded-*`, or `Forwarded` (RFC 7239). `auto` is the former where there is an "
        "`X-Forwarded-For`.",
    ),
    Key(
        "max_request_body",
        kinds.size(1, 2**60, '"30MiB"'),
        "30MiB",
        "Longest request body; a longer one gets 413.",
    ),
    Key(
        "min_upload_rate",
        kinds.size(0, 2**30, "240"),
        240,
        "Bytes a second that a client has to send of a body, on average after five seconds of waiting for it; a slower "
        "one gets 408. 0 is none.",
    ),
    Key(
        "min_download_rate",
        kinds.size(0, 2**30, "240"),
        240,
        "The same for what a client takes of an answer that does not fit into the buffers; a slower one is cut off.",
    ),
    Key(
        "max_header_bytes",
        kinds.size(kinds.KIB, 16 * kinds.MIB, '"64KiB"'),
        "64KiB",
        "Longest head of a request; a longer one gets 431.",
    ),
    Key(
        "header_timeout",
        kinds.duration(1, kinds.HOUR, "30"),
        30,
        "How long the head of a request may take; a slower one gets 408.",
    ),
    Key(
        "keep_alive_timeout",
        kinds.duration(0, kinds.DAY, "75"),
        75,
        "How long an idle connection is kept; 0 closes each after its answer.",
    ),
    Key(
        "max_connections",
        kinds.MAX_CONNECTIONS,
        "auto",
        "Connections of visitors that one worker holds; for one more an idle one is closed, else it gets 503. `auto` "
        "is what the limit of open files suffices for.",
    ),
    Key(
        "max_connections_per_client",
        kinds.integer(0, 10**6, "100"),
        0,
        "Connections of one address (of IPv6, one /64) that one worker holds; one more gets 503. 0 is any number.",
    ),
    Key(
        "access_log",
        kinds.LOG,
        "logs/access.log",
        'One line a request: a path, `-` for standard output, `""` for none.',
        example='"logs/access.log"',
    ),
    Key("quick_lane", kinds.FLAG, True, "`false`: every message goes through h11."),
    Key(
        "forwarded_for_port",
        kinds.FLAG,
        False,
        "ANCM's way: `X-Forwarded-For` with the client's port.",
    ),
    Key("forwarded", kinds.FLAG, False, "Tell apps of the client by `Forwarded` (RFC 7239) too."),
    Key("via", kinds.PSEUDONYM, "", 'Name for a `Via` field; `""` is none.'),
    Key(
        "event_log_format",
        kinds.choice("json", "console"),
        "json",
        "How `portico.log` in the run directory is written: an object of JSON a line, or lines for the eye.",
    ),
    Key(
        "reload_on_change",
        kinds.FLAG,
        False,
        "Apply a changed file by itself, as `app reload` would. `true` for a web.config.",
    ),
)

TLS = (
    Key(
        "certificate",
        kinds.OPTIONAL_FILE,
        "",
        "Certificate in PEM, the server's own first, then those between it and the root.",
        example='"shop.pem"',
    ),
    Key(
        "key",
        kinds.OPTIONAL_FILE,
        "",
        'Its private key in PEM, without a passphrase; `""`: in the file of the certificate.',
        example='"shop.key"',
    ),
    Key("minimum_version", kinds.TLS_VERSION, "1.2", "Oldest version of TLS that is spoken."),
    Key(
        "client_certificate",
        kinds.choice("off", "optional", "required"),
        "off",
        "Whether clients are asked for a certificate, and refused without one.",
        example='"optional"',
    ),
    Key(
        "client_ca",
        kinds.OPTIONAL_FILE,
        "",
        "Authorities, in PEM, whose certificates of clients count.",
        example='"clients-ca.pem"',
    ),
    Key(
        "redirect",
        kinds.REDIRECT,
        "off",
        "Status of the answer that sends visitors of the `http://` addresses to the same place with `https://`.",
    ),
    Key(
        "redirect_port",
        kinds.integer(0, 65535, "443"),
        0,
        "Port that visitors are sent to; 0 is that of the first `https://` address.",
    ),
    Key(
        "hsts",
        kinds.duration(0, 20 * 365 * kinds.DAY, '"365d"'),
        0,
        "Age of `Strict-Transport-Security`, which keeps browsers on `https://`; 0 sends none.",
    ),
    Key("hsts_subdomains", kinds.FLAG, False, "`includeSubDomains` with it."),
    Key("hsts_preload", kinds.FLAG, False, "`preload` with it: the domain may be put into browsers' lists."),
)

CERTIFICATE = (
    Key(
        "certificate",
        kinds.FOLDER,
        REQUIRED,
        "As above, for other names: a visitor gets the one that has the name it asks for (SNI).",
        example='"other.pem"',
    ),
    Key("key", kinds.OPTIONAL_FILE, "", "As above.", example='"other.key"'),
)

APP = (
    Key(
        "command",
        kinds.COMMAND,
        REQUIRED,
        "What to start: a string (shell words, no shell) or a list. `{port}` and `{host}`, or `{socket}`, or `{fd}`, "
        "as `transport` says, are filled in at every start; `{{` and `}}` are braces.",
    ),
    Key("directory", kinds.FOLDER, ".", "Working directory of the app.", example='"shop"'),
    Key("path", kinds.APPLICATION_PATH, "/", "Application path (`APPL_PATH`); the longest match wins."),
    Key("hosts", kinds.HOSTS, [], "Names this app answers for; empty is any."),
    Key("methods", kinds.METHODS, [], "Request methods this app answers; empty is all."),
    Key("user", kinds.USER, "", "User the app runs as; only root can choose one."),
    Key(
        "environment",
        kinds.ENVIRONMENT,
        {},
        "Variables for the app.",
        example='{ DJANGO_SETTINGS_MODULE = "shop.settings" }',
    ),
    Key(
        "environment_file",
        kinds.OPTIONAL_FILE,
        "",
        "File of `NAME=value` lines, read at every start: by root, but by the app's user where a link of another user "
        "is on its way.",
    ),
    Key(
        "transport",
        kinds.choice("port", "unix", "fd"),
        "port",
        "How the app is reached: a `port` of 127.0.0.1; a `unix` socket that it makes at the path it is given; "
        "a listening Unix socket that it is given as descriptor 3 (`fd`).",
    ),
    Key(
        "port",
        kinds.integer(0, 65535, "5000"),
        0,
        "0 is a fresh port at every start, N always this one (then `overlap` is false and `processes` 1).",
    ),
    Key("processes", kinds.integer(1, 100, "1"), 1, "How many processes of this app run at once."),
    Key(
        "start",
        kinds.choice("on-request", "eager"),
        "on-request",
        "Start on the first request, or with Portico (`eager`).",
    ),
    Key(
        "startup_time_limit",
        kinds.duration(0, 3600, "120"),
        120,
        "How long a start may take until the app is ready.",
    ),
    Key(
        "shutdown_time_limit",
        kinds.duration(0, 600, "10"),
        10,
        "How long a stop may take before the app is killed.",
    ),
    Key(
        "request_timeout",
        kinds.duration(0, 1296000, "120"),
        120,
        "How long the app may stay silent during a request; then 504. 0 is for ever.",
    ),
    Key(
        "rapid_fails_per_minute",
        kinds.integer(0, 100, "10"),
        10,
        "More failures than this within a minute: the app is not started again until a minute has passed.",
    ),
    Key(
        "queue_limit",
        kinds.integer(1, 10**6, "1000"),
        1000,
        "Requests that may wait for a start, all workers together.",
    ),
    Key(
        "queue_timeout",
        kinds.duration(0, 3600, "30"),
        0,
        "How long a request may wait for a start; 0 is until the start has succeeded or failed.",
    ),
    Key(
        "idle_stop",
        kinds.duration(0, 365 * kinds.DAY, '"15m"'),
        0,
        "Stop after so long without a request; 0 is never.",
    ),
    Key(
        "ready",
        kinds.READY,
        "listen",
        "`listen`, or an absolute path that must answer 2xx or 3xx.",
        example='"/healthz"',
    ),
    Key("warm_up", kinds.PATHS, [], "Paths asked once after ready, before visitors."),
    Key("health", kinds.PROBE, "", "A path asked every `health_interval`; 2xx or 3xx is well."),
    Key("health_interval", kinds.duration(1, kinds.DAY, "10"), 10, "Time between two health checks."),
    Key(
        "health_failures",
        kinds.integer(1, 100, "3"),
        3,
        "So many failed checks in a row recycle the app.",
    ),
    Key(
        "tunnel_idle_timeout",
        kinds.duration(0, 365 * kinds.DAY, '"1h"'),
        0,
        "How long a WebSocket or other upgraded connection may be silent; 0 is for ever.",
    ),
    Key("require_pairing", kinds.FLAG, False, "`true`: an app that answers without the token is not served."),
    Key(
        "forward_credentials",
        kinds.FLAG,
        False,
        "`true`: the app may act as a visitor who has delegated a Kerberos ticket, until it has answered "
        "([kerberos.md](kerberos.md)).",
    ),
    Key(
        "stdout_log",
        kinds.LOG,
        "logs/{app}/stdout",
        'Output of the app, one file per start: `{stdout_log}_{UTC time}_{pid}.log`; `""` none, `-` the terminal.',
    ),
    Key("stdout_log_max_bytes", kinds.size(0, 2**60), "10MiB", "A longer log is rotated; 0 is never."),
    Key(
        "stdout_log_keep",
        kinds.integer(1, 10000, "10"),
        10,
        "How many log files of an app are kept in all: what is being written, rotated parts, earlier starts.",
    ),
    Key("startup_error_page", kinds.FLAG, True, "`false`: a failed start is answered by a bare 502."),
    Key("startup_error_link", kinds.LINK, "", "A link on the page of a failed start, for whoever can help."),
    Key(
        "shim", kinds.choice("auto", "off"), "auto", "Zero-code activation of the token check in Python apps."
    ),
    Key(
        "overlap",
        kinds.FLAG,
        True,
        "Recycle: the new process first; `false`: stop, hold requests, start.",
    ),
    Key(
        "recycle_after",
        kinds.RECYCLE_AFTER,
        {},
        "Recycle after so many requests, so long, or so much memory.",
    ),
    Key(
        "remote_user_header",
        kinds.REMOTE_USER_HEADER,
        "",
        "A field that names the visitor in plain, for apps without shim ([identity.md](identity.md)); no visitor can "
        "send it himself.",
        example='"X-Remote-User"',
    ),
)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like this one, or "" if none is."""
    found = difflib.get_close_matches(name.lower().replace("-", "_"), list(known), n=1)
    return found[0] if found else ""
