"""The keeper's watch on certificates: what is renewed is handed out, what does not fit is refused and said once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import structlog

from supervisor_conf.certificates import Bundle
from supervisor_conf.control.messages import CertificatesRenewed, NewCertificates, Say
from supervisor_conf.keeper.certificates import PATIENCE, Certificates
from supervisor_conf.tls_settings import CertificateFiles, TlsSettings
from tests.kit.certificates import Authority, Pair


class Worker:
    """Keeps what it is sent, as a control connection would carry it."""

    def __init__(self) -> None:
        self.bundles: list[Bundle] = []

    def send(self, message: object, descriptor: int) -> None:
        assert isinstance(message, NewCertificates)
        with open(descriptor, "rb") as file:
            file.seek(0)
            self.bundles.append(Bundle.from_bytes(file.read()))


class Scene:
    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.pair = self.authority.issue("a.example", file="a")
        self.workers = [Worker(), Worker()]
        self.told: list[Any] = []
        self.settings = self.settings_of(self.pair)
        self.watch = self.new_keeper()
        self.now = 1000.0

    @staticmethod
    def settings_of(pair: Pair) -> TlsSettings:
        files = (CertificateFiles(pair.certificate, pair.key),)
        return TlsSettings(files, 0, "1.2", "off", None, 0, 0, 0, False, False)

    def new_keeper(self) -> Certificates:
        return Certificates(
            self.settings,
            lambda: self.workers,  # type: ignore[arg-type, return-value]
            self.told.append,
            structlog.get_logger(),
        )

    def look(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.watch.look(self.now)

    def fresh(self) -> Pair:
        return self.authority.issue("a.example", file="fresh")

    def renew(self) -> None:
        fresh = self.fresh()
        os.replace(fresh.certificate, self.pair.certificate)
        os.replace(fresh.key, self.pair.key)

    def shown(self) -> list[list[str]]:
        return [[one.certificates[0].pem for one in worker.bundles] for worker in self.workers]

    @property
    def on_disk(self) -> str:
        return self.pair.certificate.read_text() + "\n" + self.pair.key.read_text()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def same(pem: str, on_disk: str) -> bool:
    return "".join(pem.split()) == "".join(on_disk.split())


def test_nothing_is_said_while_nothing_changes(scene: Scene) -> None:
    for _ in range(3):
        scene.look()
    os.utime(scene.pair.certificate)  # touched, and the same
    scene.look()
    assert scene.shown() == [[], []]
    assert scene.told == []


def test_a_renewed_pair_goes_to_every_worker_and_the_plugin_is_told(scene: Scene) -> None:
    scene.renew()
    scene.look()
    scene.look()
    assert [len(one) for one in scene.shown()] == [1, 1]
    assert same(scene.shown()[0][0], scene.on_disk)
    assert scene.told == [CertificatesRenewed()]


def test_a_certificate_before_its_key_is_waited_for(scene: Scene) -> None:
    fresh = scene.fresh()
    os.replace(fresh.certificate, scene.pair.certificate)
    scene.look(PATIENCE - 1)
    scene.look(PATIENCE - 1)
    assert scene.told == []
    os.replace(fresh.key, scene.pair.key)
    scene.look()
    assert scene.told == [CertificatesRenewed()]
    assert same(scene.shown()[0][0], scene.on_disk)


def test_a_pair_that_does_not_fit_is_refused_once_in_a_sentence_and_the_next_one_taken(scene: Scene) -> None:
    os.replace(scene.fresh().certificate, scene.pair.certificate)
    for _ in range(5):
        scene.look(PATIENCE)
    (said,) = scene.told
    assert isinstance(said, Say)
    assert "the old one stays: front.tls.key: read " in said.text
    assert scene.shown() == [[], []]
    scene.renew()
    scene.look()
    assert scene.told[1:] == [CertificatesRenewed()]


def test_a_link_that_leads_elsewhere_is_a_change(scene: Scene, tmp_path: Path) -> None:
    """As in a Secret of Kubernetes: the file of the settings, itself a link, stays as it is; a folder's name moves."""
    live = tmp_path / "live"
    live.mkdir()
    for number in ("1", "2"):
        made = scene.fresh()
        (live / number).mkdir()
        shutil.move(made.certificate, live / number / "tls.pem")
        shutil.move(made.key, live / number / "tls.key")
    (live / "data").symlink_to("1")
    for name in ("tls.pem", "tls.key"):
        (live / name).symlink_to(f"data/{name}")
    scene.pair = Pair(live / "tls.pem", live / "tls.key")
    scene.watch.change(scene.settings_of(scene.pair))
    scene.look()
    assert scene.told == []
    (live / "next").symlink_to("2")
    os.replace(live / "next", live / "data")
    scene.look()
    assert same(scene.shown()[1][0], scene.on_disk)


def test_a_worker_is_given_what_is_good_when_it_comes(scene: Scene) -> None:
    late = Worker()
    scene.watch.welcome(late)  # type: ignore[arg-type]
    assert len(late.bundles) == 1
    scene.renew()
    scene.look()
    scene.watch.welcome(late)  # type: ignore[arg-type]
    assert same(late.bundles[-1].certificates[0].pem, scene.on_disk)


def test_a_keeper_that_comes_back_to_what_cannot_be_used_says_nothing_to_workers(scene: Scene) -> None:
    os.replace(scene.fresh().certificate, scene.pair.certificate)
    scene.watch = scene.new_keeper()
    late = Worker()
    scene.watch.welcome(late)  # type: ignore[arg-type]
    assert late.bundles == []
    scene.renew()
    scene.look()
    assert [len(one) for one in scene.shown()] == [1, 1]


def test_a_reload_looks_at_once_also_at_what_was_refused(scene: Scene) -> None:
    scene.renew()
    scene.watch.change(scene.settings)
    assert [len(one) for one in scene.shown()] == [1, 1]
    scene.watch.change(None)
    scene.look()
    scene.watch.welcome(Worker())  # type: ignore[arg-type]
    assert scene.told == [CertificatesRenewed()]


def test_a_file_that_is_gone_for_a_moment_is_no_change(scene: Scene, tmp_path: Path) -> None:
    os.rename(scene.pair.key, tmp_path / "away")
    scene.look()
    os.rename(tmp_path / "away", scene.pair.key)
    scene.look()
    scene.look(PATIENCE * 2)
    assert scene.told == []
