"""What is only assumed of a provider lets nothing go out again, and settles nothing: for every profile, old and new."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.evidence import Ground
from proxy.core.idempotency import settle_kind
from proxy.core.key_terms import KeyTerms
from proxy.core.model import SAFE_METHODS, Certainty, Kind, Outcome, Result, WireError
from proxy.core.outcome import hint_of, row_of
from proxy.core.profiles import Profile
from proxy.core.retry import TABLE, may_repeat, settles
from proxy.core.rows import Row
from proxy.edges.config_file import builtin_profiles
from tests.fakes import failure, keys, payment, response

Tree = dict[str, Any]
SIGNS = ("declines", "duplicates", "conflict_replays", "provider_failures")
GROUPS = ("key", "hint", "rate_limit", "envelope")
PLAIN = {
    "safe_methods",
    "received_5xx_then_same_key",
    "unseen_then_same_key",
    "decline_statuses",
    "method_outage_statuses",
    "request_id_headers",
    "client_reference_fields",
    "max_retry_after",
}


def tree_of(name: str) -> Tree:
    tree: Tree = yaml.safe_load((files("proxy") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))
    return tree


def groups_of(tree: Tree) -> Iterator[tuple[str, Tree]]:
    yield from ((key, tree[key]) for key in GROUPS if tree.get(key) is not None)
    yield from ((key, one) for key in (*SIGNS, "more_keys") for one in tree.get(key, ()))


@pytest.mark.parametrize("name", builtin_profiles())
def test_every_group_of_facts_says_where_it_is_from_and_how_sure_it_is(name: str) -> None:
    without = [key for key, one in groups_of(tree_of(name)) if not one.get("source") or "evidence" not in one]
    assert without == []


@pytest.mark.parametrize("name", builtin_profiles())
def test_every_plain_fact_has_its_ground(name: str) -> None:
    tree = tree_of(name)
    assert set(tree["grounds"]) == PLAIN & set(tree)
    assert {key for key in Profile.model_fields if key not in {*SIGNS, *GROUPS, "more_keys"}} == {
        *PLAIN,
        "name",
        "hosts",
        "source",
        "evidence",
        "grounds",
    }


@pytest.mark.parametrize("name", builtin_profiles())
def test_a_ground_within_a_rule_is_that_of_a_fact_which_stands_there(name: str) -> None:
    tree = tree_of(name)
    for rule in filter(None, (tree.get("key"), *tree.get("more_keys", ()))):
        assert set(rule.get("grounds", {})) <= set(rule)


# What is assumed, taken out ------------------------------------------------------------------------------------


def proven(group: Tree, above: str = "documented") -> bool:
    return bool(group.get("evidence", above) != "assumed")


def without_assumed(tree: Tree) -> Tree:
    """The same profile with everything that is only assumed struck out by hand."""
    above = tree.get("evidence", "documented")
    kept = {key: value for key, value in tree.items() if key not in {*SIGNS, *GROUPS, "more_keys"}}
    kept |= {key: [one for one in tree.get(key, ()) if proven(one, above)] for key in SIGNS}
    kept |= {"more_keys": [strip_rule(one, above) for one in tree.get("more_keys", ()) if proven(one, above)]}
    for key in ("hint", "envelope"):
        kept |= {key: tree[key]} if tree.get(key) and proven(tree[key], above) else {}
    if tree.get("key") and proven(tree["key"], above):
        kept["key"] = strip_rule(tree["key"], above)
    for fact in PLAIN:
        if not proven(tree.get("grounds", {}).get(fact, {}), above):
            kept.pop(fact, None)
            kept |= {"decline_statuses": []} if fact == "decline_statuses" else {}
    safe = {"safe_methods": sorted(SAFE_METHODS & set(tree["safe_methods"]))}
    return safe | kept | ({"rate_limit": strip_limit(tree["rate_limit"], above)} if "rate_limit" in tree else {})


def strip_limit(limit: Tree, above: str) -> Tree:
    own = limit.get("evidence", above)
    return {**limit, "evidence": own, "signs": [one for one in limit.get("signs", ()) if proven(one, own)]}


def strip_rule(rule: Tree, above: str) -> Tree:
    own = rule.get("evidence", above)
    kept = dict(rule)
    for key in ("applies_to", "in_flight", "in_flight_429", "mismatch"):
        kept[key] = [one for one in rule.get(key, ()) if proven(one, own)]
    for fact, ground in rule.get("grounds", {}).items():
        if ground["evidence"] == "assumed":
            kept.pop(fact, None)
            if fact == "received_5xx_then_same_key" and fact in rule:
                kept[fact] = "never"
    return kept


BODIES = [b"", b'{"code":"a"}', b'{"code":"a']
STATUSES = [200, 402, 409, 422, 429, 500, 503]
HINTS: list[tuple[tuple[bytes, bytes], ...]] = [(), ((b"X-Hint", b"true"),)]
RESULTS: list[Result] = [
    *(response(status, *hint, body=body) for status in STATUSES for body in BODIES for hint in HINTS),
    *(failure(Certainty.CUT, WireError.CUT, status) for status in STATUSES),
    failure(Certainty.NO_ANSWER, WireError.TIMEOUT),
]


def weaker_than(profile: Profile, stripped: Profile, results: list[Result], paths: list[str]) -> None:
    """Nothing goes out, is settled or is trusted that would not be without what is assumed."""
    for method in ("POST", "DELETE"):
        for path in paths:
            whole, less = terms_of(profile, method, path), terms_of(stripped, method, path)
            if whole is not None:
                assert less is not None, "a key counts whose rule is only assumed"
                assert whole.trusted_seconds <= max(less.trusted_seconds, 3600.0)
            compare(profile, stripped, whole, less, results)
        one = payment(method, target=b"/elsewhere")
        kinds = [settle_kind(one, each, inject=False, new_key=keys()).kind for each in (profile, stripped)]
        assert kinds[0] is not Kind.READ or kinds[1] is Kind.READ


def terms_of(profile: Profile, method: str, path: str) -> KeyTerms | None:
    return profile.terms_for(method, path)


def compare(
    profile: Profile, stripped: Profile, whole: KeyTerms | None, less: KeyTerms | None, results: list[Result]
) -> None:
    kind = Kind.KEYED if whole is not None else Kind.UNKEYED
    for result in results:
        row, other = row_of(result, kind, profile, whole), row_of(result, kind, stripped, less)
        again = may_repeat(row, kind, whole, advice=hint_of(result, profile))
        assert not again or may_repeat(other, kind, less, advice=hint_of(result, stripped)), (row, other, result)
        assert not settles(row, kind) or settles(other, kind), (row, other, result)
        known = [TABLE[one].outcome is not Outcome.UNKNOWN for one in (row, other)]
        assert not known[0] or known[1], (row, other, result)


@pytest.mark.parametrize("name", builtin_profiles())
def test_nothing_hangs_on_what_is_assumed_of_a_provider(name: str) -> None:
    tree = tree_of(name)
    paths = [one.replace("*", "1").replace("[0-9][0-9]", "72") for one in paths_of(tree)]
    results: list[Result] = [response(status) for status in range(100, 600)]
    results += [failure(Certainty.CUT, WireError.CUT, status) for status in range(100, 600)]
    weaker_than(Profile.model_validate(tree), Profile.model_validate(without_assumed(tree)), results, paths[:6])


def paths_of(tree: Tree) -> list[str]:
    rules = filter(None, (tree.get("key"), *tree.get("more_keys", ())))
    return [path for rule in rules for scope in rule["applies_to"] for path in scope["paths"]] or ["/x"]


EVIDENCE = st.sampled_from(["documented", "sdk", "openapi", "assumed"])
SOURCE = st.just({"source": "somewhere"})
SIGN = st.fixed_dictionaries(
    {"statuses": st.lists(st.sampled_from(STATUSES), min_size=1, max_size=3), "evidence": EVIDENCE},
    optional={"body": st.just([{"path": "code", "values": ["a"]}])},
)
SIGN_LIST = st.lists(SIGN, max_size=2)
AFTER = st.sampled_from(["safe", "replays_stored_result", "only_with_hint", "reexecutes", "never"])


def grounds(*facts: str) -> st.SearchStrategy[Tree]:
    one = EVIDENCE.map(lambda evidence: {"source": "somewhere", "evidence": evidence})
    return st.dictionaries(st.sampled_from(facts), one, max_size=len(facts))


RULE = st.fixed_dictionaries(
    {
        "header": st.just("X-Key"),
        "applies_to": st.lists(
            st.fixed_dictionaries(
                {"methods": st.just(["POST", "DELETE"]), "paths": st.sampled_from([["/a"], ["/b"], ["*"]])},
                optional={"evidence": EVIDENCE, "retention": st.sampled_from(["1m", "2h", "1d"])},
            ),
            min_size=1,
            max_size=2,
        ),
        "grounds": grounds(
            "retention",
            "received_5xx_then_same_key",
            "unseen_then_same_key",
            "stores_declines",
            "in_flight_statuses",
            "mismatch_statuses",
        ),
    },
    optional={
        "evidence": EVIDENCE,
        "retention": st.sampled_from(["1m", "2h", "1d"]),
        "received_5xx_then_same_key": AFTER,
        "unseen_then_same_key": st.sampled_from(["safe", "unsafe"]),
        "stores_declines": st.booleans(),
        "in_flight_statuses": st.lists(st.sampled_from(STATUSES), max_size=2),
        "in_flight": SIGN_LIST,
        "in_flight_429": SIGN_LIST,
        "mismatch": SIGN_LIST,
        "mismatch_statuses": st.lists(st.sampled_from(STATUSES), max_size=2),
    },
)
PROFILE = st.fixed_dictionaries(
    {
        "name": st.just("new"),
        "source": st.just("somewhere"),
        "safe_methods": st.sampled_from([["GET"], ["GET", "DELETE"]]),
        "grounds": grounds(
            "safe_methods",
            "received_5xx_then_same_key",
            "unseen_then_same_key",
            "decline_statuses",
            "method_outage_statuses",
        ),
    },
    optional={
        "evidence": EVIDENCE,
        "key": RULE,
        "more_keys": st.lists(RULE, max_size=1),
        "received_5xx_then_same_key": AFTER,
        "unseen_then_same_key": st.sampled_from(["safe", "unsafe"]),
        "decline_statuses": st.lists(st.sampled_from(STATUSES), max_size=2),
        "method_outage_statuses": st.lists(st.sampled_from([500, 503]), max_size=2),
        "hint": st.fixed_dictionaries(
            {"header": st.just("X-Hint")},
            optional={"evidence": EVIDENCE, "on_true": st.sampled_from(["retry_same_key", "retry_without_key_too"])},
        ),
        "rate_limit": st.fixed_dictionaries({}, optional={"evidence": EVIDENCE, "signs": SIGN_LIST}),
        **dict.fromkeys(SIGNS, SIGN_LIST),
    },
)


@settings(max_examples=60, deadline=None)
@given(tree=PROFILE)
def test_nothing_hangs_on_what_is_assumed_of_any_provider(tree: Tree) -> None:
    try:
        profile, stripped = Profile.model_validate(tree), Profile.model_validate(without_assumed(tree))
    except ValueError as error:
        assert "unseen_then_same_key cannot be safe" in str(error)  # noqa: PT017 - the one way to contradict oneself
        return
    weaker_than(profile, stripped, RESULTS, ["/a", "/b"])


def test_a_team_vouches_for_its_own_profile_unless_it_says_otherwise() -> None:
    tree: Tree = {"name": "ours", "source": "us", "safe_methods": ["GET", "PUT"], "received_5xx_then_same_key": "safe"}
    tree |= {"key": {"header": "X-Key", "applies_to": [{"methods": ["POST"], "paths": ["*"]}]}}
    sure, unsure = Profile.model_validate(tree), Profile.model_validate(tree | {"evidence": "assumed"})
    assert [one.unseen_safe for one in sure.terms] == [True]
    assert unsure.terms == ()
    assert (sure.repeats_freely("PUT"), unsure.repeats_freely("PUT"), unsure.repeats_freely("GET")) == (
        True,
        False,
        True,
    )


def test_a_ground_names_a_known_level() -> None:
    with pytest.raises(ValueError, match="evidence"):
        Ground.model_validate({"source": "x", "evidence": "heard"})


def test_unseen_cannot_be_safe_where_a_5xx_pays_anew() -> None:
    tree: Tree = {"name": "ours", "source": "us", "safe_methods": ["GET"], "received_5xx_then_same_key": "reexecutes"}
    tree |= {"key": {"header": "X-Key", "applies_to": [{"methods": ["POST"], "paths": ["*"]}]}}
    with pytest.raises(ValueError, match="unseen_then_same_key cannot be safe"):
        Profile.model_validate(tree | {"unseen_then_same_key": "safe"})


def test_extending_a_profile_takes_no_ground_for_a_fact_that_is_ones_own(tmp_path: Path) -> None:
    from proxy.edges.config_file import load_profile

    own = "extends: checkout_com\nname: ours\nsource: us\nevidence: assumed\nreceived_5xx_then_same_key: safe\n"
    (tmp_path / "ours.yaml").write_text(own + "unseen_then_same_key: safe\n")
    assert [one.after_5xx for one in load_profile("ours.yaml", tmp_path).terms] == ["never"]
    assert [one.unseen_safe for one in load_profile("ours.yaml", tmp_path).terms] == [False]


def one_rule(**facts: object) -> Profile:
    rule = {"header": "X-Key", "applies_to": [{"methods": ["POST"], "paths": ["*"]}], **facts}
    return Profile.model_validate(
        {"name": "ours", "source": "us", "safe_methods": ["GET"], "unseen_then_same_key": "safe", "key": rule}
    )


def test_declines_are_stored_only_where_that_is_known() -> None:
    unsure = {"stores_declines": {"source": "x", "evidence": "assumed"}}
    for facts, row in ({}, Row.DECLINE), ({"grounds": unsure}, Row.UNSETTLED_DECLINE):
        profile = one_rule(stores_declines=True, **facts)
        assert row_of(response(402), Kind.KEYED, profile, profile.terms[0]) is row


def test_what_the_profile_says_of_the_unseen_is_not_said_of_a_rule_with_another_5xx() -> None:
    assert [one.unseen_safe for one in one_rule().terms] == [True]
    assert [one.unseen_safe for one in one_rule(received_5xx_then_same_key="never").terms] == [False]
