"""Makefile, lock, image and Compose file fit the project they carry."""

from __future__ import annotations

import asyncio
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from demo.store import start_store
from proxy.core.durability import Warnings, warnings_of
from proxy.edges.redis_client import connect
from proxy.edges.redis_inspector import RedisInspector

ROOT = Path(__file__).parents[1]
TARGETS = {"bench", "check", "clean", "demo", "help", "lock", "mutants", "prove", "sdk", "test"}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def requirements() -> list[str]:
    found = project()
    return [*found["dependencies"], *found["optional-dependencies"]["dev"]]


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")


def test_make_has_its_targets_and_help_tells_of_each() -> None:
    assert make_targets() == TARGETS


def test_the_lock_pins_everything_the_project_asks_for_and_nothing_by_url() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    pin = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+(; .+)?")
    assert [line for line in lines if not pin.fullmatch(line)] == []
    pinned = {name_of(line.partition("==")[0]) for line in lines}
    assert {name_of(requirement) for requirement in requirements()} - pinned == set()


def test_the_changelog_gives_a_reason_for_every_dependency() -> None:
    text = (ROOT / "CHANGELOG.md").read_text().lower()
    assert [
        name for requirement in project()["dependencies"] if f"`{(name := name_of(requirement))}`" not in text
    ] == []


def test_the_continuous_check_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make check" in script.read_text()


def test_the_image_needs_no_frontend_from_a_registry_and_no_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "syntax=" not in text
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 2
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text


def test_what_the_image_copies_is_let_in() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {f"!{name}" for words in copied for name in words.split()} <= set(ignored)


def test_compose_runs_two_replicas_behind_ports_of_their_own_once_what_they_need_is_healthy() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"redis", "mock-provider", "proxy-1", "proxy-2"}
    assert [services[name]["ports"] for name in ("proxy-1", "proxy-2")] == [["3000:3000"], ["3001:3000"]]
    for name in ("proxy-1", "proxy-2"):
        needs = {on: how["condition"] for on, how in services[name]["depends_on"].items()}
        assert needs == {"redis": "service_healthy", "mock-provider": "service_healthy"}
    for service in services.values():
        assert service["stop_grace_period"] == "40s"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_compose_runs_a_store_that_keeps_the_ledger() -> None:
    """Its own flags, given to a real server, leave nothing to warn about."""
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    redis = document["services"]["redis"]
    command = redis["command"][-1]
    flags = dict(re.findall(r"--(save|appendonly|appendfsync|maxmemory-policy|dir) (\S+)", command))
    assert flags.pop("dir") == "/data"
    assert redis["volumes"] == ["redis-data:/data"]
    assert "redis-data" in document["volumes"]
    server = start_store(extra={f"--{name}": value.strip('"') for name, value in flags.items()})
    try:
        assert asyncio.run(_warnings(server.url)) == ()
    finally:
        server.stop()


async def _warnings(url: str) -> Warnings:
    client = connect(url, 2.0)
    try:
        return warnings_of(await RedisInspector(client, 2.0).facts())
    finally:
        await client.aclose()


def test_every_file_the_package_reads_is_packaged() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["proxy"]
    packaged = {path for pattern in table for path in (ROOT / "proxy").glob(pattern)}
    data = {path for path in (ROOT / "proxy").rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert data - packaged == set()
