"""Profiles as Markdown tables for people: every fact, how sure it is, and where it is from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, get_args

from proxy.core.key_rules import KeyRule, PlainKeyFact
from proxy.core.key_terms import KeyTerms
from proxy.core.profiles import PlainFact, Profile
from proxy.core.units import format_duration

if TYPE_CHECKING:
    from proxy.core.evidence import Fact, Ground
    from proxy.core.signs import Place, Sign

_SIGNS = ("declines", "duplicates", "conflict_replays", "provider_failures")
_KEY_SIGNS = ("in_flight", "in_flight_429", "mismatch")


class Line(NamedTuple):
    """One fact."""

    what: str
    says: str
    evidence: str
    source: str


def overview(profiles: Iterable[Profile]) -> str:
    """One line for every key rule of every profile: where the key is, how long it is kept, when it is used again."""
    rows = [row for profile in profiles for row in _overview_rows(profile)]
    head = ("profile", "key", "on", "kept", "again after a 5xx", "again after an answer that nobody saw", "evidence")
    return _table(head, rows)


def facts(profile: Profile) -> str:
    """The table of all that one profile claims."""
    return _table(("fact", "what it says", "evidence", "source"), list(_lines(profile)))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _overview_rows(profile: Profile) -> Iterator[tuple[str, ...]]:
    if not profile.terms:
        yield f"`{profile.name}`", "none", "", "", "no", "no", ""
    for rule in dict.fromkeys(id(one.rule) for one in profile.terms):
        terms = [one for one in profile.terms if id(one.rule) == rule]
        kept = list(dict.fromkeys(_kept(one.scope.retention or one.rule.retention) for one in terms))
        yield (
            f"`{profile.name}`",
            _place(terms[0].rule),
            _where(terms),
            ", ".join(kept),
            _AFTER[terms[0].after_5xx],
            "yes" if terms[0].unseen_safe else "**no**",
            terms[0].rule.evidence,
        )


_AFTER = {
    "safe": "yes",
    "replays_stored_result": "after 502, 503, 504; a 500 is stored",
    "only_with_hint": "only if its hint says so",
    "reexecutes": "**no**: it would pay anew",
    "never": "**no**: nothing is promised",
}


def _where(terms: list[KeyTerms]) -> str:
    """The first of its places, and how many more there are."""
    places = [f"{'/'.join(one.scope.methods)} `{path}`" for one in terms for path in one.scope.paths]
    more = len(places) - 1
    return places[0] + (f" and {more} more" if more else "")


def _kept(seconds: float | None) -> str:
    return "not published: an hour is trusted" if seconds is None else format_duration(seconds)


def _place(rule: KeyRule) -> str:
    if rule.header is not None:
        return f"`{rule.header}`" + (", mandatory" if rule.mandatory else ", added if missing")
    return "body: " + ", ".join(_path(place) for place in rule.body)


def _path(place: Place) -> str:
    return f"`{place.path or place.xml}`"


def _lines(profile: Profile) -> Iterator[Line]:
    yield from _plain(profile, profile.grounds, get_args(PlainFact), profile.evidence, "")
    for rule in filter(None, (profile.key, *profile.more_keys)):
        yield from _key_lines(rule)
    if profile.hint is not None:
        yield _of(profile.hint, "`hint`", f"`{profile.hint.header}`: true, {profile.hint.on_true}; false, stop")
    for name in _SIGNS:
        yield from (_of(sign, f"`{name}`", _sign(sign)) for sign in getattr(profile, name))
    waits = "".join(f"; `{one.header}` ({one.unit})" for one in profile.rate_limit.wait_headers)
    yield _of(profile.rate_limit, "`rate_limit`", f"429, `Retry-After`{waits}")
    yield from (_of(sign, "`rate_limit.signs`", _sign(sign)) for sign in profile.rate_limit.signs)
    if profile.envelope is not None:
        yield _of(profile.envelope, "`envelope`", profile.envelope.content_type)


def _key_lines(rule: KeyRule) -> Iterator[Line]:
    yield _of(rule, "`key`", _place(rule))
    for scope in rule.applies_to:
        kept = "" if scope.retention is None else f"; kept {format_duration(scope.retention)}"
        paths = ", ".join(f"`{path}`" for path in scope.paths)
        yield _of(scope, "`key.applies_to`", f"{', '.join(scope.methods)} {paths}{kept}", rule)
    yield from _plain(rule, rule.grounds, get_args(PlainKeyFact), rule.evidence, "key.", rule.source or "")
    for name in _KEY_SIGNS:
        yield from (_of(sign, f"`key.{name}`", _sign(sign), rule) for sign in getattr(rule, name))
    if rule.replay_marker is not None:
        marker = rule.replay_marker
        yield _of(marker, "`key.replay_marker`", f"`{marker.header}: {marker.value or '...'}`", rule)


def _plain(
    holder: Profile | KeyRule,
    grounds: dict[PlainFact, Ground] | dict[PlainKeyFact, Ground],
    names: Iterable[str],
    evidence: str,
    prefix: str,
    source: str = "",
) -> Iterator[Line]:
    by_name = {str(name): ground for name, ground in grounds.items()}
    for name in names:
        if name not in holder.model_fields_set:
            continue
        ground = by_name.get(name)
        said = (evidence, source) if ground is None else (ground.evidence, ground.source)
        yield Line(f"`{prefix}{name}`", _value(name, getattr(holder, name)), *said)


def _value(name: str, value: object) -> str:
    if name == "retention":
        return _kept(value if isinstance(value, float) else None)
    if isinstance(value, float):
        return format_duration(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset | tuple):
        texts = sorted(map(str, value)) if isinstance(value, frozenset) else map(str, value)
        return ", ".join(f"`{text}`" for text in texts) or "none"
    return f"`{value}`"


def _sign(sign: Sign) -> str:
    status = ", ".join(map(str, sorted(sign.statuses))) or "any from 400 on"
    says = [
        _path(place) + (" holds something" if place.values is None else " is " + " or ".join(sorted(place.values)))
        for place in sign.body
    ]
    return f"{status}: {'; '.join(says)}" if says else status


def _of(fact: Fact, what: str, says: str, holder: Fact | None = None) -> Line:
    return Line(what, says, fact.evidence, fact.source or (holder.source if holder is not None else None) or "")
