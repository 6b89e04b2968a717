"""The client's side of the upstream tests: a payment to send, something to send it with, and what came back."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from proxy.core.model import Certainty, Payment, Response, Result, TransportFailure, WireError
from proxy.edges.upstream import HttpUpstream, Target
from tests.edges.hostile import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proxy.core.model import ByteStream, Headers


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on asyncio's own event loop and on uvloop."""

    @functools.wraps(test)
    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        async def main() -> None:
            await test(**arguments)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    first = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(test).parameters.values()
    run.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    factories = [asyncio.new_event_loop, uvloop.new_event_loop]
    both: Callable[..., None] = pytest.mark.parametrize("loop_factory", factories, ids=["asyncio", "uvloop"])(run)
    return both


def payment(
    method: str = "POST",
    *,
    target: bytes = b"/api/payment",
    headers: Headers = ((b"Host", b"upstream"),),
    body: bytes | ByteStream | None = b"{}",
    length: int | None = None,
) -> Payment:
    if isinstance(body, bytes):
        length = len(body)
    if length is not None:
        headers = (*headers, (b"Content-Length", b"%d" % length))
    return Payment("id", "route", method, target, headers, b"" if body is None else body, length)


PAYMENT = b"POST /api/payment HTTP/1.1\r\nHost: upstream\r\nContent-Length: 2\r\n\r\n{}"
"""What arrives of `payment()`."""


@contextlib.asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncIterator[HttpUpstream]:
    """An upstream at 127.0.0.1; `now`, `draw` and `resolver` go to the upstream, all else to its target."""
    injected = {name: options.pop(name) for name in ("now", "draw", "resolver") if name in options}
    defaults = {"host": "127.0.0.1", "ssl": None, "server_hostname": None, "connect_timeout": PATIENCE}
    upstream = HttpUpstream(Target(port=port, **(defaults | options)), **injected)
    try:
        yield upstream
    finally:
        await upstream.aclose()


def answered(result: Result) -> Response:
    """The answer, where there has to be one."""
    assert isinstance(result, Response), result
    return result


def whole(result: Result) -> bytes:
    """The body of an answer that has to be whole."""
    content = answered(result).body
    assert isinstance(content, bytes)
    return content


def streamed(result: Result) -> ByteStream:
    """The body of an answer that has to be streamed."""
    content = answered(result).body
    assert not isinstance(content, bytes)
    return content


def failed(result: Result) -> TransportFailure:
    """The failure, where there has to be one, and which says nothing of the request."""
    assert isinstance(result, TransportFailure), result
    assert "api" not in result.detail
    assert len(result.detail) <= 80
    return result


def told(result: Result) -> tuple[Certainty, WireError]:
    """What a failure says is known, and what went wrong."""
    return failed(result).certainty, failed(result).error
