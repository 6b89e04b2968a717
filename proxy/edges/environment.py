"""The environment laid over the file's settings. Owns the table of variables, not what a setting may be.

An empty variable counts as unset. A variable that cannot be read becomes a problem, and the file's value stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proxy.core.config import Breaker
from proxy.core.units import parse_duration
from proxy.edges.problems import MASK, Keys, Override, complaint, masked_url, quote
from proxy.edges.redis_url import from_parts
from proxy.edges.yaml_file import Tree

SECRETS = frozenset({"REDIS_PASSWORD", "HOLDFAST_ADMIN_TOKEN", "HOLDFAST_LEDGER_SECRET"})
REDIS_PARTS = ("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD")
DEFAULT_UPSTREAM = "provider"
DEFAULT_ROUTE = "/api/payment"
MAX_PORT = 65535

Edits = list[tuple[Keys, object]]


@dataclass(slots=True)
class Laid:
    """The settings with the environment over them, where each came from, and what could not be read."""

    tree: Tree
    overrides: list[Override] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lay(self, variable: str, text: str, edits: Callable[[str, Tree], Edits]) -> None:
        """Lay one variable over the tree."""
        try:
            found = edits(text, self.tree)
        except ValueError as error:
            self.problems.append(complaint(f"environment {variable}", shown(variable, text), str(error)))
            return
        for path, value in found:
            self.tree = put(self.tree, path, value)
            self.overrides.append(Override(variable, path, value, shown(variable, text)))


def lay_over(tree: Tree, environ: Mapping[str, str]) -> Laid:
    """The tree with every variable of the table laid over it."""
    laid = Laid(tree)
    for variable, edits in VARIABLES.items():
        if text := _text(environ, variable):
            laid.lay(variable, text, edits)
    if not _text(environ, "REDIS_URL"):
        _lay_redis_parts(laid, environ)
    return laid


def _text(environ: Mapping[str, str], variable: str) -> str:
    text = environ.get(variable, "")
    text = text if variable in SECRETS else text.strip()
    # Kubernetes sets REDIS_PORT=tcp://ADDRESS:PORT in every pod beside a service called "redis"; nobody meant us.
    return "" if variable == "REDIS_PORT" and text.startswith("tcp://") else text


def shown(variable: str, text: str) -> str:
    """The variable's text as an error may quote it."""
    if variable in SECRETS:
        return MASK
    return quote(masked_url(text) if variable == "REDIS_URL" else text) or ""


def put(tree: Tree, path: Keys, value: object) -> Tree:
    """A copy with `value` at `path`. Where no mapping stands in between the tree stays: validation will tell."""
    key = str(path[0])
    if len(path) == 1:
        return {**tree, key: value}
    below = tree.get(key, {})
    return {**tree, key: put(below, path[1:], value)} if isinstance(below, dict) else tree


def whole(text: str, low: int, high: int | None = None) -> int:
    """The whole number in `text`, from `low` to `high`."""
    # 18 digits: more than any setting needs, and int() of thousands of them is slow on purpose
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None  # noqa: PLR2004
    if number is None or number < low or (high is not None and number > high):
        bounds = f"of {low} or more" if high is None else f"from {low} to {high}"
        raise ValueError(f"expected a whole number {bounds}")
    return number


def _upstreams(tree: Tree) -> dict[str, Tree]:
    upstreams = tree.get("upstreams")
    if not isinstance(upstreams, dict):
        return {}
    return {name: body for name, body in upstreams.items() if isinstance(body, dict)}


def _every_upstream(tree: Tree, *keys: str, value: object) -> Edits:
    return [(("upstreams", name, *keys), value) for name in _upstreams(tree)]


def _upstream_url(text: str, tree: Tree) -> Edits:
    names = list(_upstreams(tree))
    if len(names) > 1:
        raise ValueError(
            f"the file has several upstreams ({', '.join(names)}), and this can only be the URL of one: "
            "unset it and set upstreams.NAME.url"
        )
    if names:
        return [(("upstreams", names[0], "url"), text)]
    edits: Edits = [(("upstreams", DEFAULT_UPSTREAM, "url"), text)]
    if "routes" not in tree:
        edits.append((("routes",), [{"path": DEFAULT_ROUTE, "upstream": DEFAULT_UPSTREAM}]))
    return edits


def _upstream_profile(text: str, tree: Tree) -> Edits:
    names = list(_upstreams(tree))
    if len(names) > 1:
        raise ValueError(
            f"the file has several upstreams ({', '.join(names)}), and this can only be the profile of one: "
            "unset it and set upstreams.NAME.profile"
        )
    return _every_upstream(tree, "profile", value=text)


def _port(text: str, tree: Tree) -> Edits:
    port = whole(text, 0, MAX_PORT)
    listen = tree.get("listen")
    if isinstance(listen, dict):
        return [(("listen", "port"), port)]
    host = listen.rpartition(":")[0] if isinstance(listen, str) else ""
    return [(("listen",), f"{host}:{port}")]


def _redis_url(text: str, _: Tree) -> Edits:
    return [(("redis", "url"), None if text.lower() in {"none", "off"} else text)]


def _backoff(text: str, tree: Tree) -> Edits:
    try:
        steps = [whole(step.strip(), 0) for step in text.split(",")]
    except ValueError:
        raise ValueError("expected milliseconds separated by commas, like 100,300,900") from None
    return _every_upstream(tree, "retry", "backoff_ms", value=steps)


def _cooldown(text: str, tree: Tree) -> Edits:
    cooldown = f"{whole(text, 1)}ms"
    edits = _every_upstream(tree, "breaker", "cooldown", value=cooldown)
    for name, upstream in _upstreams(tree).items():
        if _max_cooldown(upstream) < parse_duration(cooldown):
            edits.append((("upstreams", name, "breaker", "max_cooldown"), cooldown))
    return edits


def _max_cooldown(upstream: Tree) -> float:
    breaker = upstream.get("breaker")
    if not isinstance(breaker, dict) or "max_cooldown" not in breaker:
        return Breaker().max_cooldown
    try:
        return parse_duration(breaker["max_cooldown"])
    except ValueError:
        return float("inf")  # not ours to mend: validation will tell


def _lay_redis_parts(laid: Laid, environ: Mapping[str, str]) -> None:
    given = {variable: text for variable in REDIS_PARTS if (text := _text(environ, variable))}
    for variable, text in given.items():
        laid.lay(variable, text, _redis_part(variable))


def _redis_part(variable: str) -> Callable[[str, Tree], Edits]:
    def edits(text: str, tree: Tree) -> Edits:
        redis = tree.get("redis")
        base = redis.get("url") if isinstance(redis, dict) else None
        if variable == "REDIS_PORT":
            whole(text, 1, MAX_PORT)
        part = variable.removeprefix("REDIS_").lower()
        return [(("redis", "url"), from_parts(base if isinstance(base, str) else None, **{part: text}))]

    return edits


VARIABLES: dict[str, Callable[[str, Tree], Edits]] = {
    "UPSTREAM_URL": _upstream_url,  # first: the rest is laid over every upstream there is
    "UPSTREAM_PROFILE": _upstream_profile,
    "PORT": _port,
    "LOG_LEVEL": lambda text, _: [(("log", "level"), text.lower())],
    "REDIS_URL": _redis_url,
    "PAYMENT_MAX_RETRIES": lambda text, tree: _every_upstream(tree, "retry", "max_retries", value=whole(text, 0)),
    "PAYMENT_BACKOFF_MS": _backoff,
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD": lambda text, tree: _every_upstream(
        tree, "breaker", "consecutive_failures", value=whole(text, 1)
    ),
    "CIRCUIT_BREAKER_COOLDOWN_MS": _cooldown,
    "HOLDFAST_ADMIN_TOKEN": lambda text, _: [(("admin", "token"), text)],
    "HOLDFAST_LEDGER_SECRET": lambda text, _: [(("ledger", "secret"), text)],
}
