"""The composition root: the only place that knows every part and makes them meet."""

from __future__ import annotations

import random
import secrets
import socket
import ssl
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from proxy import __version__
from proxy.bookkeeper import Bookkeeper
from proxy.core.budget import Budget
from proxy.core.chained import Chain, chain_of
from proxy.core.config import Config, Upstream
from proxy.core.durability import StoreFacts
from proxy.core.errors import ConfigError
from proxy.core.events import Event
from proxy.core.model import Outcome
from proxy.core.routes import RouteTable
from proxy.core.totals import Totals
from proxy.edges.clock import SystemClock
from proxy.edges.config_file import load_profile
from proxy.edges.memory_ledger import MemoryLedger
from proxy.edges.memory_store import MemoryBreakerStore, MemoryJournal
from proxy.edges.metrics import Metrics
from proxy.edges.redis_client import connect
from proxy.edges.redis_inspector import RedisInspector
from proxy.edges.redis_journal import RedisJournal
from proxy.edges.redis_ledger import RedisLedger
from proxy.edges.redis_store import RedisBreakerStore
from proxy.edges.redis_url import place
from proxy.edges.resolver import Resolvers
from proxy.edges.upstream import HttpUpstream, Target
from proxy.failover import FailoverStore
from proxy.fleet import Chronicle, Fleet
from proxy.followup import Case, Followup
from proxy.forward import Forwarder
from proxy.gate import Gate
from proxy.inspection import Inspection
from proxy.ports import EventSink, Journal, LedgerStore
from proxy.resend import resend
from proxy.runtime import Replica, Runtime
from proxy.runtimes import Runtimes


class Fanout:
    """One EventSink for many; events go to each in turn."""

    def __init__(self, *sinks: EventSink) -> None:
        self._publish = tuple(sink.publish for sink in sinks)

    def publish(self, event: Event) -> None:
        for publish in self._publish:
            publish(event)


@dataclass(frozen=True, slots=True)
class Parts:
    """What outlives a reload: identity, clock, listeners, and the stores with what they know."""

    replica: Replica
    clock: SystemClock
    events: EventSink
    chronicle: Chronicle
    metrics: Metrics
    totals: Totals
    store: FailoverStore | MemoryBreakerStore
    redis: Redis | None
    local_journal: MemoryJournal
    ledger: Bookkeeper | None
    followup: Followup | None
    inspection: Inspection | None
    resolvers: Resolvers
    chain: Chain


def new_replica(config: Config, clock: SystemClock) -> Replica:
    """An identity no other process has, readable by a person: host, port and four random characters."""
    name = f"{socket.gethostname()}:{config.listen.port}-{secrets.token_hex(2)}"
    return Replica(name, __version__, clock.wall())


def make_parts(config: Config, log: EventSink, runtimes: Runtimes) -> Parts:
    """Everything that is made once. `runtimes` is asked for live figures when metrics are read."""
    clock = SystemClock()
    metrics = Metrics(
        CollectorRegistry(),
        version=__version__,
        snapshot_age=lambda upstream: runtimes.current.fleet.gates[upstream].age,
        in_flight=runtimes.under_way,
        unknown=lambda upstream: runtimes.current.unknown(upstream) or 0,
        redis_up=config.redis.url is not None,
    )
    chronicle, totals = Chronicle(clock), Totals()
    sinks = Fanout(log, metrics, chronicle, totals)
    redis = connect(config.redis.url, config.redis.connect_timeout) if config.redis.url else None
    inspection = _make_inspection(config, redis, clock, sinks)
    events = sinks if inspection is None else Fanout(sinks, inspection)
    store = _make_store(config, redis, clock, events)
    replica = new_replica(config, clock)
    chain = chain_of(replica.id, secrets.token_bytes(16))
    local = MemoryJournal(replica.id, clock.now)
    ledger = _make_ledger(config, redis, store, replica, clock, events)
    followup = None if ledger is None else _make_followup(config, runtimes, clock, events)
    resolvers = Resolvers(now=clock.now)
    return Parts(
        replica,
        clock,
        events,
        chronicle,
        metrics,
        totals,
        store,
        redis,
        local,
        ledger,
        followup,
        inspection,
        resolvers,
        chain,
    )


def _make_inspection(config: Config, redis: Redis | None, clock: SystemClock, events: EventSink) -> Inspection | None:
    """Only a ledger needs its store to keep what it is told."""
    if not config.ledger.on:
        return None

    async def no_store() -> StoreFacts | None:
        return None

    ask = no_store if redis is None else RedisInspector(redis, config.redis.connect_timeout).facts
    return Inspection(ask, clock=clock, events=events)


def _make_ledger(
    config: Config,
    redis: Redis | None,
    breakers: FailoverStore | MemoryBreakerStore,
    replica: Replica,
    clock: SystemClock,
    events: EventSink,
) -> Bookkeeper | None:
    policy = config.ledger
    if not policy.on or policy.secret is None:
        return None
    return Bookkeeper(
        _make_entries(config, redis, clock),
        policy.secret.get_secret_value().encode(),
        lease_seconds=policy.lease,
        replica=replica.id,
        clock=clock,
        unique=lambda: uuid.uuid4().hex,
        events=events,
        up=lambda: breakers.up,
    )


def _make_entries(config: Config, redis: Redis | None, clock: SystemClock) -> LedgerStore:
    retention, most_unknown = config.ledger.retention, config.ledger.max_unknown
    if redis is None:
        return MemoryLedger(clock.wall, retention_seconds=retention, most_unknown=most_unknown)
    return RedisLedger(
        redis,
        prefix=config.redis.prefix,
        timeout_seconds=config.redis.timeout,
        retention_seconds=retention,
        most_unknown=most_unknown,
    )


def _make_followup(config: Config, runtimes: Runtimes, clock: SystemClock, events: EventSink) -> Followup:
    async def again(case: Case) -> Outcome | None:
        """By the runtime in force; an upstream that a reload took away is not called any more."""
        forwarder = runtimes.current.forwarders.get(case.destination.upstream)
        return None if forwarder is None else await resend(forwarder, case)

    return Followup(config.ledger.followup, again, clock=clock, draw=random.SystemRandom().random, events=events)


def _make_store(
    config: Config, redis: Redis | None, clock: SystemClock, events: EventSink
) -> FailoverStore | MemoryBreakerStore:
    if redis is None:
        offset = clock.wall() - clock.now()
        return MemoryBreakerStore(lambda: clock.now() + offset)
    shared = RedisBreakerStore(redis, prefix=config.redis.prefix, timeout_seconds=config.redis.timeout)
    return FailoverStore(
        shared,
        MemoryBreakerStore,
        clock=clock,
        events=events,
        on_outage=config.redis.on_outage,
        where=place(config.redis.url or ""),
    )


def make_runtime(config: Config, base: Path, parts: Parts) -> Runtime:
    """A configuration at work; ConfigError if a profile or certificate it names cannot be read."""
    forwarders = {upstream.name: _make_forwarder(upstream, base, parts) for upstream in config.upstreams}
    windows = {upstream.name: upstream.retry.budget.window for upstream in config.upstreams}
    parts.local_journal.budget_windows(windows)
    fleet = Fleet(
        {name: forwarder.gate for name, forwarder in forwarders.items()},
        {name: forwarder.budget for name, forwarder in forwarders.items()},
        store=parts.store if isinstance(parts.store, FailoverStore) else None,
        journal=_make_journal(config, parts, windows) or parts.local_journal,
        local_journal=parts.local_journal,
        chronicle=parts.chronicle,
        clock=parts.clock,
        events=parts.events,
        poll_seconds=config.redis.poll,
    )
    parts.metrics.know(forwarders, ((route.path, route.upstream) for route in config.routes))
    if parts.ledger is not None:
        parts.ledger.know(forwarders)
    inspection = parts.inspection
    unsafe = tuple if inspection is None else lambda: inspection.warnings
    return Runtime(config, RouteTable(config.routes), forwarders, fleet, parts.ledger, unsafe)


def _make_journal(config: Config, parts: Parts, windows: dict[str, float]) -> Journal | None:
    if parts.redis is None:
        return None
    return RedisJournal(
        parts.redis,
        parts.replica.id,
        windows,
        prefix=config.redis.prefix,
        timeout_seconds=config.redis.timeout,
        log_length=config.redis.attempt_log,
        log_ttl_seconds=config.redis.attempt_log_ttl,
        wall=parts.clock.wall,
    )


def _make_forwarder(upstream: Upstream, base: Path, parts: Parts) -> Forwarder:
    draw = random.SystemRandom().random
    gate = Gate(upstream, parts.store, replica=parts.replica.id, clock=parts.clock, draw=draw, events=parts.events)
    return Forwarder(
        upstream,
        load_profile(upstream.profile, base),
        gate=gate,
        budget=Budget(upstream.retry.budget),
        transport=_make_transport(upstream, base, parts),
        clock=parts.clock,
        draw=draw,
        new_key=lambda: str(uuid.uuid4()),
        events=parts.events,
        ledger=parts.ledger,
        followup=parts.followup,
        chain=parts.chain,
    )


def _make_transport(upstream: Upstream, base: Path, parts: Parts) -> HttpUpstream:
    target = target_of(upstream, base)
    resolver = parts.resolvers.of(upstream.name, target.host, target.port)
    return HttpUpstream(target, resolver=resolver, now=parts.clock.now, draw=random.SystemRandom().random)


def target_of(upstream: Upstream, base: Path) -> Target:
    """Where an upstream's sockets go. TLS is verified, always; `ca_file` (PEM) replaces the system's authorities."""
    url = urlsplit(upstream.url)
    host = url.hostname or ""
    secure = url.scheme == "https"
    return Target(
        host=host,
        port=url.port or (443 if secure else 80),
        ssl=_tls(upstream, base) if secure else None,
        server_hostname=host,
        connect_timeout=upstream.timeouts.connect,
        max_age_seconds=upstream.max_connection_age,
    )


def _tls(upstream: Upstream, base: Path) -> ssl.SSLContext:
    ca_file = base / upstream.ca_file if upstream.ca_file else None
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        problem = f"upstreams.{upstream.name}.ca_file: {ca_file} cannot be read as PEM certificates: {error.strerror}"
        raise ConfigError([problem]) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
