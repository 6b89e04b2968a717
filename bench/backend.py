"""`python -m bench.backend PORT`: answers every request with the same 201, as cheaply as Python can."""

from __future__ import annotations

import asyncio
import sys

import uvloop

BODY = b'{"id":"pay_1","status":"succeeded"}'
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
END = b"\r\n\r\n"


class Backend(asyncio.Protocol):
    """One connection; whole requests only, pipelined or not."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(END)) >= 0:
            size = end + len(END) + _length(self._buffer[:end])
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            if self._transport is not None:
                self._transport.write(ANSWER)


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
