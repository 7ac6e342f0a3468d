"""The files supervisord and supervisorctl read: golden files, and read by supervisor itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from supervisor import options as supervisor_options

import supervisor_conf
from supervisor_conf.conffile import (
    minimum_descriptors,
    render_supervisorctl_conf,
    render_supervisord_conf,
)
from supervisor_conf.settings import Settings, load_settings

GOLDEN = Path(__file__).with_name("golden")
PACKAGE = str(Path(supervisor_conf.__file__).parent)
# What a folder may be called: everything but what `run_directory.obstacle` refuses
FOLDERS = [
    "plain",
    "with blank",
    "100%",
    "%(here)x",
    "a;b",
    "a#b",
    "it's",
    'quo"te',
    "back\\slash",
    "é",
    "$HOME",
    "=x",
    "[x]",
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def settings_in(folder: Path) -> Settings:
    file = folder / "portico.toml"
    file.write_text(
        """
        [front]
        workers = 2
        drain_limit = 12.5
        [apps.shop]
        command = "serve % ; # secret words of the user"
        environment = { SECRET = "of the user" }
        shutdown_time_limit = 7.2
        [apps.quiet]
        command = "serve"
        path = "/quiet"
        stdout_log = ""
        """
    )
    return load_settings(file, {})


def neutral(text: str, folder: Path) -> str:
    return text.replace(str(folder), "FOLDER").replace(PACKAGE, "PACKAGE")


@pytest.mark.parametrize("name", ["supervisord.conf", "include.conf", "supervisorctl.conf"])
def test_golden(settings: Settings, tmp_path: Path, name: str) -> None:
    made = {
        "supervisord.conf": lambda: render_supervisord_conf(settings, python="/venv/bin/python"),
        "include.conf": lambda: render_supervisord_conf(settings, python="/venv/bin/python", include=True),
        "supervisorctl.conf": lambda: render_supervisorctl_conf(settings),
    }[name]()
    assert neutral(made, tmp_path) == (GOLDEN / name).read_text()


def read_by_supervisord(conf: Path) -> Any:
    options = supervisor_options.ServerOptions()
    options.realize(["-n", "-c", str(conf)])
    assert options.parse_warnings == []
    return options


def programs(options: Any) -> dict[str, Any]:
    return {
        f"{group.name}:{process.name}": process
        for group in options.process_group_configs
        for process in group.process_configs
    }


@pytest.fixture
def without_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins are looked up while the file is read; that they can be imported is tested elsewhere."""
    monkeypatch.setattr(supervisor_options, "import_spec", lambda spec: spec)


@pytest.mark.usefixtures("without_factory")
@pytest.mark.parametrize("name", FOLDERS)
def test_supervisord_reads_the_very_paths(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    run = folder / "run"
    run.mkdir(parents=True)
    python = str(folder / "python")
    conf = run / "supervisord.conf"
    conf.write_text(render_supervisord_conf(settings_in(folder), python=python), encoding="utf-8")
    options = read_by_supervisord(conf)
    assert options.logfile == str(run / "supervisord.log")
    assert options.pidfile == str(run / "supervisord.pid")
    assert options.childlogdir == str(run)
    assert [server["file"] for server in options.server_configs] == [str(run / "supervisor.sock")]
    found = programs(options)
    keeper, front = found["portico-keeper:portico-keeper"], found["portico-front:1"]
    assert shlex.split(keeper.command) == [python, "-P", "-m", "supervisor_conf.keeper", str(run)]
    assert shlex.split(front.command) == [python, "-P", "-m", "proxy", str(run)]
    assert keeper.stdout_logfile == str(run / "portico-keeper.log")
    assert front.stdout_logfile == str(run / "portico-front-1.log")
    ctl = supervisor_options.ClientOptions()
    ctl.realize(["-c", str(conf), "status"])
    assert ctl.serverurl == f"unix://{run}/supervisor.sock"


@pytest.mark.usefixtures("without_factory")
def test_what_supervisord_makes_of_the_programs(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    conf = tmp_path / "run/supervisord.conf"
    conf.write_text(render_supervisord_conf(settings))
    options = read_by_supervisord(conf)
    found = programs(options)
    assert sorted(found) == [
        "portico-front:0",
        "portico-front:1",
        "portico-keeper:portico-keeper",
        "quiet:quiet",
        "shop:shop",
    ]
    assert options.nodaemon
    assert options.silent
    assert options.minfds == minimum_descriptors(settings)
    for config in found.values():
        # SUPERVISOR_SERVER_URL would tell every child where supervisord can be commanded
        assert config.serverurl == ""
        assert config.environment == {}
        assert config.redirect_stderr
    shop, front = found["shop:shop"], found["portico-front:0"]
    assert (shop.autostart, shop.autorestart, shop.startsecs, shop.startretries) == (False, False, 0, 0)
    assert (shop.stopwaitsecs, shop.stopasgroup, shop.killasgroup) == (8, True, True)
    assert shop.stdout_logfile is None
    assert front.autostart
    assert front.stopwaitsecs > 12.5
    priorities = [
        found[name].priority for name in ("portico-keeper:portico-keeper", "shop:shop", "portico-front:0")
    ]
    assert priorities == sorted(set(priorities))


def test_nothing_a_user_wrote_but_paths_gets_into_the_files(settings: Settings) -> None:
    for text in (render_supervisord_conf(settings), render_supervisorctl_conf(settings)):
        assert "secret words" not in text
        assert "of the user" not in text


@pytest.mark.usefixtures("without_factory")
def test_the_included_part_goes_into_a_foreign_supervisord(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "portico.conf").write_text(render_supervisord_conf(settings, include=True))
    conf = tmp_path / "theirs.conf"
    conf.write_text(
        "[supervisord]\nnodaemon = true\n[include]\nfiles = portico.conf\n[program:theirs]\ncommand = sleep 1\n"
    )
    options = read_by_supervisord(conf)
    assert {"theirs:theirs", "shop:shop", "portico-front:0"} <= set(programs(options))
    ((name, factory, extras),) = options.rpcinterface_factories
    assert (name, factory) == ("portico", "supervisor_conf.plugin.rpc:make")
    assert extras == {"config": str(tmp_path / "portico.toml")}


def test_descriptors_grow_with_the_processes(settings: Settings) -> None:
    alone = Settings(settings.file, settings.front, settings.apps[:1])
    assert minimum_descriptors(alone) < minimum_descriptors(settings)
