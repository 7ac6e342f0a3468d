"""How each known server is made to bind our address, whatever the app asked for, and to guard what it serves there.

One function a module of a server, called right after that module was executed and before anybody has names of it
(`PATCHES`, at the end). A server that does not get the address is left as it is, guard and all. On our address
a server speaks plain HTTP: TLS ends at the front.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import partial, wraps
from importlib import import_module
from pathlib import Path

from backend_shim.asgi import AsgiGuard
from backend_shim.autoload.adapters import ADAPTERS
from backend_shim.autoload.claim import Claim, Hold, listener_for
from backend_shim.autoload.rsgi import RsgiGuard
from backend_shim.guard import guard, wsgi_guard
from backend_shim.pairing import HOST, Pairing
from backend_shim.wsgi import WsgiGuard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from backend_shim.pairing import Address

HOLD = "_portico_hold"  # attribute of a server (or its settings) that has our address
NEVER_THE_APP = ("prometheus_client",)  # packages whose servers start early and are never what visitors want


def held(owner: Any) -> bool:
    """Has this server our address?"""
    return isinstance(getattr(owner, HOLD, None), Hold)


def take(owner: Any, claim: Claim, inherited: bool = False) -> bool:
    """True if `owner` has our address, from before or from now on."""
    if not held(owner):
        setattr(owner, HOLD, claim.take(inherited))
    return held(owner)


def address_of(claim: Claim) -> Address:
    """For servers that hold it."""
    address = claim.pairing.address
    assert address is not None
    return address


# ------------------------------------------------------------------------------------------------------------------
# uvicorn


def uvicorn_config(module: Any, claim: Claim) -> None:
    """Claimed where the settings are made: long before the app is imported, which may open servers of its own."""
    cls = module.Config
    init, load = cls.__init__, cls.load

    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if take(self, claim):
            address = address_of(claim)
            self.host, self.port = HOST, address.port
            self.uds = address.path or None
            self.fd = address.fd if address.fd >= 0 else None
            self.ssl_keyfile = self.ssl_certfile = self.ssl_context_factory = None

    @wraps(load)
    def loaded(self: Any) -> None:
        load(self)
        if held(self):
            self.loaded_app = guard(self.loaded_app, claim.pairing)

    cls.__init__, cls.load = __init__, loaded


def uvicorn_server(module: Any, claim: Claim) -> None:
    """`server.run(sockets=[...])`: sockets that the app has bound elsewhere are closed. Workers and the reloader's
    child get theirs from a parent that had our address."""
    cls = module.Server
    startup = cls.startup

    @wraps(startup)
    async def started(self: Any, sockets: list[socket.socket] | None = None) -> Any:
        took_it_here = held(self.config) and getattr(self.config, HOLD).pid == os.getpid()
        if took_it_here and sockets and not any(claim.owns(each) for each in sockets):
            for each in sockets:
                each.close()
            sockets = None
        return await startup(self, sockets=sockets)

    cls.startup = started


# ------------------------------------------------------------------------------------------------------------------
# gunicorn


def gunicorn_config(module: Any, claim: Claim) -> None:
    """The master asks for `address`; a re-exec'd one (USR2) has its sockets from its predecessor."""
    cls = module.Config
    own_address, own_is_ssl = cls.address.fget, cls.is_ssl.fget
    inherited = "GUNICORN_FD" in os.environ  # gone from there before the last time the address is asked for

    def address(self: Any) -> Any:
        if not take(module, claim, inherited):
            return own_address(self)
        ours = address_of(claim)
        if ours.fd >= 0:
            # Nobody's, or gunicorn adopts descriptor 3 a second time; and there, for a re-exec'd master is paired too.
            os.environ["LISTEN_PID"] = "0"
            return [] if inherited else [ours.fd]
        return [ours.path or (HOST, ours.port)]

    def is_ssl(self: Any) -> Any:
        return False if held(module) else own_is_ssl(self)

    cls.address, cls.is_ssl = property(address), property(is_ssl)


def gunicorn_app(module: Any, claim: Claim) -> None:
    """Every worker class, uvicorn's too, asks here for the application."""
    cls = module.BaseApplication
    own_wsgi = cls.wsgi

    @wraps(own_wsgi)
    def wsgi(self: Any) -> Any:
        app = own_wsgi(self)
        return guard(app, claim.pairing) if held(sys.modules.get("gunicorn.config")) else app

    cls.wsgi = wsgi


# ------------------------------------------------------------------------------------------------------------------
# hypercorn


def hypercorn_config(module: Any, claim: Claim) -> None:
    cls = module.Config
    own_create_sockets = cls.create_sockets

    @wraps(own_create_sockets)
    def create_sockets(self: Any) -> Any:
        if take(self, claim):
            address = address_of(claim)
            where = f"unix:{address.path}" if address.path else f"{HOST}:{address.port}"
            self.bind = [f"fd://{address.fd}" if address.fd >= 0 else where]
            self.certfile = self.keyfile = None
        return own_create_sockets(self)

    cls.create_sockets = create_sockets


def hypercorn_run(module: Any, claim: Claim) -> None:
    """`worker_serve` of asyncio and of trio: where every way of starting hypercorn ends."""
    own_worker_serve = module.worker_serve

    @wraps(own_worker_serve)
    async def worker_serve(app: Any, config: Any, **kwargs: Any) -> Any:
        if held(config) if kwargs.get("sockets") is not None else take(config, claim):
            app = _HypercornApp(app, claim)
        return await own_worker_serve(app, config, **kwargs)

    module.worker_serve = worker_serve


class _HypercornApp:
    """Hypercorn calls its own wrapper of an app with two more arguments, for WSGI apps' threads."""

    def __init__(self, app: Any, claim: Claim) -> None:
        self.app = app
        self.claim = claim

    async def __call__(self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> Any:
            return await self.app(scope, receive, send, sync_spawn, call_soon)

        return await guard(app, self.claim.pairing)(scope, receive, send)


# ------------------------------------------------------------------------------------------------------------------
# waitress


def waitress_server(module: Any, claim: Claim) -> None:
    """Guarded outside waitress' own middleware, which would have removed the forwarded fields."""
    own_create_server = module.create_server

    @wraps(own_create_server)
    def create_server(application: Any, *args: Any, **kwargs: Any) -> Any:
        hold = claim.take()
        if hold is None:
            return own_create_server(application, *args, **kwargs)
        for name in ("host", "port", "listen", "sockets", "unix_socket"):
            kwargs.pop(name, None)
        address = address_of(claim)
        if address.port:
            kwargs["listen"] = f"{HOST}:{address.port}"
        elif address.path:
            kwargs["unix_socket"] = address.path
        else:
            kwargs["sockets"] = [listener_for(address)]
        server = own_create_server(application, *args, **kwargs)
        server.application = guard(server.application, claim.pairing)
        setattr(server, HOLD, hold)
        return server

    module.create_server = create_server


# ------------------------------------------------------------------------------------------------------------------
# granian


def granian_common(module: Any, claim: Claim) -> None:
    """The listening is done in Rust by the workers; master and workers get address and app from this object."""
    _granian_server(module, module.AbstractServer, claim)


def granian_one(module: Any, claim: Claim) -> None:
    """Granian 1; in 2 the name belongs to a package without such a class."""
    if hasattr(module, "Granian"):
        _granian_server(module, module.Granian, claim)


def _granian_server(module: Any, cls: Any, claim: Claim) -> None:
    own_serve, own_shared_socket = cls.serve, cls._init_shared_socket

    @wraps(own_serve)
    def serve(
        self: Any, spawn_target: Any = None, target_loader: Any = None, wrap_loader: bool = True
    ) -> Any:
        if _granian_address(self, claim):
            if target_loader is None:
                from inspect import signature

                known = signature(module.load_target).parameters
                options = {
                    "wd": getattr(self, "working_dir", None),
                    "factory": getattr(self, "factory", False),
                }
                target_loader = partial(
                    module.load_target,
                    self.target,
                    **{name: value for name, value in options.items() if name in known},
                )
            elif wrap_loader:
                target_loader = partial(target_loader, self.target)
            wrap_loader = False
            target_loader = partial(_granian_load, target_loader, _granian_interface(self))
        return own_serve(self, spawn_target, target_loader, wrap_loader)

    @wraps(own_shared_socket)
    def shared_socket(self: Any) -> Any:
        if not held(self) or address_of(claim).fd < 0:
            return own_shared_socket(self)
        # What granian does for sockets it makes: the workers are given this.
        self._sfd = address_of(claim).fd
        with socket.socket(fileno=os.dup(self._sfd)) as listener:
            is_unix = listener.family == socket.AF_UNIX
        self._ssp, self._shd = (
            None,
            import_module("granian.net").SocketHolder(self._sfd, is_unix, self.backlog),
        )

    cls.serve, cls._init_shared_socket = serve, shared_socket


def granian_embed(module: Any, claim: Claim) -> None:
    """`granian.server.embed`: the app is an object, served by the process that has it."""
    cls = module.Server
    own_serve = cls.serve

    @wraps(own_serve)
    async def serve(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _granian_address(self, claim):
            self.target = _granian_guard(self.target, _granian_interface(self), claim.pairing)
        return await own_serve(self, *args, **kwargs)

    cls.serve = serve


def _granian_address(server: Any, claim: Claim) -> bool:
    if not take(server, claim):
        return False
    address = address_of(claim)
    server.bind_addr, server.bind_port = HOST, address.port
    server.bind_uds = Path(address.path) if address.path else None  # granian 2
    server.ssl_ctx = (False, *server.ssl_ctx[1:])
    return True


def _granian_interface(server: Any) -> str:
    """Granian takes a word for its enum of words."""
    return str(getattr(server.interface, "value", server.interface))


def _granian_load(loader: Callable[[], Any], interface: str) -> Any:
    """Runs in the worker; picklable, for workers that are not forked."""
    pairing = Pairing.from_environ()
    return loader() if pairing is None else _granian_guard(loader(), interface, pairing)


def _granian_guard(app: Any, interface: str, pairing: Pairing) -> Any:
    if interface == "rsgi":
        return RsgiGuard(app, pairing)
    return (WsgiGuard if interface == "wsgi" else AsgiGuard)(app, pairing)


# ------------------------------------------------------------------------------------------------------------------
# werkzeug (`flask run`, `app.run()`, `run_simple`)


def werkzeug_serving(module: Any, claim: Claim) -> None:
    cls = module.BaseWSGIServer
    init = cls.__init__
    from inspect import signature

    parameters = signature(init)

    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        call = parameters.bind(self, *args, **kwargs)
        given = call.arguments.get("fd")
        if given is not None:  # the reloader's parent has bound
            ours = _is_ours(given, claim) and take(self, claim, inherited=True)
        else:
            ours = take(self, claim)
            if ours:
                call.arguments.update(_werkzeug_address(address_of(claim)))
        if ours:
            call.arguments["ssl_context"] = None
        init(*call.args, **call.kwargs)
        if ours:
            self.app = guard(self.app, claim.pairing)

    cls.__init__ = __init__


def _is_ours(fd: int, claim: Claim) -> bool:
    with socket.socket(fileno=os.dup(fd)) as listener:
        return claim.owns(listener)


def _werkzeug_address(address: Address) -> dict[str, Any]:
    if address.path:
        return {"host": f"unix://{address.path}", "port": 0}
    if address.fd >= 0:
        return {"host": HOST, "port": 0, "fd": address.fd}
    return {"host": HOST, "port": address.port}


# ------------------------------------------------------------------------------------------------------------------
# wsgiref, and Django's runserver, whose server is a subclass


def wsgiref_server(module: Any, claim: Claim) -> None:
    cls = module.WSGIServer
    own_get_app = cls.get_app

    def __init__(self: Any, server_address: Any, handler: Any, *args: Any, **kwargs: Any) -> None:
        packages = {base.__module__.partition(".")[0] for base in type(self).__mro__}
        if packages.intersection(NEVER_THE_APP) or not take(self, claim):
            super(cls, self).__init__(server_address, handler, *args, **kwargs)
            return
        address = address_of(claim)
        self.address_family = socket.AF_INET
        if address.port:
            super(cls, self).__init__((HOST, address.port), handler, *args, **kwargs)
        else:
            super(cls, self).__init__((HOST, 0), handler, bind_and_activate=False)
            _adopt(self, listener_for(address))

    @wraps(own_get_app)
    def get_app(self: Any) -> Any:
        app = own_get_app(self)
        return wsgi_guard(app, claim.pairing) if held(self) else app

    cls.__init__, cls.get_app = __init__, get_app


def _adopt(server: Any, listener: socket.socket) -> None:
    """`http.server` knows only host and port."""
    server.socket.close()
    server.socket = listener
    server.server_address = (HOST, 0)
    server.server_name, server.server_port = "localhost", 80
    server.setup_environ()
    server.get_request = lambda: (listener.accept()[0], (HOST, 0))


PATCHES: dict[str, Callable[[Any, Claim], None]] = {
    "uvicorn.config": uvicorn_config,
    "uvicorn.server": uvicorn_server,
    "gunicorn.config": gunicorn_config,
    "gunicorn.app.base": gunicorn_app,
    "hypercorn.config": hypercorn_config,
    "hypercorn.asyncio.run": hypercorn_run,
    "hypercorn.trio.run": hypercorn_run,
    "waitress.server": waitress_server,
    "granian.server": granian_one,
    "granian.server.common": granian_common,
    "granian.server.embed": granian_embed,
    "werkzeug.serving": werkzeug_serving,
    "wsgiref.simple_server": wsgiref_server,
    **ADAPTERS,
}
