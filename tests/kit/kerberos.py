"""A realm of MIT Kerberos for one test session: a real KDC on a free port of loopback, everything it has in a folder.

Nothing of the machine's own Kerberos is read: every command gets this realm's KRB5_CONFIG, and a credential cache
of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.kit.client import free_port
from tests.kit.until import wait_until

REALM: Final = "PORTICO.TEST"
FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin"
PROGRAMS: Final = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "klist")
MISSING: Final = tuple(program for program in PROGRAMS if shutil.which(program, path=FOLDERS) is None)
"""What a machine lacks: the Debian packages krb5-kdc, krb5-admin-server and krb5-user have it."""

_CLIENTS = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
    forwardable = true
    clockskew = {skew}
    udp_preference_limit = 1
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    localhost = {realm}
    .localhost = {realm}
"""
_KDC = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        acl_file = {folder}/acl
        max_life = 10h
        max_renewable_life = 1d
    }}
[logging]
    kdc = FILE:{folder}/kdc.log
    admin_server = FILE:{folder}/kadmin.log
"""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A credential cache, and the environment in which it is used."""

    realm: Realm
    cache: Path

    def environment(self) -> dict[str, str]:
        return self.realm.environment() | {"KRB5CCNAME": f"FILE:{self.cache}"}


class Realm:
    """`with Realm(folder) as realm`: a KDC that answers. `folder` may be one that every user can enter; what is
    secret in it is not readable by them. `skew`: seconds that clocks may differ by."""

    def __init__(self, folder: Path, *, name: str = REALM, skew: int = 300) -> None:
        self.name = name
        self.folder = folder
        self.port = free_port()
        self._config = folder / "krb5.conf"
        self._kdc = folder / "kdc"
        self._process: subprocess.Popen[bytes] | None = None
        self._caches = 0
        self._kdc.mkdir(mode=0o700)
        self._config.write_text(_CLIENTS.format(realm=name, port=self.port, skew=skew))
        self._config.chmod(0o644)
        profile = _KDC.format(realm=name, port=self.port, folder=self._kdc)
        (self._kdc / "kdc.conf").write_text(profile)

    def environment(self) -> dict[str, str]:
        """What a Kerberos program needs to live in this realm, without a ticket."""
        return {"KRB5_CONFIG": str(self._config), "KRB5CCNAME": f"FILE:{self.folder}/nobody-s"}

    def __enter__(self) -> Self:
        self._run("kdb5_util", "-r", self.name, "create", "-s", "-P", "the master key of the tests")
        self._process = subprocess.Popen(
            [_path_of("krb5kdc"), "-n", "-r", self.name],
            env=self._environment_of_kdc(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, "a KDC that answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    # ------------------------------------------------------------------------------------- who there is

    def add_user(self, name: str, password: str) -> None:
        self._admin(f"addprinc -pw {password} {name}")

    def add_service(self, principal: str, *, trusted_for_delegation: bool = True) -> None:
        """With a random key. `trusted_for_delegation`: its tickets carry ok-as-delegate, as AD marks such accounts."""
        flag = "+ok_as_delegate" if trusted_for_delegation else "-ok_as_delegate"
        self._admin(f"addprinc -randkey {flag} {principal}")

    def keytab(self, path: Path, *principals: str) -> Path:
        """A file with the keys as they are now (`-norandkey`), readable by who runs the tests alone."""
        for principal in principals:
            self._admin(f"ktadd -norandkey -k {path} {principal}")
        path.chmod(0o600)
        return path

    def change_key(self, principal: str) -> None:
        """From now on tickets are for another key than the one in keytabs written before."""
        self._admin(f"cpw -randkey {principal}")

    def login(self, user: str, password: str, *, forwardable: bool = True, lifetime: str = "1h") -> Ticket:
        """kinit with the password."""
        self._caches += 1
        ticket = Ticket(self, self.folder / f"cache-{self._caches}")
        subprocess.run(
            [_path_of("kinit"), "-f" if forwardable else "-F", "-l", lifetime, f"{user}@{self.name}"],
            env=os.environ | ticket.environment(),
            input=f"{password}\n".encode(),
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=30,
        )
        return ticket

    def without_ticket(self) -> Ticket:
        """The environment of somebody who has not logged in."""
        return Ticket(self, self.folder / "empty")

    # ------------------------------------------------------------------------------------- the KDC

    def _environment_of_kdc(self) -> dict[str, str]:
        return os.environ | self.environment() | {"KRB5_KDC_PROFILE": str(self._kdc / "kdc.conf")}

    def _admin(self, query: str) -> None:
        self._run("kadmin.local", "-r", self.name, "-q", query)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_path_of(program), *arguments],
            env=self._environment_of_kdc(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        # kadmin.local ends with 0 also when a query failed; what it says on the error stream then is the reason.
        said = done.stderr.decode()
        assert done.returncode == 0, said
        assert ": " not in said, said

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the KDC ended at once"
        with socket.socket() as visitor:
            return visitor.connect_ex(("127.0.0.1", self.port)) == 0


def _path_of(program: str) -> str:
    found = shutil.which(program, path=FOLDERS)
    assert found is not None, f"{program} is missing: see MISSING"
    return found
