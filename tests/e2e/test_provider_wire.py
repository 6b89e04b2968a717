"""The wire to the provider, with a replica as a process: names, dead connections, odd answers, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import ssl
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import redis

from demo.store import StoreServer, free_port
from tests.certificates import write_certificate
from tests.e2e.rig import HOST, ROOT, Process, Rig, until
from tests.edges.hostile import OK, Peer, Server, answering, blackhole, listening, serving
from tests.edges.test_last_words import refusing

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = """
import json, pathlib, socket, time
known, real = pathlib.Path(__file__).with_name("names.json"), socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    names = json.loads(known.read_text())
    if host not in names:
        return real(host, *rest, **more)
    if names[host] is None:
        time.sleep(3600)
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", tuple(address)) for address in names[host]]
socket.getaddrinfo = getaddrinfo
"""
"""The system's resolver as a replica sees it: names lead where names.json says, and hang where it says null."""

QUIET = {"consecutive_failures": None, "failure_rate": None}


async def replica_of(
    rig: Rig, upstreams: Mapping[str, Mapping[str, Any]], *, names: Mapping[str, Any] | None = None, **config: Any
) -> Process:
    """A replica in front of these upstreams, each under a path of its own name; `names` are what they resolve to."""
    routes = [{"path": f"/{name}", "upstream": name, "strip_prefix": True} for name in upstreams]
    port = free_port()
    document = {"listen": f"{HOST}:{port}", "upstreams": upstreams, "routes": routes, **config}
    (rig.folder / "config.yaml").write_text(json.dumps(document))
    (rig.folder / "names.json").write_text(json.dumps(names or {}))
    (rig.folder / "sitecustomize.py").write_text(NAMES)
    environment = {"PORT": str(port), "LOG_LEVEL": "debug", "PYTHONPATH": f"{rig.folder}{os.pathsep}{ROOT}"}
    return await rig.start("replica", port, ["-m", "proxy"], environment, "/readyz")


async def pay(
    rig: Rig, replica: Process, path: str, *, body: bytes = b"{}", key: str | None = None
) -> tuple[int, str, int]:
    """Status, outcome and attempts of one payment."""
    headers = {"Idempotency-Key": key} if key else {}
    async with rig.session.post(replica.url + path, data=body, headers=headers) as answer:
        await answer.read()
        told = answer.headers
        return answer.status, told["X-Payment-Outcome"], int(told["X-Proxy-Attempts"])


def url(provider: Server) -> str:
    return f"http://{HOST}:{provider.port}"


# Reaching it


async def test_one_dead_address_among_several_costs_no_payment(rig: Rig) -> None:
    with blackhole() as first, blackhole() as second:
        async with serving(answering(OK)) as provider:
            addresses = [[HOST, first], [HOST, second], [HOST, provider.port]]
            replica = await replica_of(rig, {"m": {"url": "http://psp.test"}}, names={"psp.test": addresses})
            answers = [await pay(rig, replica, "/m/p") for _ in range(3)]
    assert answers == [(200, "final", 1)] * 3


async def test_a_hung_name_harms_no_other_upstream_and_does_not_hold_up_the_end(rig: Rig) -> None:
    async with serving(answering(OK)) as provider:
        quick = {"timeouts": {"connect": "300ms", "attempt": "500ms", "total": "1s"}, "breaker": QUIET}
        upstreams = {
            "a": {"url": "http://hung.test", **quick},
            "b": {"url": "http://good.test", "profile": "none", "unkeyed_idle": "0s", **quick},
        }
        names = {"hung.test": None, "good.test": [[HOST, provider.port]]}
        replica = await replica_of(rig, upstreams, names=names, drain={"grace": "0s", "timeout": "2s"})
        hanging = [asyncio.create_task(pay(rig, replica, "/a/p", key=f"k{n}")) for n in range(20)]
        answers = [await pay(rig, replica, "/b/p") for _ in range(10)]
        assert answers == [(200, "final", 1)] * 10
        assert len(provider.peers) == 10  # a fresh connection each
        assert {answer[:2] for answer in await asyncio.gather(*hanging)} == {(502, "not_sent")}
        details = {event["detail"] for event in replica.events("attempt.finished") if event["upstream"] == "a"}
        assert details == {"name resolution: not in time"}
        replica.signal(signal.SIGTERM)
        assert await replica.ended(5) == 0


async def test_the_last_good_address_outlives_a_reload_while_the_name_hangs(rig: Rig) -> None:
    async with serving(answering(OK)) as provider:
        names = {"psp.test": [[HOST, provider.port]]}
        replica = await replica_of(rig, {"m": {"url": "http://psp.test", "unkeyed_idle": "0s"}}, names=names)
        assert await pay(rig, replica, "/m/p") == (200, "final", 1)
        (rig.folder / "names.json").write_text(json.dumps({"psp.test": None}))
        replica.signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return bool(replica.events("config.reloaded"))

        await until(reloaded, "a reload")
        assert await pay(rig, replica, "/m/p") == (200, "final", 1)


# Keeping it


async def test_a_connection_is_renewed_at_its_maximum_age(rig: Rig) -> None:
    async with serving(answering(OK)) as provider:
        replica = await replica_of(rig, {"m": {"url": url(provider), "max_connection_age": "1s"}})

        async def moved() -> bool:
            assert await pay(rig, replica, "/m/p", key="k") == (200, "final", 1)
            return len(provider.peers) > 1

        assert await until(moved, "a second connection", 5) > 0.5


async def test_dead_pooled_connections_cost_one_attempt_and_no_more(rig: Rig) -> None:
    together, dead = asyncio.Barrier(8), [False]

    async def script(peer: Peer) -> None:
        old = not dead[0]
        while await peer.request():
            if old and dead[0]:
                await peer.gone()
                return
            if old:
                await together.wait()
            await peer.send(OK)

    async with serving(script) as provider:
        timeouts = {"connect": "500ms", "attempt": "500ms", "total": "10s"}
        replica = await replica_of(rig, {"m": {"url": url(provider), "profile": "generic", "timeouts": timeouts}})
        await asyncio.gather(*[pay(rig, replica, "/m/p", key=f"a{n}") for n in range(8)])
        dead[0] = True
        assert await pay(rig, replica, "/m/p", key="b") == (200, "final", 2)
        assert await pay(rig, replica, "/m/p", key="c") == (200, "final", 1)
        assert len(provider.peers) == 9


async def test_a_host_that_closes_right_after_each_answer_is_learnt(rig: Rig) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.002)
        peer.close()

    async with serving(script) as provider:
        replica = await replica_of(rig, {"m": {"url": url(provider), "profile": "none", "breaker": QUIET}})
        seen = Counter([await pay(rig, replica, "/m/p") for _ in range(150)])
    assert seen[200, "final", 1] >= 135, seen  # before: a third of them unknown


async def test_unkeyed_idle_zero_means_a_fresh_connection_for_each(rig: Rig) -> None:
    async with serving(answering(OK)) as provider:
        upstream = {"url": url(provider), "profile": "none", "unkeyed_idle": "0s"}
        replica = await replica_of(rig, {"m": upstream})
        for _ in range(5):
            assert await pay(rig, replica, "/m/p") == (200, "final", 1)
        assert len(provider.peers) == 5


# Reading it

S, L, BODY = b"HTTP/1.1 201 Created\r\n", b"Content-Length: 5\r\n", b'{"a"}'
READ = {
    "length twice": S + L + L + b"\r\n" + BODY,
    "length in a list": S + b"Content-Length: 5, 5\r\n\r\n" + BODY,
    "space before the colon": S + b"X-Id : 1\r\n" + L + b"\r\n" + BODY,
    "folded field": S + b"X-Id: 1\r\n 2\r\n" + L + b"\r\n" + BODY,
    "padded chunk size": S + b"Transfer-Encoding: chunked\r\n\r\n5  \r\n" + BODY + b"\r\n0\r\n\r\n",
}
REFUSED = {
    "lengths that differ": (S + L + b"Content-Length: 6\r\n\r\n" + BODY, "differing Content-Length"),
    "control byte": (S + b"X-Shop: a\x01b\r\n" + L + b"\r\n" + BODY, "control byte in X-Shop"),
    "bare LF": ((S + L + b"\r\n").replace(b"\r\n", b"\n") + BODY, "bare LF in the head"),
    "another protocol": (
        b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        "switching protocols",
    ),
    "gzip": (S + b"Transfer-Encoding: gzip\r\n\r\n" + BODY, "a transfer coding that nobody undid"),
    "xchunked": (S + b"Transfer-Encoding: xchunked\r\n\r\n" + BODY, "a transfer coding that nobody undid"),
    "gzip, chunked": (
        S + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a transfer coding that nobody undid",
    ),
}


async def test_odd_answers_are_read_or_refused_with_the_reason_in_log_journal_and_answer(
    rig: Rig, own_store: StoreServer
) -> None:
    store = own_store
    answers = [*READ.values(), *(raw for raw, _ in REFUSED.values())]

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            await peer.send(answers[int(request.split(b" ")[1][1:])])

    async with serving(script) as provider:
        replica = await replica_of(
            rig, {"m": {"url": url(provider), "profile": "none", "breaker": QUIET}}, redis={"url": store.url}
        )
        for number in range(len(READ)):
            async with rig.session.post(f"{replica.url}/m/{number}", data=b"{}") as answer:
                told = answer.status, answer.headers["X-Payment-Outcome"], await answer.read()
                assert told == (201, "final", BODY), list(READ)[number]
                assert answer.headers.getall("Content-Length", ["5"]) == ["5"]
                assert answer.headers.get("X-Id") == {2: "1", 3: "1 2"}.get(number)
        for number, why in enumerate((why for _, why in REFUSED.values()), len(READ)):
            async with rig.session.post(f"{replica.url}/m/{number}", data=b"{}") as answer:
                assert (answer.status, answer.headers["X-Payment-Outcome"]) == (424, "unknown")
                expected = f'holdfast; error=http_protocol_error; details="{why}"'
                assert answer.headers["Proxy-Status"] == expected
                upstream_status = "201" if why.startswith("a transfer") else None
                assert answer.headers.get("X-Upstream-Status") == upstream_status
        wanted = [why for _, why in REFUSED.values()]

        async def logged() -> bool:
            return all(
                [event["detail"] for event in replica.events(name) if "detail" in event] == wanted
                for name in ("attempt.finished", "payment.finished")
            )

        await until(logged, "the reasons in the log", 3)
        await until(lambda: journalled(store, wanted), "the reasons in the journal", 3)
        assert "Traceback" not in replica.log.read_text()
        assert '"level":"error"' not in replica.log.read_text()


async def journalled(store: StoreServer, wanted: list[str]) -> bool:
    client = redis.Redis.from_url(store.url)
    try:
        entries: Any = client.xrange("holdfast:attempts")
    finally:
        client.close()
    attempts = [attempt for _, entry in entries for attempt in json.loads(entry[b"attempts"])]
    return [attempt["detail"] for attempt in attempts if "detail" in attempt] == wanted


async def test_control_bytes_in_a_reason_phrase_do_not_reach_the_client(rig: Rig) -> None:
    raw = b"HTTP/1.1 200 O\x01\x00K\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(raw)) as provider:
        replica = await replica_of(rig, {"m": {"url": url(provider), "profile": "none"}})
        reader, writer = await asyncio.open_connection(HOST, replica.port)
        writer.write(b"POST /m/p HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 O  K\r\n"
        writer.close()


@pytest.mark.parametrize("secure", [False, True])
async def test_an_early_refusal_of_an_upload_reaches_the_client(rig: Rig, *, secure: bool) -> None:
    context = None
    scheme, more = "http", {}
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*write_certificate(rig.folder))
        scheme, more = "https", {"ca_file": "tls.crt"}
    with refusing(context) as port:
        upstream = {"url": f"{scheme}://{HOST}:{port}", "profile": "none", "breaker": QUIET, **more}
        replica = await replica_of(rig, {"m": upstream})
        for size in (900_000, 1_200_000, 3_000_000, 9_000_000):
            seen = Counter([await upload(replica, size) for _ in range(15)])
            assert seen == {(413, "final"): 15}, size


async def upload(replica: Process, size: int) -> tuple[int, str]:
    """What a client that sends everything before it reads hears; a connection of its own."""
    data = io.BytesIO(b"x" * size)
    async with aiohttp.ClientSession() as session, session.post(replica.url + "/m/p", data=data) as answer:
        return answer.status, answer.headers["X-Payment-Outcome"]


# The end


async def test_a_handshake_that_finishes_after_the_end_of_the_drain_sends_nothing(rig: Rig) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(rig.folder))
    arrived: list[bytes] = []
    begun, go, over = threading.Event(), threading.Event(), threading.Event()

    def serve() -> None:
        listener.setblocking(True)
        peer, _ = listener.accept()
        peer.setblocking(True)
        begun.set()
        go.wait(20)
        with contextlib.suppress(OSError):
            tls = context.wrap_socket(peer, server_side=True)
            arrived.append(tls.recv(65536))
        peer.close()
        over.set()

    with listening() as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        timeouts = {"connect": "5s", "attempt": "5s", "total": "10s"}
        upstream = {"url": f"https://localhost:{listener.getsockname()[1]}", "ca_file": "tls.crt", "timeouts": timeouts}
        replica = await replica_of(rig, {"m": upstream}, drain={"grace": "0s", "timeout": "500ms"})
        paying = asyncio.create_task(pay(rig, replica, "/m/p", key="k"))
        await asyncio.to_thread(begun.wait, 5)
        replica.signal(signal.SIGTERM)
        assert await paying == (502, "not_sent", 1)
        go.set()
        assert await replica.ended(5) == 0
        await asyncio.to_thread(over.wait, 5)
        thread.join(5)
    assert b"".join(arrived) == b""
