"""Which upstream a path belongs to."""

from __future__ import annotations

import pytest

from proxy.core.config import Route
from proxy.core.routes import RouteTable

TABLE = RouteTable(
    (
        Route(path="/api", upstream="api"),
        Route(path="/api/payment", upstream="payment"),
        Route(path="/stripped/", upstream="stripped", strip_prefix=True),
    )
)


@pytest.mark.parametrize(
    ("target", "upstream"),
    [
        ("/api", "api"),
        ("/api/", "api"),
        ("/api?x=/api/payment", "api"),
        ("/api/payments", "api"),
        ("/api/paymen", "api"),
        ("/api/payment", "payment"),
        ("/api/payment/", "payment"),
        ("/api/payment/1?q", "payment"),
        ("/api/payment?x", "payment"),
        ("/apis", None),
        ("/API/payment", None),
        ("/", None),
        ("", None),
        ("*", None),
        ("/x/api/payment", None),
    ],
)
def test_whole_segments_count_and_the_longest_prefix_wins(target: str, upstream: str | None) -> None:
    match = TABLE.match(target)
    assert (match and match.route.upstream) == upstream


@pytest.mark.parametrize("target", ["/api/payment/%2F%zz/..//a?b=%20&b=?#", "/api/\xe9", "/api/\udce9?\udcff"])
def test_the_target_is_untouched(target: str) -> None:
    match = TABLE.match(target)
    assert match is not None
    assert match.target == target.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/stripped", b"/"),
        ("/stripped/", b"/"),
        ("/stripped?a=/stripped", b"/?a=/stripped"),
        ("/stripped/a%2Fb?c", b"/a%2Fb?c"),
        ("/stripped/stripped", b"/stripped"),
        ("/stripped?", b"/?"),
    ],
)
def test_a_stripped_prefix_leaves_the_rest_untouched(target: str, sent: bytes) -> None:
    match = TABLE.match(target)
    assert match is not None
    assert match.target == sent


@pytest.mark.parametrize("target", ["/", "/a", "/a/b?c"])
def test_the_root_route_takes_everything(target: str) -> None:
    match = RouteTable((Route(path="/", upstream="all"),)).match(target)
    assert match is not None
    assert match.target == target.encode()


def test_the_order_of_the_routes_does_not_matter() -> None:
    table = RouteTable(
        (Route(path="/a/b", upstream="long"), Route(path="/", upstream="all"), Route(path="/a", upstream="a"))
    )
    assert [match and match.route.upstream for match in map(table.match, ["/a/b/c", "/a/c", "/c"])] == [
        "long",
        "a",
        "all",
    ]
