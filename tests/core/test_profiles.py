"""The built-in profiles state what payments.md and the IETF draft state."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.core.key_rules import UNKNOWN_RETENTION_SECONDS, AppliesTo
from proxy.core.profiles import Profile
from tests.fakes import GENERIC, NO_KEYS, profile


def test_generic_is_the_ietf_draft() -> None:
    key = GENERIC.key
    assert key is not None
    assert key.header == "Idempotency-Key"
    assert (key.in_flight_statuses, key.mismatch_statuses) == ((409,), (422,))
    assert GENERIC.terms[0].trusted_seconds == UNKNOWN_RETENTION_SECONDS == 3600.0
    assert GENERIC.received_5xx_then_same_key == "safe"


def test_generic_covers_the_methods_http_does_not_make_idempotent() -> None:
    methods = ["GET", "HEAD", "OPTIONS", "TRACE", "POST", "PATCH", "PUT", "DELETE", "CONNECT"]
    assert [method for method in methods if GENERIC.terms_for(method, "/x/y")] == ["POST", "PATCH"]


def test_none_trusts_no_key_and_no_5xx() -> None:
    assert NO_KEYS.key is None
    assert NO_KEYS.received_5xx_then_same_key == "never"


@pytest.mark.parametrize("facts", [GENERIC, NO_KEYS], ids=lambda facts: facts.name)
def test_only_the_safe_methods_of_http_are_reads(facts: Profile) -> None:
    assert facts.safe_methods == {"GET", "HEAD", "OPTIONS", "TRACE"}
    assert facts.decline_statuses == {402}


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("/v1/charges", "/v1/charges", True),
        ("/v1/charges", "/v1/charges/1", False),
        ("/v1/*/capture", "/v1/a/b/capture", True),
        ("/v1/*", "/V1/a", False),
        ("*", "", True),
    ],
)
def test_a_pattern_matches_the_whole_path_and_its_case(pattern: str, path: str, covered: bool) -> None:
    assert AppliesTo(methods=("POST",), paths=(pattern,)).covers("POST", path) is covered


def test_a_profile_is_careful_unless_it_says_otherwise() -> None:
    assert Profile.model_fields["received_5xx_then_same_key"].default == "never"
    assert Profile.model_fields["key"].default is None


@pytest.mark.parametrize(
    "change", [{"received_5xx_then_same_key": "maybe"}, {"unheard_of": 1}, {"max_retry_after": "0s"}]
)
def test_a_wrong_profile_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Profile.model_validate(profile().model_dump(mode="json") | {"max_retry_after": "60s"} | change)
