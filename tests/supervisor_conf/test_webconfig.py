"""A web.config becomes Settings: the corpus with its golden readings, and what needs a folder of its own.

Golden files are written anew by `python -m tests.supervisor_conf.test_webconfig`; read their difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supervisor_conf.check import check_machine
from supervisor_conf.conffile import render_supervisord_conf
from supervisor_conf.setting_table import APP
from supervisor_conf.settings import (
    InvalidSettings,
    Settings,
    find_run_directory,
    from_json,
    load_settings,
    settings_for_command,
    to_json,
    without_secrets,
)
from supervisor_conf.webconfig import read_web_config
from supervisor_conf.webconfig_xml import LARGEST
from tests.kit.webconfig_readings import (
    CASES,
    CORPUS,
    ENVIRON,
    FILE,
    limits,
    said_of_module,
    section,
    variables,
)


def golden(path: Path) -> Path:
    return path.with_suffix(".json")


def reading(content: bytes) -> dict[str, Any]:
    """All that a file says, in JSON's types; the errors alone where there are some."""
    found = read_web_config(content, FILE, ENVIRON)
    errors = [error.sentence.removeprefix(f"{FILE}") for error in found.errors]
    warnings = [warning.error.sentence.removeprefix(f"{FILE}") for warning in found.warnings]
    if errors:
        return {"errors": errors, "warnings": warnings}
    front = {name: value for name, value in found.front.items() if name != "reload_on_change"}
    whole = json.dumps({"app": dict(found.app), "front": front}, default=said_of_module)
    made: dict[str, Any] = json.loads(whole)
    return {"name": found.name, **made, "warnings": warnings}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_corpus_is_read_as_its_golden_files_say(path: Path) -> None:
    assert reading(path.read_bytes()) == json.loads(golden(path).read_text())


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_bad_files_are_refused_and_others_are_not(path: Path) -> None:
    assert ("errors" in json.loads(golden(path).read_text())) == path.stem.startswith("bad-")


def load(folder: Path, content: bytes = section(), listen: tuple[str, ...] = ()) -> Settings:
    folder.mkdir(exist_ok=True)
    (folder / "web.config").write_bytes(content)
    return load_settings(folder / "web.config", ENVIRON, listen)


def test_settings_are_those_of_a_command_but_for_what_the_file_says(tmp_path: Path) -> None:
    folder = tmp_path / "my shop"
    found = load(folder, section(stdoutLogEnabled="true", startupTimeLimit="7"))
    (app,) = found.apps
    (other,) = settings_for_command(["serve"], folder, ENVIRON).apps
    assert app.name == "my-shop"
    assert (app.directory, app.startup_time_limit) == (folder, 7)
    assert app.stdout_log == str(folder / "aspnetcore-stdout")
    different = {name for name in (key.name for key in APP) if getattr(app, name) != getattr(other, name)}
    assert different == {"startup_time_limit", "stdout_log"}
    assert found.file == folder / "web.config"
    assert found.front.run_directory == folder / "run" == find_run_directory(folder / "web.config", ENVIRON)
    assert [one.url for one in found.front.listen] == ["http://127.0.0.1:8080"]
    assert found.front.reload_on_change is True


def test_the_longest_body_is_the_fronts(tmp_path: Path) -> None:
    assert load(tmp_path, limits('maxAllowedContentLength="12345"')).front.max_request_body == 12345


def test_listen_of_the_command_line(tmp_path: Path) -> None:
    assert [one.port for one in load(tmp_path, listen=("http://127.0.0.1:9000",)).front.listen] == [9000]
    with pytest.raises(InvalidSettings, match="--listen"):
        load(tmp_path, listen=("nowhere",))


def test_settings_go_between_processes_and_to_workers_without_secrets(tmp_path: Path) -> None:
    pairs = (("SECRET", "s3cr3t"), ("WITH_PORT", "%HTTP_PLATFORM_PORT%"))
    found = load(tmp_path, section(variables(*pairs), hostingModel="inprocess"))
    assert found.warnings
    assert from_json(to_json(found)) == found
    assert "s3cr3t" not in repr(found)
    for_workers = to_json(without_secrets(found))
    assert "s3cr3t" not in for_workers
    assert "WITH_PORT" not in for_workers


def test_a_port_that_the_front_has_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(tmp_path, section(variables(("ASPNETCORE_PORT", "8080"))))
    (error,) = caught.value.errors
    assert error.line == 2
    assert error.key.endswith('environmentVariable[@name="ASPNETCORE_PORT"]/@value')
    assert "8080, which [front] listen has already" in error.sentence


def test_errors_and_warnings_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    content = (CORPUS / "bad-values.config").read_bytes()
    with pytest.raises(InvalidSettings) as caught:
        load(tmp_path, content)
    lines = [error.line for error in caught.value.errors]
    assert lines == sorted(lines)
    assert all(error.file == str(tmp_path / "web.config") for error in caught.value.errors)


def test_a_file_that_is_not_there_or_too_long(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        load_settings(tmp_path / "web.config", ENVIRON)
    with pytest.raises(InvalidSettings, match="No such file"):
        find_run_directory(tmp_path / "web.config", ENVIRON)
    with pytest.raises(InvalidSettings, match="at most 250 KiB"):
        load(tmp_path, b" " * (LARGEST + 1))
    endless = tmp_path / "endless.config"
    endless.symlink_to("/dev/zero")
    with pytest.raises(InvalidSettings, match="at most 250 KiB"):
        load_settings(endless, ENVIRON)


def test_the_machine_is_looked_at_with_places_of_the_file(tmp_path: Path) -> None:
    found = load(tmp_path, section(processPath="no-such-program", hostingModel="inprocess"))
    sentences = [str(one) for one in check_machine(found, ENVIRON, addresses=False)]
    assert sentences[0].startswith("warning: ")
    assert "@hostingModel" in sentences[0]
    assert any(":2: configuration/system.webServer/aspNetCore/@processPath: read" in one for one in sentences)
    assert not any("apps." in one or "front." in one for one in sentences)


def test_the_plugin_is_told_the_file(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert f"config = {tmp_path}/web.config" in render_supervisord_conf(found, include=True)


def write_golden_files() -> None:
    for path in CASES:
        text = json.dumps(reading(path.read_bytes()), indent=2, ensure_ascii=False)
        golden(path).write_text(f"{text}\n")


if __name__ == "__main__":
    write_golden_files()
