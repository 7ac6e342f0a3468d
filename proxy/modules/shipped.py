"""Where the modules that come with Portico are: the names of `supervisor_conf/module_table.py`, imported when used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SHIPPED: Final[Mapping[str, str]] = {
    "filtering": "proxy.modules.filtering:Filtering",
    "headers": "proxy.modules.headers:Headers",
    "negotiate": "proxy.modules.negotiate:Negotiate",
    "offline": "proxy.modules.offline:Offline",
    "request_id": "proxy.modules.request_id:RequestId",
    "static": "proxy.modules.static:Static",
    "basic": "proxy.modules.basic:Basic",
    "client_certificate": "proxy.modules.client_certificate:ClientCertificate",
}

EXTRAS: Final[Mapping[str, str]] = {"basic": "basic", "client_certificate": "certificates"}
"""What of the package's extras a module needs (`pip install 'portico[basic]'`)."""
