"""The reference of all configuration keys, from the table: `python -m supervisor_conf.reference > docs/settings.md`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

from supervisor_conf.changes import Needs, needs_of_app, needs_of_front
from supervisor_conf.module_table import SHIPPED
from supervisor_conf.setting_table import APP, CERTIFICATE, FRONT, REQUIRED, TLS, Key

_HEAD = """\
# Settings

Made from `supervisor_conf/setting_table.py` by `python -m supervisor_conf.reference > docs/settings.md`.

A duration is a number of seconds or a string such as `"90s"`, `"2m"`, `"1h30m"`, `"00:02:00"`. A size is a number of
bytes or a string such as `"64KiB"`, `"10MiB"`. Paths are relative to the file. In every string `${NAME}` is a variable
of the environment of `portico run` (one that is not set is an error), `${NAME:-default}` has a default, `$$` is a
dollar. A number may be written as a string, since `${NAME}` gives strings. A key that is not in this list is an error.

«While it runs» is what `app reload` and SIGHUP do with another value ([lifecycle.md](lifecycle.md)): take it over at
once, replace the workers, replace the processes of the app, each new one first; or refuse it, since only a new start of
Portico can change it.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    sections = [
        *("## `[front]`\n", *_rows(FRONT, needs_of_front), ""),
        *("## `[front.tls]`\n", _TLS, *_short_rows(TLS), ""),
        *("## `[[front.tls.certificates]]`\n", *_short_rows(CERTIFICATE), ""),
        *("## `[apps.NAME]`\n", _NAMES, *_rows(APP, needs_of_app), ""),
        _MODULES,
        *(line for name, keys in SHIPPED.items() for line in _module(name, keys)),
    ]
    return "\n".join([_HEAD, _contents(sections), *sections])


def _contents(sections: list[str]) -> str:
    """Links to the headings, as GitHub makes their anchors."""
    headings = [line.partition("\n")[0].lstrip("#").strip() for line in sections if line.startswith("#")]
    links = (
        f"[{title}](#{re.sub(r'[^a-z0-9_ -]', '', title.lower()).replace(' ', '-')})" for title in headings
    )
    return " ·\n".join(links) + "\n"


_NAMES = """\
The name consists of letters, digits, `-` and `_`; it does not begin with `portico-` and is not `all`.
"""


_MODULES = """\
## `[[front.modules]]`, `[[apps.NAME.modules]]`

Modules that look at a request before its app, in the order in which they are written; the front's come before the app
is chosen ([modules.md](modules.md)). `use` names the module: one of those below, an entry point of the group
`portico.modules`, or `package.module:Class`, which is looked for in the environment of Portico and in the folder of the
file. The other keys are the module's own; another value is taken over by new workers.
"""


def _module(name: str, keys: tuple[Key, ...]) -> list[str]:
    return [f'### `use = "{name}"`\n', *_short_rows(keys), ""]


_TLS = """\
What the `https://` addresses need: [tls.md](tls.md). Another value is taken over by new workers.
"""


def _rows(keys: tuple[Key, ...], needs: Callable[[str], Needs]) -> list[str]:
    rows = ["| key | value | default | meaning | while it runs |", "|---|---|---|---|---|"]
    return rows + [_row(key, needs(key.name)) for key in keys]


def _short_rows(keys: tuple[Key, ...]) -> list[str]:
    """Of a table whose keys are all taken over in the same way."""
    return ["| key | value | default | meaning |", "|---|---|---|---|", *map(_short_row, keys)]


def _row(key: Key, needs: Needs) -> str:
    return f"{_short_row(key)} {_while_it_runs(needs)} |"


def _short_row(key: Key) -> str:
    default = "required" if key.default is REQUIRED else f"`{_toml(key.default)}`"
    return f"| `{key.name}` | {key.kind.expected} | {default} | {key.text} |"


def _while_it_runs(needs: Needs) -> str:
    words = {Needs.RESTART: "refused", Needs.PROCESS: "new processes", Needs.WORKERS: "new workers"}
    return ", ".join(word for need, word in words.items() if need in needs) or "at once"


def _toml(value: object) -> str:
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
