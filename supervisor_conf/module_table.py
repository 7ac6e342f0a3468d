"""THE TABLE of the modules that come with Portico, and of their options. It drives reading and `docs/settings.md`.

What each module does stands in `proxy/modules/`; what only this machine can tell (a file that cannot be read) is
looked at in `check.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from supervisor_conf import module_kinds
from supervisor_conf import setting_kinds as kinds
from supervisor_conf.identity_modules import BASIC, CLIENT_CERTIFICATE
from supervisor_conf.negotiate_keys import NEGOTIATE
from supervisor_conf.setting_table import REQUIRED, Key

_HIDDEN = [
    ".git*",
    ".svn",
    ".hg*",
    ".env*",
    ".ht*",
    ".DS_Store",
    "web.config",
    "App_Data",
    "App_Code",
]

FILTERING = (
    Key(
        "allow",
        module_kinds.PEERS,
        [],
        "Addresses that may come; empty is all. Others get 403.",
        example='["10.0.0.0/8", "unix"]',
    ),
    Key("deny", module_kinds.PEERS, [], "Addresses that may not come, whatever `allow` says: 403."),
    Key(
        "rate",
        module_kinds.RATE,
        0,
        "Requests a second of one client (an IPv4 address, an IPv6 network of 64 bits), all workers together; more get "
        "429 with `Retry-After`. 0 is no limit.",
    ),
    Key("burst", kinds.integer(1, 10**6, "20"), 20, "So many requests of one client are taken at once."),
    Key(
        "rate_clients",
        kinds.integer(8, 2**24, "65536"),
        65536,
        "Clients that are remembered at once, 16 bytes each, in shared memory of this fixed size.",
    ),
    Key("methods", kinds.METHODS, [], "Methods that are taken; empty is all. Others get 405."),
    Key("denied_methods", kinds.METHODS, [], "Methods that get 405.", example='["TRACE"]'),
    Key(
        "hidden_segments",
        module_kinds.SEGMENTS,
        _HIDDEN,
        "Names that no path may hold, in whatever spelling; `*` at the end is any ending. 404.",
    ),
    Key(
        "extensions",
        module_kinds.EXTENSIONS,
        [],
        'Extensions that the end of a path may have, `""` for none; empty is all. Others get 404.',
        example='["", ".html", ".css", ".js"]',
    ),
    Key("denied_extensions", module_kinds.EXTENSIONS, [], "Extensions that no name in a path may have: 404."),
    Key(
        "double_escaping",
        kinds.FLAG,
        False,
        "`true`: paths may be escaped twice (`%252e`), or hold overlong UTF-8. Else 404.",
    ),
    Key(
        "max_target",
        kinds.size(0, 2**20, "4096"),
        0,
        "Longest request target; a longer one gets 414. 0 is none.",
    ),
    Key("max_path", kinds.size(0, 2**20, "4096"), 0, "Longest path, without the query; 414. 0 is no limit."),
    Key("max_query", kinds.size(0, 2**20, "2048"), 0, "Longest query; a longer one gets 414. 0 is no limit."),
    Key(
        "max_fields",
        module_kinds.FIELD_LIMITS,
        {},
        "Longest values of header fields by name, `*` for all others; longer ones get 431.",
    ),
    Key(
        "max_body",
        kinds.size(0, 2**60),
        0,
        "Longest request body; a longer one gets 413, however it is framed. 0 is what `max_request_body` says.",
    ),
)

HEADERS = (
    Key(
        "request",
        module_kinds.FIELD_RULES,
        {},
        "What becomes of the fields of a request: a table with `set` and `add` (tables of values by name) and `remove` "
        "(a list of names).",
    ),
    Key("response", module_kinds.FIELD_RULES, {}, "The same for every final answer."),
)

OFFLINE = (
    Key(
        "file",
        kinds.FOLDER,
        REQUIRED,
        "While it is there, visitors get 503 with what is in it. Its folder must exist.",
        example='"offline.html"',
    ),
    Key("allow", module_kinds.PEERS, [], "Addresses that get through all the same.", example='["192.0.2.7"]'),
    Key(
        "retry_after",
        kinds.duration(1, kinds.DAY, '"10m"'),
        120,
        "What `Retry-After` says.",
    ),
    Key("type", kinds.TEXT, "text/html; charset=utf-8", "Media type of the file.", example='"text/html"'),
)

REQUEST_ID = (
    Key(
        "header",
        module_kinds.FIELD_NAME,
        "X-Request-ID",
        "The field that tells a visitor the id of the request.",
    ),
    Key(
        "trust",
        kinds.FLAG,
        False,
        "`true`: a request that brings an id in this field keeps it (letters, digits and `._:@/+=-`, at most 128).",
    ),
    Key(
        "traceparent",
        kinds.FLAG,
        False,
        "`true`: a request with a `traceparent` (W3C Trace Context) has its trace-id as id.",
    ),
)

STATIC = (
    Key(
        "path",
        kinds.APPLICATION_PATH,
        "/",
        "The path of URLs that the folder stands for.",
        example='"/static"',
    ),
    Key(
        "folder",
        kinds.FOLDER,
        REQUIRED,
        "The folder. Files are opened as the user of the workers.",
        example='"public"',
    ),
    Key(
        "index", module_kinds.FILE_NAME, "index.html", 'The file that stands for a folder; `""` is none: 404.'
    ),
    Key(
        "fallthrough",
        kinds.FLAG,
        False,
        "`true`: what is no file here is asked of the next module and the app. Else 404, and 405 for other methods.",
    ),
    Key(
        "cache_control",
        kinds.TEXT,
        "",
        '`Cache-Control` of files; `""` is none.',
        example='"public, max-age=3600"',
    ),
    Key(
        "types",
        module_kinds.MEDIA_TYPES,
        {},
        "Media types by extension, before those that Portico knows.",
    ),
    Key("charset", module_kinds.CHARSET, "utf-8", 'What text is said to be written in; `""` says nothing.'),
    Key(
        "precompressed",
        kinds.FLAG,
        True,
        "Send `a.js.br`, `a.js.zst` or `a.js.gz` for `a.js` to who takes it.",
    ),
    Key(
        "dotfiles",
        kinds.FLAG,
        False,
        "`true`: names that begin with a dot, too. `.well-known` is always served.",
    ),
    Key(
        "links",
        kinds.FLAG,
        True,
        "Follow symbolic links that stay inside the folder; `false`: none. One that leads outside is never followed.",
    ),
)

SHIPPED: Final[Mapping[str, tuple[Key, ...]]] = {
    "basic": BASIC,
    "client_certificate": CLIENT_CERTIFICATE,
    "filtering": FILTERING,
    "headers": HEADERS,
    "negotiate": NEGOTIATE,
    "offline": OFFLINE,
    "request_id": REQUEST_ID,
    "static": STATIC,
}
