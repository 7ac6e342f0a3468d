"""`${NAME}` and `${NAME:-default}` in the configuration file, from the environment; `$$` is a dollar.

A variable that is set but empty counts as not set for `:-`, as in a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from supervisor_conf.setting_errors import Unfit

_PIECE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$")


def expand_text(text: str, environ: Mapping[str, str]) -> str:
    """Raises Unfit for a name that is not set and for a dollar that begins nothing."""

    def piece(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        name, default = match.group(1), match.group(2)
        if name is None:
            raise Unfit("$$ for a dollar, ${NAME} for a variable of the environment", read="a lone $")
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise Unfit(
                f"{name} to be set in the environment, or a default",
                read=f"${{{name}}}, which is not set",
                example=f"${{{name}:-default}}",
            )
        return value

    return _PIECE.sub(piece, text)


def expand(value: object, environ: Mapping[str, str]) -> object:
    """The same for every string in a value of TOML, in lists and tables too (not their keys)."""
    if isinstance(value, str):
        return expand_text(value, environ)
    if isinstance(value, list):
        return [expand(item, environ) for item in value]
    if isinstance(value, dict):
        return {key: expand(item, environ) for key, item in value.items()}
    return value
