"""What a web.config is read as: files of one section, and the corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supervisor_conf.module_settings import ModuleSettings
from supervisor_conf.module_table import SHIPPED
from supervisor_conf.setting_kinds import Place
from supervisor_conf.webconfig import WebConfig, read_web_config

CORPUS = Path(__file__).resolve().parents[1] / "corpus-webconfig"
CASES = sorted(CORPUS.glob("*.config"))
ENVIRON = {"HOME": "/home/shop", "PATH": "/usr/bin", "JAVA_HOME": "/opt/java", "USERNAME": "ann"}
FILE = Path("/srv/shop/web.config")


def section(inside: str = "", name: str = "aspNetCore", **attributes: str) -> bytes:
    """A file with one section; `processPath` is «serve» if it is not given."""
    words = " ".join(f'{key}="{value}"' for key, value in ({"processPath": "serve"} | attributes).items())
    text = f"<configuration><system.webServer>\n<{name} {words}>{inside}</{name}>\n</system.webServer></configuration>"
    return text.encode()


def variables(*pairs: tuple[str, str]) -> str:
    entries = "".join(f'<environmentVariable name="{name}" value="{value}" />' for name, value in pairs)
    return f"<environmentVariables>{entries}</environmentVariables>"


def read(content: bytes, environ: dict[str, str] | None = None, file: Path = FILE) -> WebConfig:
    return read_web_config(content, file, ENVIRON if environ is None else environ)


def good(content: bytes, environ: dict[str, str] | None = None) -> WebConfig:
    found = read(content, environ)
    assert not found.errors, [error.sentence for error in found.errors]
    return found


def error_of(content: bytes, environ: dict[str, str] | None = None) -> str:
    found = read(content, environ)
    assert len(found.errors) == 1, [error.sentence for error in found.errors]
    return found.errors[0].sentence


def warnings_of(content: bytes, environ: dict[str, str] | None = None) -> list[str]:
    return [warning.error.sentence for warning in good(content, environ).warnings]


def handler_setting(name: str, value: str) -> str:
    return f'<handlerSettings><handlerSetting name="{name}" value="{value}" /></handlerSettings>'


def with_handlers(*adds: str) -> bytes:
    inside = f"<handlers>{''.join(adds)}</handlers></system.webServer>"
    return section().replace(b"</system.webServer>", inside.encode(), 1)


def handler(path: str = "*", verb: str = "*", name: str = "a", modules: str = "AspNetCoreModuleV2") -> str:
    return f'<add name="{name}" path="{path}" verb="{verb}" modules="{modules}" />'


def limits(attributes: str) -> bytes:
    inside = f"<security><requestFiltering><requestLimits {attributes} /></requestFiltering></security>"
    return section().replace(b"</system.webServer>", f"{inside}</system.webServer>".encode(), 1)


def said_of_module(module: ModuleSettings) -> dict[str, Any]:
    """Options that are not what the module has by itself."""
    defaults = {key.name: key.kind.convert(key.default, Place(FILE.parent)) for key in SHIPPED[module.use]}
    plain = json.loads(json.dumps(defaults))
    said = {name: value for name, value in module.values().items() if value != plain[name]}
    return {"use": module.use, **said}
