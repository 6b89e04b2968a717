"""Answers of our own: which status and outcome, always JSON, always with id, outcome, attempts and stop hint."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.core.events import TurnFailed
from tests.dataplane.client import Reply
from tests.dataplane.rig import OK, Rig, proxied, replica
from tests.edges.hostile import (
    Peer,
    Server,
    answering_then_eof,
    answering_then_hanging,
    eof_after_reading,
    hang,
    refused_port,
    reset_after_reading,
)

SHORT = {"connect": "50ms", "attempt": "100ms", "total": "400ms"}
POST = b"POST /api/payment HTTP/1.1\r\nHost: shop\r\nX-Request-Id: r\r\n\r\n"
OWN_KEY = POST.replace(b"X-R", b"Idempotency-Key: k\r\nX-R")
GET = POST.replace(b"POST", b"GET")


def told(reply: Reply) -> tuple[int, str, str, int]:
    """What an answer of ours says; Reply.problem checks that body and fields agree."""
    document = reply.problem()
    assert document["request_id"] == "r"
    return reply.status, document["outcome"], document["error"], document["attempts"]


@pytest.mark.parametrize("where", ["forward", "claim", "_send", "settle"])
async def test_an_exception_anywhere_is_a_500_unknown_that_is_counted_and_logged(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Never `not_sent`: by then the first byte may have gone out."""

    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    async with proxied() as rig:
        forwarder = rig.runtime.forwarders["mock"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forwarder, where, bug)
            async with rig.client() as client:
                reply = await client.ask(POST)
        document = reply.problem()
        assert (reply.status, document["outcome"], document["error"]) == (500, "unknown", "proxy_internal_error")
        (finished,) = await rig.finished()
        assert (finished.status, finished.outcome, finished.request_id) == (500, "unknown", "r")
        assert (finished.route, finished.upstream) == ("/api/payment", "mock")
        told_by_the_corridor = [event.cause for event in rig.recorder.of(TurnFailed)]
        assert "a bug" in caplog.text or told_by_the_corridor[0].startswith("ZeroDivisionError at ")
        assert (await rig.ask(rig.request())).status == 200


async def test_a_refused_connection_is_a_502_with_nothing_sent() -> None:
    async with replica(Server(refused_port())) as rig:
        assert told(await rig.ask(POST)) == (502, "not_sent", "connection_refused", 4)
        (finished,) = await rig.finished()
        assert (finished.status, finished.outcome, finished.error) == (502, "not_sent", "connection_refused")


async def test_a_name_that_does_not_resolve_is_a_502() -> None:
    upstream = {"url": "http://nowhere.invalid", "retry": {"max_retries": 0}}
    async with replica(Server(1), **upstream) as rig:
        assert told(await rig.ask(POST)) == (502, "not_sent", "dns_error", 1)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (reset_after_reading, "connection_terminated"),
        (eof_after_reading, "connection_terminated"),
        (answering_then_eof(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123"), "http_response_incomplete"),
        (
            answering_then_eof(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123"),
            "http_response_incomplete",
        ),
        (answering_then_eof(b"junk\r\n\r\n"), "http_protocol_error"),
        (
            answering_then_eof(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "http_protocol_error",
        ),
    ],
)
async def test_a_write_without_an_answer_is_504_where_its_client_has_a_key_and_424_where_not(
    script: object, error: str
) -> None:
    async with proxied(script) as rig:  # type: ignore[arg-type]
        assert told(await rig.ask(OWN_KEY)) == (504, "unknown", error, 4)
        assert told(await rig.ask(POST)) == (424, "unknown", error, 4), "a key of ours protects our own attempts only"
    async with proxied(script, inject_key=False) as rig:  # type: ignore[arg-type]
        assert told(await rig.ask(POST)) == (424, "unknown", error, 1)
        (finished,) = await rig.finished()
        assert (finished.outcome, finished.attempts) == ("unknown", 1)
    async with proxied(script, inject_key=False, unknown_status=504) as rig:  # type: ignore[arg-type]
        assert told(await rig.ask(POST)) == (504, "unknown", error, 1)
    async with proxied(script, profile="none") as rig:  # type: ignore[arg-type]
        reply = await rig.ask(OWN_KEY)
        assert told(reply) == (424, "unknown", error, 1)
        assert b"Idempotency-Key: k\r\n" in rig.provider.arrived[0]


async def test_silence_is_a_timeout() -> None:
    async with proxied(hang, timeouts=SHORT, retry={"max_retries": 1, "backoff_ms": [0]}) as rig:
        assert told(await rig.ask(OWN_KEY)) == (504, "unknown", "http_response_timeout", 2)
        assert told(await rig.ask(GET)) == (504, "unknown", "http_response_timeout", 2)


async def test_the_head_of_a_cut_answer_is_told() -> None:
    cut = b"HTTP/1.1 201 Created\r\nRequest-Id: theirs\r\nContent-Length: 9\r\n\r\n123"
    async with proxied(answering_then_hanging(cut), timeouts=SHORT, inject_key=False) as rig:
        reply = await rig.ask(POST)
        assert told(reply) == (424, "unknown", "http_response_timeout", 1)
        assert (reply.one("X-Upstream-Status"), reply.one("X-Upstream-Request-Id")) == (b"201", b"theirs")


async def trip(rig: Rig) -> None:
    await rig.ask(POST)
    await rig.runtime.forwarders["mock"].gate.flush()


async def test_an_open_breaker_is_a_503_with_a_true_retry_after() -> None:
    breaker = {"consecutive_failures": 1, "cooldown": "30s"}
    async with proxied(eof_after_reading, breaker=breaker, inject_key=False) as rig:
        await trip(rig)
        reply = await rig.ask(POST)
        assert told(reply) == (503, "not_sent", "connection_limit_reached", 0)
        assert 1 <= int(reply.one("Retry-After")) <= 33
        assert len(rig.provider.peers) == 1


async def test_head_is_told_by_its_fields_alone() -> None:
    async with proxied(eof_after_reading, breaker={"consecutive_failures": 1}, retry={"max_retries": 0}) as rig:
        await trip(rig)
        async with rig.client() as client:
            for _ in range(2):
                reply = await client.ask(POST.replace(b"POST", b"HEAD"), bodiless=True)
                assert (reply.status, reply.one("X-Payment-Outcome")) == (503, b"not_sent")


async def test_too_many_at_once_is_a_503() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def hold(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await go.wait()
        await peer.send(OK)

    async with proxied(hold, max_concurrency=1) as rig, rig.client() as first:
        await first.send(POST)
        await arrived.wait()
        reply = await rig.ask(POST)
        assert told(reply) == (503, "not_sent", "connection_limit_reached", 0)
        assert reply.one("Retry-After") == b"1"
        go.set()
        assert (await first.reply()).status == 200


async def test_a_refusal_in_the_middle_of_an_upload_leaves_the_connection_usable() -> None:
    async with replica(Server(refused_port()), retry_body=10) as rig, rig.client() as client:
        body = b"x" * 200_000
        for _ in range(2):
            await client.send(POST[:-2] + b"Content-Length: 200000\r\n\r\n" + body)
            assert told(await client.reply()) == (502, "not_sent", "connection_refused", 1)


async def test_a_refusal_before_the_corridor_speaks_the_providers_language_too() -> None:
    async with proxied(OK, profile="stripe", max_body=4, retry_body=4) as rig:
        reply = await rig.ask(POST.replace(b"X-R", b"Content-Length: 9\r\nX-R"))
        assert (reply.status, reply.one("X-Payment-Outcome"), reply.one("Request-Id")) == (413, b"not_sent", b"r")
        assert json.loads(reply.body)["error"]["type"] == "api_error"
        assert rig.provider.arrived == []
