"""The configuration as one frozen, typed tree: defaults, bounds and cross-checks live here and nowhere else."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from proxy.core.units import Bytes, Seconds

Positive = Annotated[Seconds, Field(gt=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
"""A whole number that was written as one: neither "3" nor true."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Switch = Annotated[bool, Field(strict=True)]


def like(pattern: str, expected: str) -> AfterValidator:
    """A check that a text has the whole of `pattern`, which is told as `expected`."""
    shape = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if shape.fullmatch(value) is None:
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


Name = Annotated[
    str, like(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a name of letters, digits, _ . or -, at most 63 characters long")
]


class Section(BaseModel):
    """A frozen part of the tree; an unknown key is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=False)


class Address(Section):
    """`HOST:PORT` to listen on; port 0 lets the system choose."""

    host: str
    port: Annotated[Whole, Field(ge=0, le=65535)]

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> object:
    """`HOST:PORT` as an Address; an Address or mapping passes through."""
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65535:  # noqa: PLR2004
        raise ValueError("expected HOST:PORT with a port from 0 to 65535, like 0.0.0.0:3000")
    return {"host": host.strip("[]") or "0.0.0.0", "port": int(port)}  # noqa: S104 - an empty host means every interface


Listen = Annotated[Address, BeforeValidator(parse_address)]


class ListenTls(Section):
    """The PEM files shown to clients over TLS, relative to the config file, and where: null means at `listen` itself.

    With an address of its own, `listen` goes on speaking plain HTTP beside it. The files are read again on SIGHUP.
    """

    cert: Annotated[str, Field(min_length=1)]
    key: Annotated[str, Field(min_length=1)]
    listen: Listen | None = None


class Admin(Section):
    """Where the control plane listens (null: on the data port) and the token its writes need."""

    listen: Listen | None = None
    token: Annotated[SecretStr, Field(min_length=1)] | None = None


def _split(url: str) -> SplitResult | None:
    """The URL's parts; None where there is no reading it. The library's own complaint would quote the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # checked by being read
    except ValueError:
        return None
    return parts


def _redis_url(url: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("expected redis://HOST:PORT/DB, rediss://... or unix:///path")
    return url


class Redis(Section):
    """The shared store. Without `url` the breaker lives in this process alone."""

    url: Annotated[str, AfterValidator(_redis_url)] | None = None
    on_outage: Literal["local", "closed", "open"] = "local"
    timeout: Annotated[Positive, Field(le=1)] = 0.1
    """For one command. At most a second: a probe's lease outlives its attempt by no more than that."""
    connect_timeout: Annotated[Positive, Field(le=60)] = 1.0
    """To set a connection up, several round trips; it happens in the background and no payment waits for it."""
    poll: Positive = 1.0
    prefix: Name = "holdfast"
    attempt_log: Annotated[Whole, Field(ge=0)] = 10_000
    attempt_log_ttl: Positive = 3600.0


class Followup(Section):
    """How many unanswered keyed writes a replica keeps in memory to send again, and for how long. 0 entries: none."""

    max_entries: Annotated[Whole, Field(ge=0)] = 1000
    max_bytes: Bytes = 16 << 20
    seconds: Annotated[Positive, Field(alias="for")] = 600.0
    injected_keys: bool = False
    """Also writes whose key we injected. Their client has none to repeat: it may look the payment up, find nothing, and
    pay anew before the follow-up makes the charge."""


class Ledger(Section):
    """The outcome ledger. `auto` is on where there is a secret, which every replica of a fleet must share.

    There is no default secret: one that each replica draws for itself would keep replicas from seeing each other's
    entries, and one kept in the store would lie beside what it protects.
    """

    enabled: Literal["auto"] | Switch = "auto"
    secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    retention: Positive = 86_400.0
    """How long FINAL and NOT_SENT entries stay; UNKNOWN ones stay until they are resolved."""
    lease: Annotated[Positive, Field(ge=1)] = 5.0
    """A replica renews its leases three times as often; when it dies, its calls are UNKNOWN after this."""
    max_unknown: Annotated[Whole, Field(ge=1)] = 10_000
    followup: Followup = Followup()

    @property
    def on(self) -> bool:
        """Whether there is a ledger."""
        return self.secret is not None and self.enabled is not False

    @model_validator(mode="after")
    def _secret_given(self) -> Self:
        if self.enabled is True and self.secret is None:
            raise ValueError("enabled needs a secret: set HOLDFAST_LEDGER_SECRET, the same for every replica")
        return self


class Timeouts(Section):
    """Seconds: to connect, for one attempt, and for everything together."""

    connect: Positive = 1.0
    attempt: Positive = 3.0
    total: Positive = 10.0
    header: Annotated[str, like(r"[A-Za-z0-9-]+", "a header field name")] | None = None
    """Request header that carries the rest of the deadline in milliseconds to the provider."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.connect <= self.attempt <= self.total:
            raise ValueError(
                f"expected connect <= attempt <= total, got {self.connect:g}s, {self.attempt:g}s, {self.total:g}s"
            )
        if self.total > 3600:  # noqa: PLR2004 - payments.md row 24: a key of unknown age is trusted for an hour
            raise ValueError("total may be at most 1h: a key older than that no longer makes a resend safe")
        return self


class RetryBudget(Section):
    """Retries allowed fleet-wide over `window`: `ratio` of the requests plus `min_per_second`."""

    ratio: Annotated[Number, Field(ge=0, le=10)] = 0.2
    min_per_second: Annotated[Number, Field(ge=0)] = 10.0
    window: Positive = 10.0


class Retry(Section):
    """How often and when; whether it is safe at all is the decision table's business (core/retry.py)."""

    max_retries: Annotated[Whole, Field(ge=0, le=10)] = 3
    backoff_ms: Annotated[tuple[Annotated[Number, Field(ge=0)], ...], Field(min_length=1)] = (100, 300, 900)
    jitter: Literal["full", "none"] = "full"
    budget: RetryBudget = RetryBudget()


class FailureRate(Section):
    """Trip when failures / calls over `window` reach `threshold`, once `min_calls` were made."""

    threshold: Annotated[Number, Field(gt=0, le=1)] = 0.5
    window: Positive = 30.0
    min_calls: Annotated[Whole, Field(ge=1)] = 20


LONGEST_RETRY_AFTER_SECONDS = 300.0


class Breaker(Section):
    """When to open, for how long, and how to find out that the provider is back. Counts are the fleet's."""

    mode: Literal["enforce", "shadow"] = "enforce"
    consecutive_failures: Annotated[Whole, Field(ge=1)] | None = 5
    failure_rate: FailureRate | None = FailureRate()
    cooldown: Positive = 10.0
    max_cooldown: Positive = 120.0
    probes: Annotated[Whole, Field(ge=1)] = 1
    probe_successes: Annotated[Whole, Field(ge=1)] = 1
    max_retry_after: Positive | None = None
    """The longest wait a provider's `Retry-After` may keep the breaker open for; null: five minutes, or `max_cooldown`
    where that is longer."""

    @property
    def longest_retry_after(self) -> float:
        """Seconds that a provider's own wait counts at most."""
        return (
            max(self.max_cooldown, LONGEST_RETRY_AFTER_SECONDS)
            if self.max_retry_after is None
            else self.max_retry_after
        )

    @model_validator(mode="after")
    def _cap(self) -> Self:
        if self.max_cooldown < self.cooldown:
            raise ValueError(
                f"max_cooldown ({self.max_cooldown:g}s) must not be shorter than cooldown ({self.cooldown:g}s)"
            )
        return self


def _upstream_url(url: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://HOST[:PORT] or https://HOST[:PORT]")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("expected scheme, host, port and path only: no credentials, query or fragment")
    return url


class Upstream(Section):
    """One provider: where it is, how its API behaves (profile), and how much patience it gets."""

    name: Name
    url: Annotated[str, AfterValidator(_upstream_url)]
    profile: str = "none"
    """What nobody says of a provider is not assumed: without a profile no write that may have arrived is repeated."""
    inject_key: Switch = True
    preserve_host: Switch = False
    ca_file: str | None = None
    unknown_status: Literal[424, 504] = 424
    """Answer to an unkeyed write that was sent and never answered (payments.md section 6)."""
    retry_body: Bytes = 1 << 20
    max_body: Bytes = 10 << 20
    max_concurrency: Annotated[Whole, Field(ge=1)] = 512
    unkeyed_idle: Annotated[Seconds, Field(ge=0, le=15)] = 1.0
    """A write without a key takes a connection idle for less than this; 0: always a fresh one. The provider may close
    an idle connection at any moment, and a write that meets this ends unknown."""
    max_connection_age: Annotated[Positive, Field(ge=1)] = 60.0
    """A connection is closed after about so long (a tenth more or less), so that the provider can move its traffic."""
    trust_outcome: Switch = False
    """The upstream is a Holdfast: where its own answer says that nothing was sent, that counts as not sent here too."""
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()


class Route(Section):
    """Requests whose path starts with `path` (whole segments, longest wins) go to `upstream`."""

    path: Annotated[str, like(r"/[^?#\s]*", "a path that starts with / and has no query, like /api/payment")]
    upstream: Name
    strip_prefix: Switch = False


class Summary(Section):
    """The natural-language summary: how far back it looks, and who writes it."""

    window: Annotated[Seconds, Field(ge=10, le=3600)] = 600.0
    engine: Literal["rules"] = "rules"


class Drain(Section):
    """The end after SIGTERM: `grace` with the door still open but /readyz saying 503, then `timeout` to finish."""

    grace: Annotated[Seconds, Field(ge=0, allow_inf_nan=False)] = 0.5
    timeout: Positive = 30.0


class Limits(Section):
    """What clients may take of this process. Beyond it they are refused or cut off, and everybody else is served."""

    head_timeout: Annotated[Positive, Field(le=300)] = 15.0
    """From a head's first byte to its last, and for the first request of a connection: 408, or a silent end."""
    idle_timeout: Annotated[Positive, Field(le=3600)] = 75.0
    """How long a connection waits for its next request. Longer than the idle time of whoever connects."""
    write_timeout: Annotated[Positive, Field(le=300)] = 15.0
    """A client that takes no byte of its answer for so long is reset."""
    buffered_bodies: Annotated[Bytes, Field(ge=1 << 20)] | None = None
    """Bytes of request bodies held in memory at a time, beyond 16 KiB for each. null: what `max_body` needs twice, at
    least 64MiB."""
    max_connections: Annotated[Whole, Field(ge=1)] | None = None
    """Client connections at a time. null: what the limit on open files leaves beside connections to providers."""


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


def _named(value: object) -> object:
    """`{name: {...}}` as a list of upstreams that know their name, so that no mapping survives loading."""
    if not isinstance(value, dict):
        return value
    for name, body in value.items():
        if isinstance(body, dict) and "name" in body:
            raise ValueError(f"{name}: an upstream's name is the key it stands under, so it has no key of its own")
    return [{"name": name, **body} if isinstance(body, dict) else body for name, body in value.items()]


LEAST_BUFFERED = 64 << 20


class Config(Section):
    """Everything one replica needs to know. Built by edges/config_file.py from YAML and the environment."""

    listen: Listen = Address(host="0.0.0.0", port=3000)  # noqa: S104 - a sidecar is reached from its pod
    listen_tls: ListenTls | None = None
    admin: Admin = Admin()
    redis: Redis = Redis()
    ledger: Ledger = Ledger()
    upstreams: Annotated[tuple[Upstream, ...], BeforeValidator(_named), Field(min_length=1)]
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    summary: Summary = Summary()
    log: Log = Log()
    drain: Drain = Drain()
    limits: Limits = Limits()

    @property
    def buffered_bodies(self) -> int:
        """Bytes of request bodies that may be held in memory at a time, beyond a little for each."""
        largest = max(upstream.max_body for upstream in self.upstreams)
        return self.limits.buffered_bodies or max(LEAST_BUFFERED, 2 * largest)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = {upstream.name for upstream in self.upstreams}
        if len(names) < len(self.upstreams):
            raise ValueError("upstreams: two of them have the same name")
        for index, route in enumerate(self.routes):
            if route.upstream not in names:
                known = ", ".join(sorted(names))
                raise ValueError(f"routes[{index}].upstream: no upstream {route.upstream!r}; there is {known}")
        paths = [route.path for route in self.routes]
        if twice := {path for path in paths if paths.count(path) > 1}:
            raise ValueError(f"routes: {', '.join(sorted(twice))} is routed twice")
        largest = max(upstream.max_body for upstream in self.upstreams)
        if self.buffered_bodies < largest:
            raise ValueError(f"limits.buffered_bodies: smaller than one body may be (max_body: {largest} bytes)")
        return self
