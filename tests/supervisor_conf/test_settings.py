"""portico.toml as users write it, and Settings between our processes."""

from __future__ import annotations

import dataclasses
import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf import settings as module
from supervisor_conf.reference import reference
from supervisor_conf.setting_table import APP, FRONT
from supervisor_conf.settings import (
    AppSettings,
    FrontSettings,
    InvalidSettings,
    Listen,
    ModuleSettings,
    Settings,
    find_run_directory,
    from_json,
    load_settings,
    settings_for_command,
    to_json,
    without_secrets,
)
from supervisor_conf.tls_settings import CertificateFiles, TlsSettings

ROOT = Path(__file__).parents[2]

SAMPLE = """
[front]
listen  = ["http://127.0.0.1:8080"]
workers = "auto"
run_directory = "run"
user    = ""
drain_limit = 30
trusted_proxies = []
trusted_fields = "auto"
max_request_body = "30MiB"
min_upload_rate = 240
min_download_rate = "240B"
max_header_bytes = "64KiB"
header_timeout = 30
keep_alive_timeout = 75
max_connections = "auto"
max_connections_per_client = 0
access_log = "logs/access.log"
quick_lane = true
forwarded_for_port = false
forwarded = false
via = ""
reload_on_change = false

[apps.shop]
command   = "uvicorn shop.asgi:app"
directory = "."
path      = "/"
hosts     = []
methods   = []
user      = ""
environment = { DJANGO_SETTINGS_MODULE = "shop.settings" }
environment_file = ""
transport = "port"
port      = 0
processes = 1
start     = "on-request"
startup_time_limit     = 120
shutdown_time_limit    = 10
request_timeout        = 120
rapid_fails_per_minute = 10
queue_limit   = 1000
queue_timeout = 0
idle_stop     = 0
ready         = "listen"
warm_up       = []
health        = ""
health_interval = 10
health_failures = 3
tunnel_idle_timeout = 0
require_pairing = false
forward_credentials = false
stdout_log    = "logs/{app}/stdout"
stdout_log_max_bytes = "10MiB"
stdout_log_keep      = 10
startup_error_page   = true
shim          = "auto"
overlap       = true
recycle_after = {}
remote_user_header = ""
"""


def load(folder: Path, text: str, **environ: str) -> Settings:
    file = folder / "portico.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ)


def app_with(folder: Path, text: str, **environ: str) -> AppSettings:
    return load(folder, f'[apps.shop]\ncommand = "serve"\n{text}\n', **environ).apps[0]


def front_with(folder: Path, text: str, **environ: str) -> FrontSettings:
    return load(folder, f'[front]\n{text}\n[apps.shop]\ncommand = "serve"\n', **environ).front


def test_every_key_written_at_its_default_is_the_same_as_none_written(tmp_path: Path) -> None:
    short = """
        [apps.shop]
        command = "uvicorn shop.asgi:app"
        environment = { DJANGO_SETTINGS_MODULE = "shop.settings" }
        """
    assert load(tmp_path, SAMPLE) == load(tmp_path, short)


def test_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, SAMPLE)
    front, shop = settings.front, settings.apps[0]
    assert settings.file == tmp_path / "portico.toml"
    assert front.listen == (Listen("http", host="127.0.0.1", port=8080),)
    assert front.workers == len(os.sched_getaffinity(0))
    assert front.run_directory == tmp_path / "run"
    assert (front.max_request_body, front.max_header_bytes) == (30 * 1024 * 1024, 64 * 1024)
    assert (front.drain_limit, front.header_timeout, front.keep_alive_timeout) == (30.0, 30.0, 75.0)
    assert (shop.name, shop.command, shop.directory) == ("shop", ("uvicorn", "shop.asgi:app"), tmp_path)
    assert shop.environment == (("DJANGO_SETTINGS_MODULE", "shop.settings"),)
    assert shop.environment_file is None
    assert (shop.path, shop.start, shop.ready, shop.shim, shop.port) == (
        "/",
        "on-request",
        "listen",
        "auto",
        0,
    )
    assert (shop.startup_time_limit, shop.shutdown_time_limit, shop.request_timeout) == (120.0, 10.0, 120.0)
    assert shop.stdout_log == str(tmp_path / "logs/shop/stdout")
    assert shop.overlap is True


def test_the_table_has_exactly_the_fields_of_the_dataclasses() -> None:
    front = [field.name for field in dataclasses.fields(FrontSettings)]
    assert [*(key.name for key in FRONT), "modules", "tls"] == front  # tables of their own
    fields = [field.name for field in dataclasses.fields(AppSettings)]
    derived = ["environment_with_port", "modules", "http_auth", "schemes"]
    assert ["name", *(key.name for key in APP), *derived] == fields


def test_the_reference_page_is_up_to_date() -> None:
    made = "python -m supervisor_conf.reference > docs/settings.md"
    assert (ROOT / "docs/settings.md").read_text("utf-8") == reference(), f"make it again: {made}"


@pytest.mark.parametrize("key", [*FRONT, *APP], ids=lambda key: key.name)
def test_the_example_of_every_key_is_a_right_value(tmp_path: Path, key: object) -> None:
    assert key in (*FRONT, *APP)
    name, example = key.name, key.shown_example  # type: ignore[attr-defined]
    text = f"{name} = {example}"
    if key in FRONT:
        front_with(tmp_path, text)
    elif name == "command":
        load(tmp_path, f"[apps.shop]\n{text}\n")
    else:
        app_with(tmp_path, text)


def errors_of(folder: Path, text: str) -> list[str]:
    try:
        load(folder, text)
    except InvalidSettings as problem:
        return [error.sentence for error in problem.errors]
    return []


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ('"90s"', 90),
        ('"2m"', 120),
        ('"1h"', 3600),
        ('"1h30m"', 5400),
        ('"1h 30m"', 5400),
        ('"250ms"', 0.25),
        ('"0.5h"', 1800),
        ('"00:02:00"', 120),
        ('"0.01:00:00"', 3600),
        ('"1.00:00:00"', 86400),
        ('"90"', 90),
    ],
)
def test_durations(tmp_path: Path, written: str, seconds: float) -> None:
    assert app_with(tmp_path, f"request_timeout = {written}").request_timeout == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1", 1),
        ('"64KiB"', 65536),
        ('"10 MiB"', 10 * 1024**2),
        ('"1.5KiB"', 1536),
        ('"2gib"', 2 * 1024**3),
        ('"1TiB"', 1024**4),
        ('"10MB"', 10**7),
        ('"100B"', 100),
        ('"4096"', 4096),
    ],
)
def test_sizes(tmp_path: Path, written: str, size: int) -> None:
    assert front_with(tmp_path, f"max_request_body = {written}").max_request_body == size


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://127.0.0.1:8080", Listen("http", host="127.0.0.1", port=8080)),
        ("http://127.0.0.1:8080/", Listen("http", host="127.0.0.1", port=8080)),
        ("http://0.0.0.0", Listen("http", host="0.0.0.0", port=80)),
        ("http://127.0.0.1:0", Listen("http", host="127.0.0.1", port=0)),
        ("http://[::1]:8080", Listen("http", host="::1", port=8080)),
        ("http://[0:0::1]:8080", Listen("http", host="::1", port=8080)),
        ("http://LocalHost:8080", Listen("http", host="localhost", port=8080)),
        ("unix:/run/shop.sock", Listen("unix", path="/run/shop.sock")),
        ("unix:///run/shop.sock", Listen("unix", path="/run/shop.sock")),
        ("fd:3", Listen("fd", fd=3)),
    ],
)
def test_addresses(tmp_path: Path, written: str, expected: Listen) -> None:
    assert front_with(tmp_path, f'listen = ["{written}"]').listen == (expected,)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080", "unix:/run/a b.sock", "fd:3"])
def test_an_address_may_demand_the_proxy_protocol(tmp_path: Path, address: str) -> None:
    text = f'listen = ["{address}  proxy_protocol", "http://127.0.0.1"]\ntrusted_proxies = ["unix"]'
    demanding, plain = front_with(tmp_path, text).listen
    assert (demanding.url, demanding.proxy_protocol) == (address, True)
    assert not plain.proxy_protocol


def test_the_path_of_a_unix_socket_is_relative_to_the_file(tmp_path: Path) -> None:
    (listen,) = front_with(tmp_path, 'listen = "unix:run/../front.sock"').listen
    assert listen.path == str(tmp_path / "front.sock")
    assert listen.url == f"unix:{tmp_path}/front.sock"


@pytest.mark.parametrize(
    ("written", "argv"),
    [
        ('"uvicorn \'a b\' --x=\\"1 2\\""', ("uvicorn", "a b", "--x=1 2")),
        ('["uvicorn", "a b"]', ("uvicorn", "a b")),
        ('"serve -b {host}:{port}"', ("serve", "-b", "{host}:{port}")),
        ("""["serve", '{{"a": 1}}']""", ("serve", '{{"a": 1}}')),
        ("'serve ${OPTIONS}'", ("serve", "-w", "4")),
        ("""['serve', '${OPTIONS}']""", ("serve", "-w 4")),
        ("'echo $$HOME ${NONE:-}'", ("echo", "$HOME")),
    ],
)
def test_commands(tmp_path: Path, written: str, argv: tuple[str, ...]) -> None:
    settings = load(tmp_path, f"[apps.shop]\ncommand = {written}\n", OPTIONS="-w 4")
    assert settings.apps[0].command == argv


@pytest.mark.parametrize(("transport", "word"), [("unix", "--uds={socket}"), ("fd", "fd://{fd}")])
def test_a_transport_has_a_placeholder_of_its_own(tmp_path: Path, transport: str, word: str) -> None:
    text = f'[apps.shop]\ncommand = ["serve", "{word}"]\ntransport = "{transport}"\n'
    (app,) = load(tmp_path, text).apps
    assert (app.transport, app.command) == (transport, ("serve", word))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${NAME}", "value"),
        ("a${NAME}b${NAME}", "avaluebvalue"),
        ("${NAME:-other}", "value"),
        ("${EMPTY}", ""),
        ("${EMPTY:-other}", "other"),
        ("${NONE:-other words}", "other words"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("%NAME%", "%NAME%"),
    ],
)
def test_expansion(tmp_path: Path, written: str, value: str) -> None:
    app = app_with(tmp_path, f'environment = {{ A = "{written}" }}', NAME="value", EMPTY="")
    assert app.environment == (("A", value),)


def test_numbers_and_truth_values_may_come_from_the_environment(tmp_path: Path) -> None:
    text = 'port = "${PORT}"\nrequire_pairing = "${STRICT}"\nstartup_time_limit = "${LIMIT}"'
    app = app_with(tmp_path, text, PORT="5000", STRICT="true", LIMIT="15")
    assert (app.port, app.require_pairing, app.startup_time_limit) == (5000, True, 15.0)


def test_a_fixed_port_means_no_overlap(tmp_path: Path) -> None:
    assert app_with(tmp_path, "port = 5000").overlap is False
    assert app_with(tmp_path, "port = 5000\noverlap = false").overlap is False


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    app = app_with(tmp_path, 'directory = "a/../b"\nenvironment_file = "c.env"\nstdout_log = "l/{app}"')
    assert app.directory == tmp_path / "b"
    assert app.environment_file == tmp_path / "c.env"
    assert app.stdout_log == str(tmp_path / "l/shop")


def test_hosts_and_paths_are_normalised(tmp_path: Path) -> None:
    app = app_with(tmp_path, 'hosts = ["Shop.Example.", "müller.example", "[::1]"]\npath = "/shop/"')
    assert app.hosts == ("shop.example", "xn--mller-kva.example", "::1")
    assert app.path == "/shop"


def test_apps_that_differ_in_host_path_or_method_live_together(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        [apps.a]
        command = "x"
        [apps.b]
        command = "x"
        methods = ["POST"]
        [apps.c]
        command = "x"
        hosts = ["c.example"]
        [apps.d]
        command = "x"
        path = "/d"
        """,
    )
    assert [app.name for app in settings.apps] == ["a", "b", "c", "d"]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + SAMPLE).apps


def test_the_listen_option_takes_the_place_of_the_key(tmp_path: Path) -> None:
    file = tmp_path / "portico.toml"
    file.write_text('[front]\nlisten = "nonsense"\n[apps.shop]\ncommand = "x"\n')
    settings = load_settings(file, {}, ["http://[::1]:81", "fd:4"])
    assert settings.front.listen == (Listen("http", host="::1", port=81), Listen("fd", fd=4))


def test_the_run_directory_is_found_whatever_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "portico.toml"
    file.write_text('[front]\nrun_directory = "r"\nworkers = "${NOT_SET}"\nnonsense = 1\n')
    assert find_run_directory(file, {}) == tmp_path / "r"


def test_settings_of_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "My shop"
    settings = settings_for_command(
        ["serve", "$HOME", "a b"], folder, {}, ["http://127.0.0.1:0"], run_directory=tmp_path / "r"
    )
    (app,) = settings.apps
    assert settings.file is None
    assert settings.front.run_directory == tmp_path / "r"
    assert settings.front.listen == (Listen("http", host="127.0.0.1", port=0),)
    assert (app.name, app.command, app.directory) == ("My-shop", ("serve", "$HOME", "a b"), folder)
    assert app.stdout_log == "-"
    assert app.startup_time_limit == 120.0


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("all", "app-all"),
        ("portico-x", "app-portico-x"),
        ("a.b c", "a-b-c"),
        ("", "app"),
        ("é", "-"),
        ("A", "A"),
    ],
)
def test_names_made_from_folders(folder: str, name: str) -> None:
    assert settings_for_command(["x"], Path("/", folder), {}).apps[0].name == name


def test_an_environment_is_in_no_repr(tmp_path: Path) -> None:
    assert "geheim" not in repr(load(tmp_path, '[apps.a]\ncommand = "x"\nenvironment = { KEY = "geheim" }\n'))


def test_workers_are_not_told_the_secrets_of_apps(tmp_path: Path) -> None:
    settings = load(tmp_path, SAMPLE)
    text = to_json(without_secrets(settings))
    assert "DJANGO_SETTINGS_MODULE" not in text
    assert "uvicorn" not in text
    assert from_json(text).front == settings.front


# ------------------------------------------------------------------------------------------------------------
# JSON

TEXT = st.text(st.characters(codec=None, exclude_characters="\0"), max_size=12)
PATHS = st.builds(
    lambda parts: Path("/", *parts), st.lists(st.text(string.ascii_letters + " é%;#", min_size=1), max_size=3)
)
SECONDS = st.floats(0, 10**6)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
MODULES = st.builds(ModuleSettings, TEXT, TEXT)
CERTIFICATES = st.lists(st.builds(CertificateFiles, PATHS, PATHS), max_size=2).map(tuple)
TLS = st.builds(
    TlsSettings, CERTIFICATES, st.integers(), TEXT, TEXT, st.none() | PATHS,
    *(st.integers(), st.integers(), SECONDS, st.booleans(), st.booleans()),
)  # fmt: skip
LISTENS = st.builds(Listen, st.sampled_from(["http", "unix", "fd"]), TEXT, st.integers(), TEXT, st.integers())


def strategy(annotation: str) -> st.SearchStrategy[object]:
    return {
        "str": TEXT,
        "int": st.integers(),
        "bool": st.booleans(),
        "float": SECONDS,
        "Path": PATHS,
        "Path | None": st.none() | PATHS,
        "tuple[str, ...]": TEXTS,
        "tuple[tuple[str, str], ...]": PAIRS,
        "tuple[tuple[str, float], ...]": st.lists(st.tuples(TEXT, SECONDS), max_size=3).map(tuple),
        "tuple[ModuleSettings, ...]": st.lists(MODULES, max_size=2).map(tuple),
        "TlsSettings | None": st.none() | TLS,
        "tuple[Listen, ...]": st.lists(LISTENS, max_size=3).map(tuple),
    }[annotation]


def built(kind: type) -> st.SearchStrategy[object]:
    return st.builds(kind, **{field.name: strategy(field.type) for field in dataclasses.fields(kind)})


@given(st.none() | PATHS, built(FrontSettings), st.lists(built(AppSettings), max_size=2).map(tuple))
def test_json_is_read_back_exactly(
    file: Path | None, front: FrontSettings, apps: tuple[AppSettings, ...]
) -> None:
    settings = Settings(file, front, apps)
    text = to_json(settings)
    assert text.isascii()
    assert "\n" not in text
    assert from_json(text) == settings


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"front": {}, "apps": [], "file": null}'])
def test_json_of_another_making_is_refused(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        module.from_json(text)
