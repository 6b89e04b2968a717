"""A client that writes raw bytes and reads raw bytes: what it was sent is kept as it came."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tests.edges.hostile import PATIENCE

OURS = (b"x-payment-outcome", b"x-proxy-", b"x-request-id")


@dataclass(frozen=True)
class Reply:
    """One answer: its head as it was on the wire, and its body without the transfer coding."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def all(self, name: str) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for field, value in self.fields if field.lower() == name.lower().encode()]

    def one(self, name: str) -> bytes:
        """The value of a field that has to be there exactly once."""
        (value,) = self.all(name)
        return value

    def problem(self) -> dict[str, Any]:
        """The document of an answer of ours, once everything that every such answer must have was seen."""
        assert self.one("Content-Type") == b"application/problem+json"
        assert self.one("Stripe-Should-Retry") == b"false"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert document["outcome"].encode() == self.one("X-Payment-Outcome")
        assert str(document["attempts"]).encode() == self.one("X-Proxy-Attempts")
        assert document["request_id"].encode() == self.one("X-Request-Id")
        status = rb'holdfast; error=([a-z_]+)(?:; details="(?:[ !#-\[\]-~]|\\["\\])+")?'
        told = re.fullmatch(status, self.one("Proxy-Status"))
        assert told is not None, self.one("Proxy-Status")
        assert told[1] == document["error"].encode()
        return document


class Client:
    """One connection to the proxy. Every read has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def half_close(self) -> None:
        """Say that no more will be sent."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Leave for good: the proxy sees a RST, not a half-close."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def head(self) -> bytes:
        """The next head, interim answers included."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def reply(self, *, bodiless: bool = False) -> Reply:
        """The next answer, whole; `bodiless` for the answer to HEAD."""
        head = await self.head()
        reply = Reply(head, b"")
        async with asyncio.timeout(2 * PATIENCE):
            if bodiless or reply.status in {204, 304} or reply.status < 200:
                return reply
            if reply.all("Transfer-Encoding"):
                assert reply.one("Transfer-Encoding") == b"chunked"
                assert not reply.all("Content-Length")
                return Reply(head, await self._chunks())
            if reply.all("Content-Length"):
                return Reply(head, await self.reader.readexactly(int(reply.one("Content-Length"))))
            return Reply(head, await self.reader.read())

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, which has to be a clean one."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def ask(self, data: bytes, *, bodiless: bool = False) -> Reply:
        """Send a whole request and return the answer to it."""
        await self.send(data)
        return await self.reply(bodiless=bodiless)

    def close(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A connection that is closed at the end, come what may."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        client.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
