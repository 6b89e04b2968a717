"""The configuration as people write it: file, environment, and what they are told when it is wrong."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.config import Config
from proxy.core.errors import ConfigError
from proxy.edges.config_file import builtin_profiles, load, load_profile, warnings_of
from proxy.edges.environment import REDIS_PARTS, VARIABLES

SEVERAL = (
    "the file has several upstreams (a, b), and this can only be the URL of one: unset it and set upstreams.NAME.url"
)
ROOT = Path(__file__).parents[2]
ONE = "upstreams: {mock: {url: http://a}}\nroutes: [{path: /api/payment, upstream: mock}]\n"
TWO = "upstreams: {a: {url: http://a}, b: {url: http://b}}\nroutes: [{path: /, upstream: a}]\n"
ELSEWHERE = {"FLAKY_PAYMENT_FAILURE_RATE"}  # the mock provider's
SECRET = "s3cr3t-w0rd"


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def loaded(path: Path, **environ: str) -> Config:
    return load(path, environ)


def problems(path: Path | None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    assert all(len(line.splitlines()) == 1 for line in caught.value.problems)
    return [line.replace(f"{path.parent}/" if path else "", "") for line in caught.value.problems]


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_shipped_file_is_the_default_in_words() -> None:
    shipped = load(ROOT / "config.yaml", {})
    bare = Config(
        redis={"url": "redis://127.0.0.1:6379/0"},
        upstreams={"mock": {"url": "http://127.0.0.1:4000", "profile": "generic"}},
        routes=[{"path": "/api/payment", "upstream": "mock"}],
    )
    assert shipped == bare


def test_the_env_example_lists_every_variable_and_changes_nothing() -> None:
    assert set(example()) == set(VARIABLES) | set(REDIS_PARTS) | ELSEWHERE
    assert load(ROOT / "config.yaml", example()) == load(ROOT / "config.yaml", {})


UPSTREAM = "upstreams.0"
ENVIRONMENT = [
    ("PORT", "8080", "listen.port", 8080),
    ("LOG_LEVEL", "WARNING", "log.level", "warning"),
    ("REDIS_HOST", "cache", "redis.url", "redis://cache:6379/0"),
    ("REDIS_HOST", "::1", "redis.url", "redis://[::1]:6379/0"),
    ("REDIS_PORT", "7000", "redis.url", "redis://127.0.0.1:7000/0"),
    ("REDIS_PORT", "tcp://10.0.0.11:6379", "redis.url", None),
    ("REDIS_PASSWORD", "p@s/ s", "redis.url", "redis://:p%40s%2F%20s@127.0.0.1:6379/0"),
    ("REDIS_URL", "rediss://u:p@h/1", "redis.url", "rediss://u:p@h/1"),
    ("PAYMENT_MAX_RETRIES", "7", "upstreams.0.retry.max_retries", 7),
    ("PAYMENT_MAX_RETRIES", "0", "upstreams.0.retry.max_retries", 0),
    ("PAYMENT_MAX_RETRIES", "  ", "upstreams.0.retry.max_retries", 3),
    ("PAYMENT_BACKOFF_MS", "50, 60", "upstreams.0.retry.backoff_ms", (50.0, 60.0)),
    ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "9", "upstreams.0.breaker.consecutive_failures", 9),
    ("CIRCUIT_BREAKER_COOLDOWN_MS", "2500", "upstreams.0.breaker.cooldown", 2.5),
    ("CIRCUIT_BREAKER_COOLDOWN_MS", "2500", "upstreams.0.breaker.max_cooldown", 120.0),
    ("CIRCUIT_BREAKER_COOLDOWN_MS", "300000", "upstreams.0.breaker.max_cooldown", 300.0),
    ("UPSTREAM_URL", "http://b:9", "upstreams.0.url", "http://b:9"),
    ("UPSTREAM_PROFILE", "stripe", "upstreams.0.profile", "stripe"),
]


def at(config: Config, path: str) -> object:
    here: object = config
    for step in path.split("."):
        here = here[int(step)] if isinstance(here, tuple) else getattr(here, step)
    return here


@pytest.mark.parametrize(("variable", "text", "path", "value"), ENVIRONMENT)
def test_a_variable_overrides_its_setting(write: Write, variable: str, text: str, path: str, value: object) -> None:
    assert at(loaded(write(ONE), **{variable: text}), path) == value


def test_the_admin_token_comes_from_the_environment(write: Write) -> None:
    token = loaded(write(ONE + "admin: {token: other}"), HOLDFAST_ADMIN_TOKEN=SECRET).admin.token
    assert token is not None
    assert token.get_secret_value() == SECRET


def test_the_ledger_is_on_where_there_is_a_secret(write: Write) -> None:
    assert not loaded(write(ONE)).ledger.on
    ledger = loaded(write(ONE), HOLDFAST_LEDGER_SECRET="x" * 16).ledger
    assert ledger.on
    assert "x" * 16 not in repr(ledger)
    assert not loaded(write(ONE + "ledger: {enabled: false}"), HOLDFAST_LEDGER_SECRET="x" * 16).ledger.on


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("ledger: {enabled: true}", {}, "HOLDFAST_LEDGER_SECRET"),
        (
            "ledger: {enabled: auto}",
            {"HOLDFAST_LEDGER_SECRET": "short"},
            "environment HOLDFAST_LEDGER_SECRET: *** is not valid: expected text of at least 16 characters",
        ),
        ("ledger: {secret: my-short-one}", {}, "ledger.secret"),
    ],
)
def test_a_ledger_without_a_good_secret_is_refused(write: Write, text: str, environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(write(ONE + text), **environ)
    (problem,) = refused.value.problems
    assert says in problem
    assert "short" not in problem


def test_every_variable_of_the_table_is_tried_here() -> None:
    tried = {row[0] for row in ENVIRONMENT} | {"HOLDFAST_ADMIN_TOKEN", "HOLDFAST_LEDGER_SECRET"}
    assert tried == set(VARIABLES) | set(REDIS_PARTS)


def test_a_variable_holds_for_every_upstream(write: Write) -> None:
    config = loaded(write(TWO), PAYMENT_MAX_RETRIES="1", CIRCUIT_BREAKER_COOLDOWN_MS="500")
    assert [(u.retry.max_retries, u.breaker.cooldown) for u in config.upstreams] == [(1, 0.5), (1, 0.5)]


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "{host: 127.0.0.1, port: 1}"])
def test_port_keeps_the_host(write: Write, listen: str) -> None:
    assert str(loaded(write(f"{ONE}listen: {listen}"), PORT="3001").listen) == "127.0.0.1:3001"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"REDIS_HOST": "h"}, "rediss://user:old@h:1/2?x=y"),
        ({"REDIS_PORT": "5"}, "rediss://user:old@file:5/2?x=y"),
        ({"REDIS_PASSWORD": "new"}, "rediss://user:new@file:1/2?x=y"),
        ({"REDIS_HOST": "h", "REDIS_PORT": "5", "REDIS_PASSWORD": "new"}, "rediss://user:new@h:5/2?x=y"),
        ({"REDIS_URL": "redis://u", "REDIS_HOST": "h", "REDIS_PASSWORD": "new"}, "redis://u"),
        ({"REDIS_URL": "none", "REDIS_HOST": "h"}, None),
        ({"REDIS_URL": "OFF"}, None),
        ({"REDIS_URL": "", "REDIS_HOST": ""}, "rediss://user:old@file:1/2?x=y"),
    ],
)
def test_the_stores_url_is_composed_over_the_files(write: Write, environ: dict[str, str], url: str | None) -> None:
    text = f"{ONE}redis: {{url: 'rediss://user:old@file:1/2?x=y'}}"
    assert loaded(write(text), **environ).redis.url == url


def test_without_a_file_an_upstream_url_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, {"UPSTREAM_URL": "http://pay:1"})
    assert [(u.name, u.url, u.profile) for u in config.upstreams] == [("provider", "http://pay:1", "none")]
    assert [(r.path, r.upstream) for r in config.routes] == [("/api/payment", "provider")]


def test_without_a_file_the_profile_comes_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, {"UPSTREAM_URL": "https://api.stripe.com", "UPSTREAM_PROFILE": "stripe"})
    assert config.upstreams[0].profile == "stripe"
    assert warnings_of(config, tmp_path) == []


def test_one_variable_cannot_be_the_profile_of_two_upstreams(write: Write) -> None:
    (line,) = problems(write(TWO), UPSTREAM_PROFILE="stripe")
    assert line.startswith("environment UPSTREAM_PROFILE: the file has several upstreams")


def test_an_upstream_that_names_no_profile_has_none(write: Write) -> None:
    config = loaded(write("upstreams: {mock: {url: http://a}}\nroutes: [{path: /, upstream: mock}]"))
    assert config.upstreams[0].profile == "none"


def warned(write: Write, url: str, profile: str | None) -> list[str]:
    body = {"url": url} | ({} if profile is None else {"profile": profile})
    path = write(yaml.safe_dump({"upstreams": {"a": body}, "routes": [{"path": "/", "upstream": "a"}]}))
    return warnings_of(load(path, {}), path.parent)


@pytest.mark.parametrize(
    ("url", "profile", "owner"),
    [
        ("https://api.stripe.com", None, "stripe"),
        ("https://API.Stripe.com.:443/v1", "generic", "stripe"),
        ("https://checkout-test.adyen.com/v71", "stripe", "adyen"),
        ("https://1797a841fbb37ca7-Shop-checkout-live.adyenpayments.com", "none", "adyen"),
        ("https://api-m.sandbox.paypal.com", "generic", "paypal"),
        ("https://connect.squareupsandbox.com", "generic", "square"),
        ("https://vkuhvk4v.api.sandbox.checkout.com", "generic", "checkout_com"),
        ("https://api.checkout.com", "stripe", "checkout_com"),
        ("https://api.sandbox.braintreegateway.com", "generic", "braintree"),
        ("https://payments.braintree-api.com", "paypal", "braintree"),
        ("https://api.mollie.com", "generic", "mollie"),
        ("https://api.razorpay.com", "generic", "razorpay"),
        ("https://api-sandbox.gocardless.com", "generic", "gocardless"),
    ],
)
def test_a_known_host_under_another_profile_is_warned_about(
    write: Write, url: str, profile: str | None, owner: str
) -> None:
    (line,) = warned(write, url, profile)
    assert line.startswith(f"upstreams.a: {urlsplit(url).hostname}".removesuffix("."))
    assert line.endswith(f"set profile: {owner}")
    assert warned(write, url, owner) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://api.stripe.com.evil.example",
        "https://notapi.stripe.com.example",
        "https://evil-adyen.com",
        "https://adyen.com.example",
        "https://xadyenpayments.com",
        "http://127.0.0.1:4000",
        "http://[::1]:4000",
        "http://stripe",
    ],
)
def test_what_only_looks_like_a_known_host_is_not_warned_about(write: Write, url: str) -> None:
    assert warned(write, url, "generic") == []


def test_a_teams_own_profile_says_whose_hosts_are_its_own(write: Write) -> None:
    write("name: ours\nextends: stripe\nsource: us", "ours.yaml")
    write("name: bare\nsource: us\nsafe_methods: [GET]", "bare.yaml")
    write("name: listed\nsource: us\nsafe_methods: [GET]\nhosts: [api.stripe.com]", "listed.yaml")
    told = {
        name: len(warned(write, "https://api.stripe.com", name)) for name in ("ours.yaml", "bare.yaml", "listed.yaml")
    }
    assert told == {"ours.yaml": 0, "bare.yaml": 1, "listed.yaml": 0}


def test_without_anything_a_person_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = problems(None, UPSTREAM_URL="")
    assert "UPSTREAM_URL=http://HOST:PORT" in line
    assert "--config FILE" in line


def test_the_working_directorys_file_is_found(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(ONE).parent)
    assert load(None, {}).upstreams[0].name == "mock"


WHOLE = "expected a whole number"
WRONG_FILES = [
    ("upstreams: {mock: {url: http://a, retry: {max_retries: many}}}", f'"many" is not valid: {WHOLE}'),
    ("upstreams: {mock: {url: http://a, retry: {max_retries: '3'}}}", f'"3" is not valid: {WHOLE}'),
    ("upstreams: {mock: {url: http://a, retry: {max_retries: true}}}", f"true is not valid: {WHOLE}"),
    ("upstreams: {mock: {url: http://a, retry: {max_retries: 99}}}", "99 is not valid: expected at most 10"),
]


@pytest.mark.parametrize(("text", "end"), WRONG_FILES)
def test_an_error_names_file_key_value_and_what_was_expected(write: Write, text: str, end: str) -> None:
    line = f"config.yaml: upstreams.mock.retry.max_retries: {end}"
    assert problems(write(f"{text}\nroutes: [{{path: /, upstream: mock}}]")) == [line]


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ("lissten: 1", 'lissten: unknown key; did you mean "listen"?'),
        ("summary: {qqq: 1}", "summary.qqq: unknown key; known here: engine, window"),
        (
            "log: {level: loud}",
            "log.level: \"loud\" is not valid: expected one of 'debug', 'info', 'warning' or 'error'",
        ),
        ("log: null", "log: null is not valid: expected a mapping of settings"),
        (
            "drain: {timeout: 30}",
            "drain.timeout: 30 is not valid: expected a duration with its unit, like 250ms, 10s, 5m or 1h",
        ),
        ("drain: {timeout: 0s}", 'drain.timeout: "0s" is not valid: expected more than 0 seconds'),
        (
            "listen: here",
            'listen: "here" is not valid: expected HOST:PORT with a port from 0 to 65535, like 0.0.0.0:3000',
        ),
        ("admin: {token: ''}", "admin.token: *** is not valid: expected text that is not empty"),
        ("ledger: {secret: short}", "ledger.secret: *** is not valid: expected text of at least 16 characters"),
        ("ledger: {secret: ''}", "ledger.secret: *** is not valid: expected text of at least 16 characters"),
    ],
)
def test_other_mistakes_are_told_in_the_same_form(write: Write, extra: str, line: str) -> None:
    assert problems(write(ONE + extra)) == [f"config.yaml: {line}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("routes: [{path: /, upstream: x}]", "upstreams: is missing"),
        ("upstreams: [1]\nroutes: []", "upstreams: expected a mapping of NAME: settings"),
        ("upstreams: {a: {}}\nroutes: [{path: /, upstream: a}]", "upstreams.a.url: is missing"),
        (
            "upstreams: {a: null}\nroutes: [{path: /, upstream: a}]",
            "upstreams.a: null is not valid: expected a mapping of settings",
        ),
        (
            "upstreams: {a: {url: http://a}}\nroutes: [{path: x, upstream: a}]",
            'routes[0].path: "x" is not valid: expected a path that starts with / and has no query, like /api/payment',
        ),
        (
            "upstreams: {a: {url: http://a}}\nroutes: [{path: /, upstream: b}]",
            "routes[0].upstream: no upstream 'b'; there is a",
        ),
        ("upstreams: {a: {url: http://a}}\nroutes: []", "routes: expected at least 1 of them"),
        (
            "upstreams: {a: {url: http://a, name: b}}\nroutes: [{path: /, upstream: a}]",
            "upstreams: a: an upstream's name is the key it stands under, so it has no key of its own",
        ),
        (
            "upstreams: {a: {url: http://a, retrys: 1}}\nroutes: [{path: /, upstream: a}]",
            'upstreams.a.retrys: unknown key; did you mean "retry"?',
        ),
        (
            "upstreams: {a: {url: http://a, timeouts: {attempt: 20s}}}\nroutes: [{path: /, upstream: a}]",
            "upstreams.a.timeouts: expected connect <= attempt <= total, got 1s, 20s, 10s",
        ),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: 'a' stands here twice"),
        ("a: {b: 1, b: 1}", "line 1, column 11: 'b' stands here twice"),
        ("1: 2", "line 1, column 1: a key must be text: put it in quotes"),
        ("a: [", "line 1, column 5: not YAML: expected the node content, but found '<stream end>'"),
        ("a: 2001-99-99", "is not YAML: a value does not have the form its type needs"),
        ("- a", "expected a mapping of settings, like `upstreams: ...`"),
        ("", "expected a mapping of settings, like `upstreams: ...`"),
        ("[" * 5000, "is nested too deeply"),
        ("a: \x00", "is not YAML: it holds characters that YAML does not allow"),
    ],
)
def test_broken_files_give_one_line(write: Write, text: str, line: str) -> None:
    assert problems(write(text)) == [f"config.yaml: {line}"]


def test_a_merged_key_may_be_overridden(write: Write) -> None:
    text = f"{ONE}log: &log {{level: debug}}\n"
    merged = write(text.replace("{url: http://a}", "{url: http://a, retry: {<<: &r {max_retries: 1}, max_retries: 2}}"))
    assert loaded(merged).upstreams[0].retry.max_retries == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.yaml") == ["no.yaml: cannot be read: No such file or directory"]
    assert problems(tmp_path / ".") == [f"{tmp_path.name}: cannot be read: Is a directory"]
    (tmp_path / "x.yaml").write_bytes(b"a: \xff")
    assert problems(tmp_path / "x.yaml") == ["x.yaml: is not UTF-8 text (byte 3)"]


@pytest.mark.parametrize(
    ("variable", "text", "end"),
    [
        ("PORT", "x", '"x" is not valid: expected a whole number from 0 to 65535'),
        ("PORT", "65536", '"65536" is not valid: expected a whole number from 0 to 65535'),
        ("LOG_LEVEL", "loud", "\"loud\" is not valid: expected one of 'debug', 'info', 'warning' or 'error'"),
        (
            "REDIS_HOST",
            "redis://h",
            '"redis://h" is not valid: expected a host name or an address, without scheme or port',
        ),
        ("REDIS_PORT", "0", '"0" is not valid: expected a whole number from 1 to 65535'),
        (
            "REDIS_URL",
            "http://h",
            '"http://h" is not valid: expected redis://HOST:PORT/DB, rediss://... or unix:///path',
        ),
        ("PAYMENT_MAX_RETRIES", "many", f'"many" is not valid: {WHOLE} of 0 or more'),
        ("PAYMENT_MAX_RETRIES", "-1", f'"-1" is not valid: {WHOLE} of 0 or more'),
        ("PAYMENT_MAX_RETRIES", "11", '"11" is not valid: expected at most 10'),
        (
            "PAYMENT_BACKOFF_MS",
            "1,,2",
            '"1,,2" is not valid: expected milliseconds separated by commas, like 100,300,900',
        ),
        ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "0", f'"0" is not valid: {WHOLE} of 1 or more'),
        ("CIRCUIT_BREAKER_COOLDOWN_MS", "1s", f'"1s" is not valid: {WHOLE} of 1 or more'),
        ("UPSTREAM_URL", "ftp://x", '"ftp://x" is not valid: expected http://HOST[:PORT] or https://HOST[:PORT]'),
        (
            "UPSTREAM_URL",
            "http://b",
            SEVERAL,
        ),
    ],
)
def test_a_bad_variable_is_named(write: Write, variable: str, text: str, end: str) -> None:
    two = "several" in end or variable.startswith("PAYMENT")
    assert problems(write(TWO if two else ONE), **{variable: text}) == [f"environment {variable}: {end}"]


def test_all_problems_come_at_once(write: Write) -> None:
    told = problems(write(ONE + "log: {level: x}\nlissten: 1"), PORT="x")
    assert [line.split(": ")[:2] for line in told] == [
        ["environment PORT", '"x" is not valid'],
        ["config.yaml", "log.level"],
        ["config.yaml", "lissten"],
    ]


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f"{ONE}admin: {SECRET}", {}),
        (f"{ONE}admin: {{token: [{SECRET}]}}", {}),
        (f"{ONE}admin: {{tokn: {SECRET}}}", {}),
        (f"{ONE}admin: {{token: *{SECRET}}}", {}),
        (f"{ONE}admin: {{token: !{SECRET} x}}", {}),
        (f"{ONE}admin: {{token: {SECRET}", {}),
        (f"{ONE}redis: {{url: 'http://u:{SECRET}@h'}}", {}),
        (f"{ONE}redis: 'redis://:{SECRET}@h'", {}),
        (f"{ONE}redis: {{url: 'redis://u:{SECRET}'}}", {}),
        (f"{ONE}redis: {{url: 'x:{SECRET}'}}", {}),
        (f"{ONE}redis: {{url: 'http://h?password={SECRET}'}}", {}),
        (ONE.replace("http://a", f"http://u:{SECRET}@a"), {}),
        (ONE, {"REDIS_URL": f"http://:{SECRET}@h"}),
        (ONE, {"REDIS_URL": f"redis://:{SECRET}"}),
        (ONE, {"UPSTREAM_URL": f"http://u:{SECRET}@h"}),
        (f"{ONE}redis: {{timeout: 1}}", {"REDIS_PASSWORD": SECRET, "HOLDFAST_ADMIN_TOKEN": SECRET}),
        (f"{ONE}admin: 5", {"HOLDFAST_ADMIN_TOKEN": SECRET}),
    ],
)
def test_a_secret_never_appears_in_an_error(write: Write, text: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(text), environ)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("name", builtin_profiles())
def test_every_built_in_profile_loads(name: str, tmp_path: Path) -> None:
    assert load_profile(name, tmp_path).name == name


def test_a_teams_own_profile_is_found_beside_the_config(write: Write) -> None:
    path = write("name: ours\nsource: us\nsafe_methods: [GET]", "ours.yaml")
    assert load_profile("ours.yaml", path.parent).safe_methods == {"GET"}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("strip", 'profile "strip" is not known: expected one of '),
        ("../x", 'profile "../x" is not known: expected one of '),
        ("no.yaml", "no.yaml: cannot be read: No such file or directory"),
        ("bad.yaml", "bad.yaml: safe_methods: is missing"),
    ],
)
def test_a_bad_profile_is_one_clear_line(write: Write, name: str, line: str) -> None:
    folder = write("name: ours\nsource: us", "bad.yaml").parent
    with pytest.raises(ConfigError) as caught:
        load_profile(name, folder)
    (problem,) = caught.value.problems
    assert problem.removeprefix(f"{folder}/").startswith(line)
    assert "generic, none" in problem or "yaml: " in problem or len(builtin_profiles()) > 2


keys = st.sampled_from(
    [*Config.model_fields, "url", "mock", "retry", "breaker", "name", "timeouts", "path", "upstream", "<<", ""]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.just("1s")
trees = st.recursive(
    scalars | st.just("http://a"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)
variables = st.dictionaries(
    st.sampled_from([*VARIABLES, *REDIS_PARTS]), st.text(max_size=8) | st.sampled_from(["1", "http://a"]), max_size=3
)
junk = st.text() | trees.map(lambda tree: yaml.safe_dump(tree, allow_unicode=True))


@given(text=junk, environ=variables)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_holds_only_a_config_error_comes(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    path = tmp_path / "junk.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert tried(path, environ)


def tried(path: Path, environ: dict[str, str]) -> bool:
    """Whether loading gave a configuration, or problems of one line each."""
    try:
        return bool(load(path, environ).upstreams)
    except ConfigError as told:
        return bool(told.problems) and all(len(line.splitlines()) == 1 for line in told.problems)
