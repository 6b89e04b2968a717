"""Whatever Redis replies: a proper value, or StoreUnavailable, and never anything else."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import hiredis
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from demo.store import StoreServer
from proxy.core.breaker import Closed, HalfOpen, Open, Record
from proxy.core.budget import Spent
from proxy.core.durability import StoreFacts
from proxy.core.errors import StoreUnavailable, Unreadable
from proxy.core.ledger import Entry, Ground, Settlement, State, Write
from proxy.core.status import iso
from proxy.edges.redis_client import connect
from proxy.edges.redis_inspector import RedisInspector
from proxy.edges.redis_journal import RedisJournal
from proxy.edges.redis_ledger import RedisLedger
from proxy.edges.redis_record import decode, encode
from proxy.edges.redis_store import RedisBreakerStore
from proxy.ports import Beat, Claimed, FleetView, Lease, Restored, Shared, Tally, Tracked
from tests.redis_shim import shimmed

ROOT = Path(__file__).parents[2]
UP, WINDOW = "mock", 30.0
TIMEOUT_SECONDS = 0.1
WRITE = Write("id", UP, "POST", "/api/payment", "req-1", "order-1", keyed=True, body="b")
RECORD = Record(1, Open(10.0, 5.0), 5.0, 1, "because")

REPLIES = {
    "integer": b":1\r\n",
    "negative": b":-1\r\n",
    "nil": b"$-1\r\n",
    "nil array": b"*-1\r\n",
    "empty array": b"*0\r\n",
    "string": b"$5\r\nhello\r\n",
    "empty string": b"$0\r\n\r\n",
    "not text": b"$3\r\n\xff\xfe\xfd\r\n",
    "ok": b"+OK\r\n",
    "nested": b"*2\r\n*1\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n",
    "float": b",1.5\r\n",
    "float as text": b"$3\r\n1.5\r\n",
    "nan": b",nan\r\n",
    "map": b"%1\r\n+a\r\n:1\r\n",
    "set": b"~1\r\n:1\r\n",
    "boolean": b"#t\r\n",
    "null": b"_\r\n",
    "push": b">2\r\n+message\r\n+x\r\n",
    "big number": b"(3492890328409238509324850943850943825024385\r\n",
    "huge number": b":99999999999999999999999999\r\n",
    "huge length": b"$999999999999\r\nx\r\n",
    "negative length": b"*-7\r\n",
    "half a reply": b"*8\r\n:1\r\n",
    "nothing": b"",
    "junk": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    **{
        f"error {text.split()[0].decode('latin-1')}": b"-" + text + b"\r\n"
        for text in (
            b"ERR no", b"WRONGTYPE Operation", b"READONLY no", b"OOM no", b"LOADING no", b"NOAUTH no", b"NOSCRIPT no",
            b"CLUSTERDOWN no", b"BUSY no", b"MOVED 1 127.0.0.1:1", b"ASK 1 127.0.0.1:1", b"TRYAGAIN no", b"MISCONF no",
            b"NOPERM no", b"MASTERDOWN no", b"EXECABORT no", b"WRONGPASS no", b"max", b"\xff\xfe",
        )
    },
    "eight numbers": b"*8\r\n" + b":1\r\n" * 8,
    "nine numbers": b"*9\r\n" + b":1\r\n" * 9,
    "eight nils": b"*8\r\n" + b"$-1\r\n" * 8,
    "nine empty": b"*9\r\n" + b"$0\r\n\r\n" * 9,
    "three": b"*3\r\n:0\r\n:0\r\n*1\r\n*1\r\n:1\r\n",
    "a late time": b"*8\r\n:0\r\n$0\r\n\r\n:0\r\n:0\r\n:0\r\n:0\r\n:9007199254740993\r\n:0\r\n",
}  # fmt: skip


@contextlib.asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[str]:
    """A server that answers every command with these bytes; its URL."""

    serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[asyncio.current_task()] = writer
        commands = hiredis.Reader()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                commands.feed(data)
                while commands.gets() is not False:
                    writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for writer in serving.values():
            writer.transport.abort()
        await asyncio.gather(*(task for task in serving if task is not None), return_exceptions=True)


def operations(
    client: Redis, timeout: float = TIMEOUT_SECONDS, prefix: str = "t"
) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Every operation of every class that asks Redis, by name."""
    breakers = RedisBreakerStore(client, prefix=prefix, timeout_seconds=timeout)
    ledger = RedisLedger(client, prefix=prefix, timeout_seconds=timeout, retention_seconds=60, most_unknown=10)
    journal = RedisJournal(
        client,
        "r1",
        {UP: 1.0},
        prefix=prefix,
        timeout_seconds=timeout,
        log_length=3,
        log_ttl_seconds=60,
        wall=time.time,
    )
    told = [Settlement(WRITE, "o", State.FINAL, ground=Ground.SUCCESS, attempts=1, status=201)]
    place = {"expected": 1, "owner": "o", "limit": 1, "seconds": 1.0, "window": WINDOW}

    async def first_change() -> object:
        async with contextlib.aclosing(breakers.changes([UP])) as changes:  # type: ignore[type-var]
            return await anext(changes)

    return {
        "read": lambda: breakers.read(UP, WINDOW),
        "report": lambda: breakers.report(UP, 1, Tally(1, 1, 1), WINDOW),
        "install": lambda: breakers.install(UP, RECORD, expected=0, window=WINDOW),
        "lease": lambda: breakers.lease(UP, RECORD, **place),  # type: ignore[arg-type]
        "settle_probe": lambda: breakers.settle_probe(UP, 1, "o", passed=True, window=WINDOW),
        "changes": first_change,
        "claim": lambda: ledger.claim(WRITE, "o", 5.0),
        "settle": lambda: ledger.settle(UP, told),
        "renew": lambda: ledger.renew(UP, [("id", "o")], 5.0),
        "restore": lambda: ledger.restore(UP, told),
        "upstreams": lambda: ledger.upstreams([UP]),
        "entries": lambda: ledger.entries(UP, None, 10),
        "entry": lambda: ledger.entry(UP, "id"),
        "count": lambda: ledger.count(UP),
        "sync": lambda: journal.sync(Beat(spent={UP: Spent(1, 1)}, results={UP: {"attempt:success": 1}})),
        "history": lambda: journal.history(UP, 60.0),
        "goodbye": journal.goodbye,
        "inspect": RedisInspector(client, timeout).facts,
    }


VALUES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("read", "report", "install", "settle_probe"), (Shared,)),
    **dict.fromkeys(("settle", "count"), (Tracked,)),
    "goodbye": (type(None),),
    **dict.fromkeys(("renew", "upstreams"), (frozenset,)),
    "restore": (Restored,),
    "changes": (tuple, type(None)),
    "lease": (Lease,),
    "claim": (Claimed,),
    "entries": (list,),
    "entry": (Entry, type(None)),
    "sync": (FleetView,),
    "history": (dict,),
    "inspect": (StoreFacts,),
}


def presentable(value: object) -> bool:
    """Whether every number in it can be told to somebody: no NaN, no negative count, no time beyond the calendar."""
    if is_dataclass(value):
        return all(presentable(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, float):
        return math.isfinite(value) and value >= 0 and bool(iso(value))
    if isinstance(value, int):
        return value >= 0
    if isinstance(value, Mapping):
        return all(map(presentable, value.values()))
    return all(map(presentable, value)) if isinstance(value, list | tuple) else True


async def outcome(name: str, operation: Callable[[], Awaitable[object]]) -> None:
    """Run it: it gives a proper value, or StoreUnavailable."""
    try:
        value = await operation()
    except StoreUnavailable:
        return
    assert isinstance(value, VALUES[name]), f"{name}: {value!r}"
    assert presentable(value), f"{name}: {value!r}"


def test_every_operation_of_every_class_that_asks_is_tried() -> None:
    asking = (RedisBreakerStore, RedisLedger, RedisJournal)
    public = {name for one in asking for name in vars(one) if not name.startswith("_")}
    assert set(operations(Redis())) == set(VALUES) == public | {"inspect"}


@pytest.mark.parametrize("kind", REPLIES)
async def test_whatever_the_reply_the_store_is_away_or_the_value_is_proper(kind: str) -> None:
    async with answering(REPLIES[kind]) as url:
        client = connect(url, 0.5)
        await asyncio.gather(*(outcome(name, run) for name, run in operations(client).items()))
        await client.aclose()


def resp(value: Any) -> bytes:
    """A value as Redis writes it."""
    match value:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case str():
            return b"+%s\r\n" % value.encode()
        case list():
            return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
        case _:
            raise AssertionError(value)


RECORDS = st.sampled_from([b"", b"{}", b"[]", b"null", encode(RECORD), encode(Record()), b'{"name":"open"}', b"\xff"])
SCALARS = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 9)
    | st.binary(max_size=6)
    | RECORDS
    | st.sampled_from([b"unknown", b"final", b"1", b"state", b"mock", "OK"])
)
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=10), max_leaves=25)
LIKELY = st.lists(SCALARS, min_size=8, max_size=9) | st.tuples(
    st.integers(0, 3), st.integers(0, 3), st.lists(st.lists(SCALARS, max_size=9), max_size=3)
).map(list)
"""Near what scripts return: eight or nine columns, or two counts and rows."""


@given(NESTED | LIKELY)
@settings(max_examples=120, deadline=None)
def test_no_nested_reply_gets_past_the_guard(reply: Any) -> None:
    async def run() -> None:
        async with answering(resp(reply)) as url:
            client = connect(url, 0.5)
            tried = {name: one for name, one in operations(client).items() if name != "changes"}  # it may wait a second
            await asyncio.gather(*(outcome(name, one) for name, one in tried.items()))
            await client.aclose()

    asyncio.run(run())


async def test_a_reply_that_slipped_in_spoils_one_operation_and_no_other(store_server: StoreServer) -> None:
    async with shimmed(store_server.port) as shim:
        client = connect(shim.url, 1.0)
        breakers = RedisBreakerStore(client, prefix="t", timeout_seconds=1.0)
        await breakers.read(UP, WINDOW)
        shim.extra = b":1\r\n"
        with pytest.raises(StoreUnavailable):
            await breakers.read(UP, WINDOW)
        for epoch in range(1, 20):
            view = await breakers.install(UP, Record(epoch), expected=None, window=WINDOW)
            assert view.record.epoch == epoch
        await client.flushall()
        await client.aclose()


@pytest.mark.parametrize(
    "text",
    [
        encode(RECORD).replace(b'"schema":1', b'"schema":2'),
        encode(RECORD).replace(b'"open"', b'"ajar"'),
        encode(RECORD).replace(b'"until":10.0,', b""),
        encode(RECORD).replace(b'"cooldown":5.0', b'"cooldown":null'),
        encode(RECORD).replace(b'"since":5.0', b'"since":"5"'),
        encode(RECORD).replace(b'"since":5.0', b'"since":1e300'),
        encode(RECORD).replace(b'"since":5.0', b'"since":-1'),
        encode(RECORD).replace(b'"since":5.0', b'"since":NaN'),
        encode(RECORD).replace(b'"opens":1', b'"opens":true'),
        encode(RECORD).replace(b'"cause":"because"', b'"cause":null'),
        encode(RECORD).replace(b',"override":null', b""),
        encode(RECORD).replace(b'"override":null', b'"override":{"forced":"ajar"}'),
        b"{}",
        b"[]",
        b"1",
        b"\xff",
        b"{",
    ],
)
async def test_a_record_that_cannot_be_read_says_so_for_its_upstream_alone(redis_client: Redis, text: bytes) -> None:
    breakers = RedisBreakerStore(redis_client, prefix="t", timeout_seconds=2.0)
    await redis_client.hset("t:{mock}:breaker", mapping={"epoch": 3, "record": text})
    with pytest.raises(Unreadable):
        await breakers.read(UP, WINDOW)
    assert (await breakers.read("other", WINDOW)).record == Record()


@pytest.mark.parametrize("field", ["epoch", "run", "passes", "hold"])
async def test_columns_that_hold_no_numbers_are_that_upstreams_trouble(redis_client: Redis, field: str) -> None:
    breakers = RedisBreakerStore(redis_client, prefix="t", timeout_seconds=2.0)
    await redis_client.hset("t:{mock}:breaker", mapping={"epoch": 3, "record": encode(RECORD), field: "many"})
    with pytest.raises(Unreadable):
        await breakers.read(UP, WINDOW)
    with pytest.raises(Unreadable):
        await breakers.report(UP, 3, Tally(0, 1, 1), WINDOW)
    assert (await breakers.read("other", WINDOW)).record == Record()


@pytest.mark.parametrize("part", ["breaker", "counts"])
async def test_a_key_of_another_type_is_that_upstreams_trouble(redis_client: Redis, part: str) -> None:
    breakers = RedisBreakerStore(redis_client, prefix="t", timeout_seconds=2.0)
    await redis_client.set(f"t:{{mock}}:{part}", "text")
    with pytest.raises(Unreadable):
        await breakers.read(UP, WINDOW)
    assert (await breakers.read("other", WINDOW)).record == Record()


@pytest.mark.parametrize("state", [Closed(), Open(2e9, 10.0), HalfOpen(3.0)])
def test_members_that_a_newer_version_added_are_ignored(state: Closed | Open | HalfOpen) -> None:
    record = Record(4, state, 1e9, 2, "because")
    plain = orjson.loads(encode(record))
    plain["state"]["new_field"], plain["another"] = 1, {"x": [1]}
    assert decode(4, orjson.dumps(plain)) == record


def test_a_record_says_which_schema_it_is_of() -> None:
    assert orjson.loads(encode(RECORD))["schema"] == 1
    plain = orjson.loads(encode(RECORD))
    del plain["schema"]  # as it was written before there was one
    assert decode(1, orjson.dumps(plain)) == RECORD


async def test_an_entry_in_a_state_of_another_version_is_away_for_its_payment_and_shown_to_readers(
    redis_client: Redis,
) -> None:
    ledger = RedisLedger(redis_client, prefix="t", timeout_seconds=2.0, retention_seconds=60, most_unknown=10)
    await ledger.claim(WRITE, "o", 5.0)
    await ledger.settle(UP, [Settlement(WRITE, "o", State.FINAL, ground=Ground.SUCCESS, attempts=1, status=201)])
    await redis_client.hset("t:{mock}:ledger:entry:id", "state", "brand_new")
    with pytest.raises(Unreadable):
        await ledger.claim(WRITE, "p", 5.0)
    other = Write("other", UP, "POST", "/api/payment", "req-2", None, keyed=True, body="b")
    assert (await ledger.claim(other, "p", 5.0)).prior is None
    shown = {one.write.id: one.state for one in await ledger.entries(UP, None, 10)}
    assert shown["id"] is State.UNKNOWN
    assert (await ledger.entry(UP, "id")) is not None


async def test_the_rights_that_the_documentation_asks_for_are_enough(own_store: StoreServer) -> None:
    text = (ROOT / "docs" / "redis.md").read_text()
    (line,) = re.findall(r"^ACL SETUSER .*$", text, re.MULTILINE)
    async with Redis.from_url(own_store.url) as admin:
        await admin.execute_command(*line.replace("PASSWORD", "pw").split())  # type: ignore[no-untyped-call]
    client = connect(own_store.url.replace("redis://", "redis://holdfast:pw@"), 2.0)
    for name, run in operations(client, 2.0, prefix="holdfast").items():
        assert isinstance(await run(), VALUES[name]), name
    with pytest.raises(StoreUnavailable):
        await RedisBreakerStore(client, prefix="other", timeout_seconds=2.0).read(UP, WINDOW)
    await client.aclose()


ASKING = ("within(", "self._run(", "self._view(", "subscription.get_message(")


def test_no_reply_is_used_undecoded() -> None:
    """Replies come out of `within` only, through a decoder: nothing else awaits a Redis command."""
    folder = ROOT / "proxy" / "edges"
    guards = {folder / f"redis_{name}.py" for name in ("client", "pool", "script")}
    for path in sorted(set(folder.glob("redis_*.py")) - guards):
        awaits = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Await)]
        bare = [ast.unparse(one.value) for one in awaits if not ast.unparse(one.value).startswith(ASKING)]
        assert bare == [], path.name
