"""What the README says to type and to configure exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from proxy.edges.config_file import load
from proxy.edges.environment import REDIS_PARTS, VARIABLES
from proxy.web.openapi import document as openapi
from tests.test_packaging import ROOT, make_targets

README = (ROOT / "README.md").read_text()
PROVIDERS = {"FLAKY_PAYMENT_FAILURE_RATE"}
PATHS = set(openapi("0", [])["paths"])


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_configuration_it_shows_is_the_one_in_force(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    path = tmp_path / "config.yaml"
    path.write_text(block)
    assert load(path, {}) == load(ROOT / "config.yaml", {})
    assert yaml.safe_load(block)


def test_every_make_target_it_names_exists() -> None:
    named = set(
        re.findall(r"`?\bmake ([a-z]+)", " ".join([*blocks("sh"), *re.findall(r"`([^`]*make [^`]*)`", README)]))
    )
    assert named
    assert named <= make_targets()


def test_every_path_of_the_control_plane_it_names_exists() -> None:
    named = set(re.findall(r"`(?:GET |POST )?(/(?:api|metrics|healthz|readyz)[^`]*)`", README))
    named |= {url for url in re.findall(r"http://127\.0\.0\.1:300\d(/\S*)", README) if "/breakers/" not in url}
    assert named - {"/api/payment"} <= PATHS
    assert {"/api/status", "/metrics", "/readyz"} <= named


def test_every_variable_of_the_environment_is_named() -> None:
    example = (ROOT / ".env.example").read_text()
    known = {*VARIABLES, *REDIS_PARTS, *PROVIDERS}
    named = set(
        re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", README.partition("The environment wins")[2].partition("\n## ")[0])
    )
    assert named == known
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == known


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize(
    "name", ["README.md", "CHANGELOG.md", "Makefile", "requirements.lock", "Dockerfile", "docker-compose.yml"]
)
def test_nothing_names_this_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"/(?:home|root|Users|work)/\S+|index-url|find-links", text) == []
