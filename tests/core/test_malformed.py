"""What a request must be before anything is decided about it, as rules."""

from __future__ import annotations

import re
import time
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.malformed import METHOD, NOT_HTTP, VERSION, Flaw, Target, flaw_of, flaw_of_start, is_loose, read_target

HOSTS = ["", "a", "a.b:443", "a_b", "127.0.0.1:1", "[::1]", "[fe80::1%25eth0]:80", "sh%C3%B6p", "a:", "a,b"]
NO_HOSTS = [
    "a b",
    "a/b",
    "a@b",
    "http://a",
    "a:b",
    "a:80:80",
    "a?b",
    "a#b",
    "a\\b",
    "sh\u00f6p",
    "[::1",
    "::1",
    "[zzz]",
    "[127.0.0.1]",
    "a\t",
    "<a>",
]


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_is_a_host(host: str) -> None:
    assert flaw_of((1, 1), host, None) is None


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_no_host_is_refused(host: str) -> None:
    flaw = flaw_of((1, 1), host, None)
    assert flaw is not None
    assert (flaw.status, flaw.reason) == (400, "host")


@pytest.mark.parametrize(
    ("version", "coding", "status"),
    [
        ((1, 1), None, None),
        ((1, 0), None, None),
        ((1, 1), "chunked", None),
        ((1, 0), "chunked", 400),
        ((1, 1), "", 400),
        ((1, 1), " \t", 400),
        ((0, 9), None, 400),
        ((2, 0), None, 505),
        ((1, 2), None, 505),
    ],
)
def test_versions_and_codings(version: tuple[int, int], coding: str | None, status: int | None) -> None:
    flaw = flaw_of(version, "a", coding)
    assert (flaw and flaw.status) == status


SEGMENTS = st.lists(
    st.sampled_from(
        ["", "a", "..", ".", "...", "%2e", "%2E.", ".%2e", "%252e%2e", "..;x", ".a", "a.", "%2fa", "%2e%2e%2f"]
    ),
    max_size=5,
)


def resolved_differently(path: str) -> bool:
    """Whether some server would read the path as another one: decoded as often as it likes, parameters cut off."""
    for _ in range(5):
        path = unquote(path)
    segments = [segment.partition(";")[0] for segment in re.split(r"[/\\\\]", path)]
    return "." in segments or ".." in segments


@given(segments=SEGMENTS)
def test_a_path_passes_just_if_no_reader_resolves_it_to_another(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    read = read_target(path)
    assert isinstance(read, Flaw) == resolved_differently(path)
    assert isinstance(read, Flaw) or read == Target(path)


@pytest.mark.parametrize("dots", ["%c0%ae%c0%ae/", "..%c0%af", "..%C1%9C", "%u002e%U002E/", "%25c0%25ae/", "..%u002f"])
def test_dots_in_forms_that_only_careless_servers_read_are_dots(dots: str) -> None:
    read = read_target(f"/a/{dots}b")
    assert isinstance(read, Flaw)
    assert read.reason == "dot_segments"


@pytest.mark.parametrize("raw", ["*", "host:443", "/", "/a?b=../c", "//x", "/a%2Fb"])
def test_what_has_no_flaw_is_left_as_it_is(raw: str) -> None:
    assert read_target(raw) == Target(raw)


LINES = {
    b"BREW / HTTP/1.1\r\n": METHOD,
    b"\r\nBREW / HTTP/1.0\r\n": METHOD,
    b"GET / HTTP/1.1\r\n": NOT_HTTP,
    b"GET / HTTP/2.0\r\n": VERSION,
    b"GET / HTTP/2.0": NOT_HTTP,
    b"GET / http/1.1\r\n": NOT_HTTP,
    b"\x16\x03\x01": NOT_HTTP,
    b"": NOT_HTTP,
}


@pytest.mark.parametrize(("seen", "flaw"), LINES.items())
def test_what_the_first_line_tells(seen: bytes, flaw: Flaw) -> None:
    assert flaw_of_start(seen, at_method=True) is flaw
    assert flaw_of_start(seen, at_method=False) is (NOT_HTTP if flaw is METHOD else flaw)


def test_loose_lines_are_found_and_tight_ones_are_not_taken_for_them() -> None:
    tight = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 22\r\n\r\nPOST  /x HTTP/1.1\r\n\r\n"
    assert not is_loose("POST", "/x", tight)
    assert not is_loose("POST", "/x", b"")
    for line in (b"POST  /x HTTP/1.1\r\n", b"POST /x  HTTP/1.0\r\n", b"POST /x ICE/1.0\r\n"):
        assert is_loose("POST", "/x", line)


@pytest.mark.parametrize("body", [b"q", b"q  ", b" ", b"q\r\n", b"q(", b"q  /x "])
def test_looking_for_a_loose_line_costs_no_more_than_the_bytes_it_looks_at(body: bytes) -> None:
    """A word of 16 KB once took ten seconds, with everybody else waiting."""
    started = time.process_time()
    assert not is_loose("POST", "/x", body * (24_000 // len(body)))
    assert time.process_time() - started < 0.5
