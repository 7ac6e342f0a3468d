"""Becomes an app: reads the launch order from descriptor 3, builds the environment, execs the command.

Run by supervisord through `launch_main.py` at every start of every app: nothing is imported but os, sys and
marshal (json alone would take as long as all the rest), and ctypes when another user must be become. The pid
stays: supervisord's is the app's.

What goes wrong is one sentence on descriptor 2, the app's log, and an exit status as shells have them.
"""

from __future__ import annotations

import marshal
import os

NOT_FOUND = 127
NOT_EXECUTABLE = 126
NOT_LAUNCHED = 125
"""Any other reason for which the command was not even tried."""

ORDER_FD = 3
LISTENER_FD = 4
"""With `transport = "fd"`: the listening socket, as the plugin lays it out."""

# Where an app sends visitors that came without TLS (UseHttpsRedirection).
_HTTPS_PORT = "ASPNETCORE_ANCM_HTTPS_PORT"

# What lets an ASP.NET Core app call UseIISIntegration by itself.
_ASSEMBLIES = "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES"
_INTEGRATION = "Microsoft.AspNetCore.Server.IISIntegration"

# What .NET pairs by, in its own spelling.
_PAIRED = (
    "ASPNETCORE_PORT",
    "ASPNETCORE_TOKEN",
    "ASPNETCORE_APPL_PATH",
    "ASPNETCORE_IIS_HTTPAUTH",
    "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED",
)

# What tells an app where to listen: the names of the other transports are absent.
_ADDRESS_NAMES = (
    "PORT",
    "HOST",
    "ASPNETCORE_PORT",
    "HTTP_PLATFORM_PORT",
    "PORTICO_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pwd import struct_passwd
    from typing import Any, NoReturn

    Order = dict[str, Any]


class Refused(Exception):
    """The app cannot be launched: the sentence for its log and the exit status."""

    def __init__(self, sentence: str, status: int = NOT_LAUNCHED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status


def main() -> NoReturn:
    try:
        launch(read_order(ORDER_FD))
    except Refused as refused:
        os.write(2, f"portico: {refused.sentence}\n".encode("utf-8", "backslashreplace"))
        os._exit(refused.status)


def read_order(fd: int) -> Order:
    """The launch order that the plugin wrote (`plugin/spawn.py`). Closes `fd`."""
    try:
        with os.fdopen(fd, "rb") as file:
            order: Order = marshal.loads(file.read())
    except (OSError, ValueError, EOFError, TypeError):
        raise Refused(
            "no launch order on descriptor 3: this is started by Portico's supervisord only."
        ) from None
    return order


def launch(order: Order) -> NoReturn:
    # Read with supervisord's rights, where nobody else has laid the way: a file with secrets need not be readable by
    # the app's user.
    environment = build_environment(order, os.environ)
    argv = expand(order["argv"], order)
    if order["fd"] >= 0:
        os.dup2(LISTENER_FD, order["fd"])
        os.close(LISTENER_FD)
    _become(order["user"], order["parent"], environment)
    # After the change of user: the app's folder may be closed to others, root on a network share included.
    try:
        os.chdir(order["directory"])
    except OSError as error:
        raise Refused(f"the folder {order['directory']} cannot be entered: {error.strerror}.") from None
    environment["PWD"] = order["directory"]
    if order["umask"] is not None:
        os.umask(order["umask"])
    _exec(argv, environment)


# ------------------------------------------------------------------------------------------------------------
# Environment


def build_environment(order: Order, inherited: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """What the app finds: inherited, its file, its `environment`, then the variables of Portico itself."""
    environment = {name: value for name, value in inherited.items() if not _is_foreign(name)}
    configured: dict[str, str] = {}
    if order["environment_file"]:
        configured.update(read_environment_file(order["environment_file"], order["user"]))
    configured.update(order["environment"])
    for name in order.get("filled", ()):
        configured[name] = _expand_one(configured[name], _placeholders(order))
    environment.update(configured)
    environment = {name: value for name, value in environment.items() if not _is_misspelt(name)}
    for name in _ADDRESS_NAMES:  # an environment file that says PORT does not know who starts the app
        environment.pop(name, None)
    environment.update(_address(order))
    environment.update(_pairing(order))
    if "ASPNETCORE_URLS" not in configured and order["port"]:
        environment["ASPNETCORE_URLS"] = f"http://{_bracketed(order['host'])}:{order['port']}"
    if "ASPNETCORE_URLS" not in configured and order["socket"]:
        environment["ASPNETCORE_URLS"] = f"http://unix:{order['socket']}"
    if _HTTPS_PORT not in configured and order.get("https_port"):
        environment[_HTTPS_PORT] = str(order["https_port"])
    if _ASSEMBLIES not in configured:
        environment[_ASSEMBLIES] = _with_integration(inherited.get(_ASSEMBLIES, ""))
    if order["shim"]:
        _put_first(environment, "PYTHONPATH", order["shim"], os.pathsep)
    return environment


def _is_foreign(name: str) -> bool:
    """Of another process than the app: supervisord's, systemd's, an outer Portico's."""
    return name.startswith(("SUPERVISOR_", "LISTEN_", "PORTICO_", "HTTP_PLATFORM_")) or name in (
        "ASPNETCORE_PORT",
        "ASPNETCORE_TOKEN",
        "ASPNETCORE_APPL_PATH",
        "ASPNETCORE_URLS",
        _HTTPS_PORT,
        "PORT",
        "HOST",
    )


def _is_misspelt(name: str) -> bool:
    """.NET compares names without regard to case, and of two spellings it may take the other one's value."""
    return name != name.upper() and name.upper() in _PAIRED


def _address(order: Order) -> dict[str, str]:
    if order["socket"]:
        return {"PORTICO_SOCKET": order["socket"]}
    if order["fd"] >= 0:
        # sd_listen_fds(3); the pid stays the same across exec.
        return {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    if not order["port"]:
        return {}
    port = str(order["port"])
    return {
        "PORT": port,
        "HOST": order["host"],
        "ASPNETCORE_PORT": port,
        "HTTP_PLATFORM_PORT": port,
    }


def _pairing(order: Order) -> dict[str, str]:
    schemes = {"PORTICO_AUTHENTICATION": order["schemes"]} if order["schemes"] else {}
    return {
        **schemes,
        "ASPNETCORE_TOKEN": order["token"],
        "ASPNETCORE_APPL_PATH": order["path"],
        "HTTP_PLATFORM_APPL_PATH": order["path"],
        "ASPNETCORE_IIS_HTTPAUTH": order["http_auth"],
        "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "true",
        "PORTICO_PID": str(os.getpid()),
        "PORTICO_NONCE": order["nonce"],
    }


def _with_integration(assemblies: str) -> str:
    """Appended to what is inherited; what the app's own settings say stands as it is, as with ANCM."""
    named = [name for name in assemblies.split(";") if name]
    return ";".join(named if _INTEGRATION in named else [*named, _INTEGRATION])


def _put_first(environment: dict[str, str], name: str, value: str, separator: str) -> None:
    rest = environment.get(name, "")
    environment[name] = value + separator + rest if rest else value


def read_environment_file(path: str, user: str = "") -> dict[str, str]:
    """KEY=VALUE lines; blank lines and `#` lines are skipped; `export ` and one pair of quotes are taken off.

    In double quotes, a backslash keeps its meaning for n, t, backslash and the quote. Nothing is expanded. `user`: the
    app's; "" is who starts it.
    """
    try:
        with open(_open_environment_file(path, user), encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Refused(f"the environment file {path} cannot be read: {reason}.") from None
    return dict(
        pair for number, line in enumerate(lines, 1) for pair in _pairs(line, f"{path}, line {number}")
    )


def _open_environment_file(path: str, user: str) -> int:
    """Raises OSError. Root reads for the app what root alone may read; but an app that lays a link in its folder would
    be given the secrets of others, so what a link of a user's leads to is opened with the rights of the app."""
    entry = _account(user) if user and os.geteuid() == 0 else None
    if entry is None or entry.pw_uid == 0:
        # Who starts the app may read as much himself; a user who is not there is told of later
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    from supervisor_conf import accounts, folders

    try:
        return folders.open_to_read(os.path.abspath(path))
    except folders.StrangersLink:
        with accounts.ActingAs(entry):
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _account(user: str) -> struct_passwd | None:
    """None: there is no such user."""
    from supervisor_conf.accounts import NoSuchUser, account

    try:
        return account(user)
    except NoSuchUser:
        return None


def _pairs(line: str, where: str) -> list[tuple[str, str]]:
    text = line.strip()
    if not text or text.startswith("#"):
        return []
    name, equals, value = text.removeprefix("export ").partition("=")
    name = name.strip()
    if not equals or not name or "\0" in text:
        # The line itself may be a secret.
        raise Refused(f"{where}: expected KEY=VALUE.")
    return [(name, _unquoted(value.strip()))]


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] not in "'\"" or value[-1] != value[0]:
        return value
    inner = value[1:-1]
    if value[0] == "'" or "\\" not in inner:
        return inner
    known = {"n": "\n", "t": "\t", "\\": "\\", '"': '"'}
    parts: list[str] = []
    letters = iter(inner)
    for letter in letters:
        following = next(letters, "") if letter == "\\" else ""
        parts.append(known.get(following, "\\" + following) if letter == "\\" else letter)
    return "".join(parts)


# ------------------------------------------------------------------------------------------------------------
# Command


def expand(argv: list[str], order: Order) -> list[str]:
    """{port} {host} {socket} {fd} in every argument; `{{` and `}}` are braces; others stay as they are."""
    values = _placeholders(order)
    return [_expand_one(argument, values) for argument in argv]


def _placeholders(order: Order) -> dict[str, str]:
    return {
        "port": str(order["port"]) if order["port"] else "",
        "host": order["host"],
        "socket": order["socket"],
        "fd": str(order["fd"]) if order["fd"] >= 0 else "",
    }


def _expand_one(argument: str, values: dict[str, str]) -> str:
    parts: list[str] = []
    at = 0
    while at < len(argument):
        pair = argument[at : at + 2]
        end = argument.find("}", at)
        name = argument[at + 1 : end] if argument[at] == "{" and end > at else ""
        if pair in ("{{", "}}"):
            parts.append(pair[0])
            at += 2
        elif name in values:
            parts.append(values[name])
            at = end + 1
        else:
            parts.append(argument[at])
            at += 1
    return "".join(parts)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _exec(argv: list[str], environment: dict[str, str]) -> NoReturn:
    """As a shell would find it: a name without a slash on the app's own PATH, else relative to its folder."""
    command = argv[0]
    denied = ""
    _let_signals_in()
    for candidate in _candidates(command, environment):
        try:
            os.execve(candidate, argv, environment)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.exists(candidate):
                raise Refused(_missing_interpreter(candidate), NOT_EXECUTABLE) from None
        except PermissionError:
            denied = denied or candidate
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Refused(f"the command {candidate} cannot be run: {reason}.", NOT_EXECUTABLE) from None
    if denied:
        raise Refused(f"the command {denied} may not be executed by this user.", NOT_EXECUTABLE)
    where = f"in {os.getcwd()}" if "/" in command else "on the app's PATH"
    raise Refused(f"the command {command} was not found {where}.", NOT_FOUND)


def _let_signals_in() -> None:
    """What is ignored stays ignored across exec: Python ignores two signals, nohup and a shell's `&` others."""
    import _signal  # type: ignore[import-not-found]  # built in; `signal` would load enum and more

    for number in _signal.valid_signals():
        if _signal.getsignal(number) == _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)


def _candidates(command: str, environment: dict[str, str]) -> list[str]:
    if "/" in command:
        return [command]
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    return [os.path.join(folder or ".", command) for folder in folders]


def _missing_interpreter(candidate: str) -> str:
    return f"the command {candidate} is there, but the interpreter that its first line names is not."


# ------------------------------------------------------------------------------------------------------------
# User


def _become(user: str, parent: int, environment: dict[str, str]) -> None:
    """Another user, with that user's groups and home; and still die with supervisord."""
    if not user or os.geteuid() != 0:
        return
    # Imported before: afterwards the interpreter's folder may be closed to us.
    import ctypes

    from supervisor_conf.accounts import NoSuchUser, account

    libc = ctypes.CDLL(None)
    try:
        entry = account(user)
    except NoSuchUser as error:
        raise Refused(f"{error}.") from None
    try:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise Refused(f"this process may not become the user {user}: {error.strerror}.") from None
    environment.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
    # The kernel forgets PDEATHSIG when the user changes (prctl(2)): set it again, then look who is there.
    set_pdeathsig, sigkill = 1, 9
    libc.prctl(set_pdeathsig, sigkill, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(NOT_LAUNCHED)
