"""The data files themselves: each loads, each fact says where it is from, and a wrong one is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from proxy.core.errors import ConfigError
from proxy.core.evidence import Evidence
from proxy.core.key_rules import KeyRule
from proxy.core.profiles import Profile
from proxy.edges.config_file import builtin_profiles, load_profile
from proxy.edges.profile_docs import page
from tests.core.providers import NAMES, PROVIDERS


def test_the_package_brings_these_profiles() -> None:
    assert builtin_profiles() == sorted([*NAMES, "generic", "none"])


@pytest.mark.parametrize("name", [*NAMES, "generic", "none"])
def test_a_profile_says_what_it_is_and_where_its_facts_are_from(name: str) -> None:
    profile = load_profile(name, Path())
    assert profile.name == name
    assert profile.source


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
    assert profile.key.in_flight[0].body[0].values == frozenset({"busy", "7", "true"})
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


DOCS = Path(__file__).parent.parent.parent / "docs" / "profiles.md"


def lines_of_docs() -> Iterator[str]:
    yield from DOCS.read_text(encoding="utf-8").splitlines()


def test_the_documentation_names_every_key_of_the_schema() -> None:
    text = "\n".join(lines_of_docs())
    keys = (*Profile.model_fields, *KeyRule.model_fields, *get_args(Evidence))
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_the_documentation_is_what_the_profiles_say() -> None:
    """`python -m proxy.edges.profile_docs docs/profiles.md` writes it anew."""
    text = DOCS.read_text(encoding="utf-8")
    assert text == page(text)
    assert all(f"### {name}\n" in text for name in builtin_profiles())


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    text = "\n".join(lines_of_docs())
    examples = re.findall(r"```yaml\n(name: .*?)```", text, re.DOTALL)
    assert len(examples) == 1
    assert load(tmp_path, examples[0]).name == "acme"
