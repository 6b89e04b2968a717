"""The tree's defaults, bounds and cross-checks, apart from how a file is read."""

import pytest
from pydantic import ValidationError

from proxy.core.config import Config

UPSTREAM = {"url": "http://a"}
ROUTE = {"path": "/", "upstream": "a"}


def config(upstream: object = None, **rest: object) -> Config:
    body = {**UPSTREAM, **upstream} if isinstance(upstream, dict) else UPSTREAM
    return Config.model_validate({"upstreams": {"a": body}, "routes": [ROUTE], **rest})


def test_the_defaults_are_the_specifications() -> None:
    upstream = config().upstreams[0]
    assert upstream.name == "a"
    assert (upstream.timeouts.connect, upstream.timeouts.attempt, upstream.timeouts.total) == (1, 3, 10)
    assert (upstream.retry.max_retries, upstream.retry.backoff_ms, upstream.retry.jitter) == (
        3,
        (100, 300, 900),
        "full",
    )
    assert (upstream.retry.budget.ratio, upstream.retry.budget.min_per_second, upstream.retry.budget.window) == (
        0.2,
        10,
        10,
    )
    assert (upstream.breaker.consecutive_failures, upstream.breaker.cooldown) == (5, 10)
    assert (upstream.breaker.probes, upstream.breaker.probe_successes) == (1, 1)
    assert (upstream.retry_body, upstream.max_body) == (1 << 20, 10 << 20)


def test_nothing_changes_after_loading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config().upstreams[0].retry, "max_retries", 9)  # noqa: B010 - mypy refuses it before it can be tried


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("1.2.3.4:5", "1.2.3.4", 5), (":80", "0.0.0.0", 80), ("[::1]:80", "::1", 80), ("localhost:0", "localhost", 0)],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    listen = config(listen=text).listen
    assert (listen.host, listen.port) == (host, port)
    assert config(listen=str(listen)).listen == listen


WRONG = [
    {"retry": {"max_retries": 11}},
    {"retry": {"max_retries": "3"}},
    {"retry": {"max_retries": True}},
    {"retry": {"max_retries": 2.5}},
    {"retry": {"backoff_ms": []}},
    {"retry": {"backoff_ms": [-1]}},
    {"retry": {"backoff_ms": [float("inf")]}},
    {"retry": {"backoff_ms": ["100"]}},
    {"retry": {"budget": {"ratio": float("nan")}}},
    {"breaker": {"consecutive_failures": 0}},
    {"breaker": {"failure_rate": {"threshold": 1.5}}},
    {"breaker": {"failure_rate": {"threshold": 0}}},
    {"breaker": {"failure_rate": {"min_calls": 0}}},
    {"breaker": {"cooldown": "0s"}},
    {"breaker": {"cooldown": 10}},
    {"breaker": {"cooldown": "3m"}},  # longer than max_cooldown
    {"breaker": {"probes": 0}},
    {"timeouts": {"connect": "5s"}},  # longer than attempt
    {"timeouts": {"attempt": "11s"}},  # longer than total
    {"timeouts": {"total": "61m"}},
    {"timeouts": {"total": "9" * 400 + "s"}},
    {"timeouts": {"header": "X Deadline"}},
    {"inject_key": "yes"},
    {"inject_key": 1},
    {"max_concurrency": 0},
    {"unkeyed_idle": "16s"},  # idle connections are not kept for longer than 15 s
    {"unkeyed_idle": -1},
    {"unkeyed_idle": 1},
    {"max_connection_age": "0s"},
    {"max_connection_age": "999ms"},
    {"max_connection_age": None},
    {"max_body": "10 MB of it"},
    {"unknown_status": 500},
    {"url": "ftp://a"},
    {"url": "http://"},
    {"url": "http://u:p@a"},
    {"url": "http://a?x=1"},
    {"url": "http://a#x"},
    {"url": "http://a:99999"},
    {"url": "http://[a"},
    {"name": "b"},
    {"surprise": 1},
]


@pytest.mark.parametrize("upstream", WRONG, ids=str)
def test_an_upstream_out_of_bounds_is_refused(upstream: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(upstream)


@pytest.mark.parametrize(
    "upstream",
    [
        {"retry": {"max_retries": 10}},
        {"retry": {"backoff_ms": [0.5, 0]}},
        {"breaker": {"consecutive_failures": None, "failure_rate": None}},
        {"breaker": {"cooldown": "2m"}},
        {"timeouts": {"connect": "10s", "attempt": "10s"}},
        {"timeouts": {"total": "1h"}},
        {"url": "https://a:8443/base"},
        {"url": "http://[::1]:80"},
    ],
    ids=str,
)
def test_an_upstream_on_the_bound_is_taken(upstream: dict[str, object]) -> None:
    assert config(upstream).upstreams[0].name == "a"


@pytest.mark.parametrize(
    "rest",
    [
        {"listen": "80"},
        {"listen": "a:65536"},
        {"listen": {"host": "a", "port": True}},
        {"admin": {"token": ""}},
        {"redis": {"url": "http://a"}},
        {"redis": {"url": "redis://a:port"}},
        {"redis": {"on_outage": "open_wide"}},
        {"summary": {"window": "9s"}},
        {"log": {"level": "trace"}},
        {"upstreams": {}},
        {"upstreams": {"a b": UPSTREAM}},
        {"upstreams": {"a\n": UPSTREAM}},
        {"upstreams": [{"name": "a", **UPSTREAM}, {"name": "a", **UPSTREAM}]},
        {"routes": []},
        {"routes": [{"path": "x", "upstream": "a"}]},
        {"routes": [{"path": "/?x", "upstream": "a"}]},
        {"routes": [{"path": "/", "upstream": "b"}]},
        {"routes": [ROUTE, ROUTE]},
    ],
    ids=str,
)
def test_a_tree_that_does_not_hold_together_is_refused(rest: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(**rest)


def test_a_password_that_cannot_be_read_as_a_port_is_not_quoted_by_the_check() -> None:
    with pytest.raises(ValidationError) as caught:
        config(redis={"url": "redis://user:s3cr3t"})
    assert "s3cr3t" not in str(caught.value.errors(include_input=False))


def test_the_token_is_hidden_when_printed() -> None:
    assert "s3cr3t" not in repr(config(admin={"token": "s3cr3t"}))
