"""Where one request ends and the next begins, and how much of a body may be chunk sizes."""

from __future__ import annotations

import asyncio

import pytest

from proxy.web.pace import FRAMING_BYTES, Framing, HeadWatch, begun_behind

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("body", [b"", b"{}", b"\r\n\r\n", b"\r\n"])
def test_what_stands_behind_a_whole_message(body: bytes) -> None:
    for nothing in (b"", b"\r\n"):
        assert begun_behind(HEAD + body + nothing, len(body)) == b""
        assert begun_behind(HEAD + HEAD + body + nothing, len(body)) == b""
    for more in (b"P", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: a\r\n"):
        assert begun_behind(HEAD + body + more, len(body)) != b""


@pytest.mark.parametrize(("chunk", "framing", "most"), [(1, 5, 4000), (8, 5, 80_000), (16, 6, None), (1000, 7, None)])
def test_chunks_of_sixteen_bytes_are_never_too_small_and_smaller_ones_only_in_long_bodies(
    chunk: int, framing: int, most: int | None
) -> None:
    counted, body = Framing(), 0
    counted.begins(chunked=True)
    for _ in range(100_000):
        body += chunk
        if counted.is_too_much(chunk + framing, chunk, body):
            break
    assert (body < most) if most else body == 100_000 * chunk
    assert body * framing // chunk >= FRAMING_BYTES or most is None
    counted.begins(chunked=True)
    assert not counted.is_too_much(chunk + framing, chunk, chunk)


async def test_a_head_has_its_time_from_its_first_byte() -> None:
    late = asyncio.Event()
    watch = HeadWatch(asyncio.get_running_loop(), 0.01, late.set)
    watch.begins(b"\r\n")
    assert watch.start == b""
    watch.begins(b"PO")
    watch.begins(b"ST")
    assert watch.ends(b" /") == b"POST /"
    watch.begins(b"GET")
    async with asyncio.timeout(5):
        await late.wait()
    assert watch.start == b"GET"
