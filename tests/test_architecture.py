"""The layers of the project, walked import by import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMPURE = {
    "aiohttp",
    "aiosignal",
    "asyncio",
    "httptools",
    "logging",
    "os",
    "pathlib",
    "prometheus_client",
    "random",
    "redis",
    "secrets",
    "selectors",
    "socket",
    "ssl",
    "structlog",
    "subprocess",
    "threading",
    "time",
    "uuid",
    "yaml",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for package in ("proxy", "mock_provider") for path in (ROOT / package).rglob("*.py")}


def imports(module: str) -> Iterator[str]:
    """Everything a module imports anywhere in it, `from a import b` as a.b where that is a module, else as a."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


IMPORTS = {module: frozenset(imports(module)) for module in MODULES}


def within(name: str, *packages: str) -> bool:
    """Whether a module is one of `packages` or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def modules(*packages: str) -> list[str]:
    return sorted(module for module in MODULES if within(module, *packages))


def breaches(importers: list[str], *forbidden: str) -> list[str]:
    return [f"{one} imports {name}" for one in importers for name in sorted(IMPORTS[one]) if within(name, *forbidden)]


def test_the_walk_sees_the_code() -> None:
    assert {"proxy.core.breaker", "proxy.gate", "proxy.edges.redis_store", "proxy.web.payments"} <= set(MODULES)
    assert "proxy.core.breaker" in IMPORTS["proxy.gate"]


@pytest.mark.parametrize("module", modules("proxy.core"))
def test_the_core_is_pure(module: str) -> None:
    assert breaches([module], *IMPURE) == []


@pytest.mark.parametrize("module", modules("proxy.core"))
def test_the_core_knows_nothing_around_it(module: str) -> None:
    assert [name for name in IMPORTS[module] if within(name, "proxy") and not within(name, "proxy.core")] == []


@pytest.mark.parametrize("module", modules("proxy.core"))
def test_the_core_asks_no_clock(module: str) -> None:
    source = MODULES[module].read_text()
    asked = [call for call in ("datetime.now(", "datetime.utcnow(", "date.today(", "datetime.today(") if call in source]
    assert asked == []


ALLOWED = {
    "proxy.ports": ("proxy.core",),
    "proxy.breaker_view": ("proxy.core", "proxy.ports"),
    "proxy.gate": ("proxy.core", "proxy.ports", "proxy.breaker_view"),
    "proxy.failover": ("proxy.core", "proxy.ports"),
    "proxy.recovery": ("proxy.core", "proxy.ports"),
    "proxy.bookkeeper": ("proxy.core", "proxy.ports", "proxy.recovery"),
    "proxy.story": ("proxy.core",),
    "proxy.telling": ("proxy.core",),
    "proxy.pause": ("proxy.ports",),
    "proxy.followup": ("proxy.core", "proxy.ports", "proxy.pause"),
    "proxy.forward": (
        *("proxy.core", "proxy.ports", "proxy.bookkeeper", "proxy.story", "proxy.telling", "proxy.followup"),
        *("proxy.gate", "proxy.pause"),
    ),
    "proxy.resend": (*("proxy.core", "proxy.ports", "proxy.story", "proxy.followup", "proxy.gate", "proxy.forward"),),
    "proxy.fleet": ("proxy.core", "proxy.ports", "proxy.gate", "proxy.failover"),
    "proxy.runtime": (
        *("proxy.core", "proxy.ports", "proxy.gate", "proxy.failover", "proxy.forward", "proxy.fleet"),
        "proxy.bookkeeper",
    ),
}


@pytest.mark.parametrize("module", ALLOWED)
def test_the_corridor_imports_only_from_rows_above(module: str) -> None:
    assert [name for name in IMPORTS[module] if within(name, "proxy") and not within(name, *ALLOWED[module])] == []


@pytest.mark.parametrize("module", ALLOWED)
def test_the_corridor_knows_no_library_of_the_outside(module: str) -> None:
    assert breaches([module], *(IMPURE - {"asyncio"})) == []


def test_edges_know_only_core_and_ports() -> None:
    ours = modules("proxy.edges")
    bad = [
        f"{one} imports {name}"
        for one in ours
        for name in sorted(IMPORTS[one])
        if within(name, "proxy") and not within(name, "proxy.core", "proxy.ports", "proxy.edges") and name != "proxy"
    ]
    assert bad == []


def test_web_does_not_know_the_edges_nor_who_composes_it() -> None:
    assert breaches(modules("proxy.web"), "proxy.edges", "proxy.app", "proxy.serve", "proxy.cli") == []


def test_only_the_composition_root_knows_the_edges() -> None:
    knowing = {one for one in MODULES if breaches([one], "proxy.edges") and not within(one, "proxy.edges")}
    assert knowing <= {"proxy.app", "proxy.serve", "proxy.cli"}


def test_proxy_and_mock_provider_share_only_http() -> None:
    assert breaches(modules("mock_provider"), "proxy") == []
    assert breaches(modules("proxy"), "mock_provider", "demo", "tests", "bench") == []


def test_there_is_no_import_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail[trail.index(module) :], module))
        if module in done:
            return
        for name in sorted(IMPORTS[module]):
            if name in MODULES:
                visit(name, (*trail, module))
        done.add(module)

    for module in sorted(MODULES):
        visit(module, ())
    assert done == set(MODULES)
