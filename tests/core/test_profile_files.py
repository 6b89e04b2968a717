"""The data files themselves: each loads, each fact says where it is from, and a wrong one is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from proxy.core.errors import ConfigError
from proxy.core.profiles import Profile
from proxy.edges.config_file import builtin_profiles, load_profile
from tests.core.providers import NAMES, PROVIDERS

WITH_SOURCE = {"key", "hint", "rate_limit", "envelope"}
LISTS_WITH_SOURCES = {"more_keys", "declines", "duplicates", "conflict_replays", "provider_failures"}
LEVEL = re.compile(r"\[[SMD2U]\]")


def text_of(name: str) -> str:
    return (files("proxy") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")


def test_the_package_brings_these_profiles() -> None:
    assert builtin_profiles() == sorted([*NAMES, "generic", "none"])


@pytest.mark.parametrize("name", [*NAMES, "generic", "none"])
def test_a_profile_says_what_it_is_and_where_its_facts_are_from(name: str) -> None:
    profile = load_profile(name, Path())
    assert profile.name == name
    assert profile.source


@pytest.mark.parametrize("name", NAMES)
def test_every_section_has_a_source(name: str) -> None:
    tree = yaml.safe_load(text_of(name))
    sections = [(key, tree[key]) for key in WITH_SOURCE & set(tree)]
    sections += [(key, one) for key in LISTS_WITH_SOURCES & set(tree) for one in tree[key]]
    without = [key for key, section in sections if not LEVEL.search(section.get("source", ""))]
    assert without == []


@pytest.mark.parametrize("name", NAMES)
def test_every_plain_fact_has_a_source_beside_it(name: str) -> None:
    plain = [line for line in text_of(name).splitlines() if re.match(r"(?!name:|source:)[a-z_0-9]+: *[^# ]", line)]
    assert len(plain) >= 4
    assert [line for line in plain if not (LEVEL.search(line) or "RFC 9110" in line)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_speaks_its_providers_language(name: str) -> None:
    assert PROVIDERS[name].envelope is not None
    assert PROVIDERS[name].client_reference_fields


def test_what_the_same_key_does_after_a_received_5xx() -> None:
    assert {name: profile.received_5xx_then_same_key for name, profile in PROVIDERS.items()} == {
        "stripe": "replays_stored_result",
        "adyen": "only_with_hint",
        "paypal": "safe",
        "square": "safe",
        "checkout_com": "reexecutes",
        "braintree": "safe",
        "mollie": "safe",
        "razorpay": "safe",
        "gocardless": "safe",
    }


# A team's own ------------------------------------------------------------------------------------------------------

OURS = """
name: ours
source: https://docs.example.com/errors
safe_methods: [GET, HEAD]
key:
  header: X-Once
  applies_to: [{methods: [POST], paths: ["/pay/*"]}]
  retention: 2h
  in_flight: [{statuses: [409], body: [{path: code, values: [busy, 7, true]}]}]
received_5xx_then_same_key: only_with_hint
hint: {header: X-Retry}
declines: [{statuses: [200], body: [{xml: r/status, values: ["no"]}]}]
envelope: {content_type: application/json, body: '{"oops": "{message}"}'}
"""


def load(folder: Path, text: str) -> Profile:
    (folder / "ours.yaml").write_text(text)
    return load_profile("ours.yaml", folder)


def test_a_teams_own_file_has_the_same_schema(tmp_path: Path) -> None:
    profile = load(tmp_path, OURS)
    assert profile.key is not None
    assert profile.terms[0].trusted_seconds == 7200
    assert profile.key.in_flight[0].body[0].values == {"busy", "7", "true"}
    assert profile.decline_statuses == {402}


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("retention: 2h", "retention: 2", "key.retention: 2 is not valid: expected a duration with its unit"),
        ("header: X-Once", "haeder: X-Once", 'key.haeder: unknown key; did you mean "header"?'),
        ("header: X-Once", "header: X Once", 'key.header: "X Once"'),
        ("header: X-Once", "min_length: 3", "key: expected either header (a field name) or body"),
        ("header: X-Once", "header: X-Once\n  body: [{path: k}]", "key: expected either header"),
        ("header: X-Once", "header: X-Once\n  charset: '[a'", 'key.charset: "[a" is not valid: expected a class'),
        ("header: X-Once", "header: X-Once\n  mandatory: 'yes'", 'key.mandatory: "yes" is not valid: expected true or'),
        ("statuses: [409]", "statuses: ['409']", 'statuses[0]: "409" is not valid: expected a whole number'),
        ("statuses: [409]", "statuses: [true]", "statuses[0]: true is not valid: expected a whole number"),
        ("statuses: [409]", "statuses: [99]", "statuses[0]: 99 is not valid: expected at least 100"),
        ("{path: code, values: [busy, 7, true]}", "{values: [x]}", "body[0]: expected either path (JSON"),
        ("{path: code, values: [busy, 7, true]}", "{path: code, values: []}", "values: expected at least 1 of them"),
        ("{path: code, values: [busy, 7, true]}", "{path: 'a..b', values: [x]}", "expected names with a dot"),
        ('{statuses: [200], body: [{xml: r/status, values: ["no"]}]}', "{}", "declines[0]: expected statuses, body"),
        ("only_with_hint", "sometimes", 'received_5xx_then_same_key: "sometimes" is not valid: expected one of'),
        ("{header: X-Retry}", "{header: X-Retry, on_true: go}", 'hint.on_true: "go" is not valid: expected one of'),
        ("{message}", "{mesage}", "there is {mesage}"),
        ("source: https", "sorce: https", "source: is missing"),
    ],
)
def test_a_wrong_one_is_refused_by_file_key_value_and_expectation(
    tmp_path: Path, old: str, new: str, line: str
) -> None:
    assert OURS.count(old) == 1
    with pytest.raises(ConfigError) as error:
        load(tmp_path, OURS.replace(old, new))
    assert [problem for problem in error.value.problems if line in problem], error.value.problems
    assert all(problem.startswith(f"{tmp_path}/ours.yaml: ") for problem in error.value.problems)


def test_a_file_may_extend_a_built_in_one_by_whole_keys(tmp_path: Path) -> None:
    profile = load(
        tmp_path, "extends: stripe\nname: ours\nsource: us\nmax_retry_after: 5s\ndecline_statuses: [402, 410]"
    )
    stripe = PROVIDERS["stripe"]
    assert (profile.name, profile.source, profile.max_retry_after) == ("ours", "us", 5.0)
    assert profile.decline_statuses == {402, 410}
    assert (profile.key, profile.hint, profile.envelope) == (stripe.key, stripe.hint, stripe.envelope)


@pytest.mark.parametrize("parent", ["strip", "ours.yaml", "7", "[stripe]"])
def test_only_a_built_in_one_can_be_extended(tmp_path: Path, parent: str) -> None:
    with pytest.raises(ConfigError, match=r"ours\.yaml: extends: .*expected one of adyen, braintree"):
        load(tmp_path, f"extends: {parent}\nname: ours\nsource: us")


def test_who_extends_still_says_its_name_and_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "extends: stripe")
    assert sorted(problem.split(": ", 1)[1] for problem in error.value.problems) == [
        "name: is missing",
        "source: is missing",
    ]


def lines_of_docs() -> Iterator[str]:
    yield from (Path(__file__).parent.parent.parent / "docs" / "profiles.md").read_text().splitlines()


def test_the_documentation_names_every_key_of_the_schema() -> None:
    text = "\n".join(lines_of_docs())
    assert [key for key in Profile.model_fields if f"`{key}`" not in text] == []


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    text = "\n".join(lines_of_docs())
    examples = re.findall(r"```yaml\n(name: .*?)```", text, re.DOTALL)
    assert len(examples) == 1
    assert load(tmp_path, examples[0]).name == "acme"
