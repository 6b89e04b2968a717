"""A pass-through that keeps what was said: between an SDK and Holdfast, or between Holdfast and somebody's fake."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
import time
from dataclasses import dataclass, field

HOST = "127.0.0.1"
REQUEST = re.compile(rb"(?:GET|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n")
ANSWER = re.compile(rb"HTTP/1\.1 [2-5]\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)+\r\n")
OUTCOME = re.compile(rb"\r\nX-Payment-Outcome: *([^\r\n]*)\r\n", re.IGNORECASE)


@dataclass
class Dialogue:
    """The bytes of one connection: `asked` by its client, `told` to it."""

    asked: bytearray = field(default_factory=bytearray)
    told: bytearray = field(default_factory=bytearray)
    times: list[tuple[int, float]] = field(default_factory=list)
    """Up to which length of `asked` it had been said when."""


@dataclass(frozen=True)
class Said:
    """One request, and the head of its answer; empty where there came none."""

    request: bytes
    path: str
    answer: bytes

    when: float

    @property
    def outcome(self) -> str | None:
        """What its answer says in `X-Payment-Outcome`."""
        found = OUTCOME.search(self.answer)
        return found[1].decode() if found else None


class Wire:
    """Listens on `port` and passes every byte on to `behind`; with `tls`, it speaks TLS on both sides."""

    def __init__(
        self, port: int, behind: int, tls: tuple[ssl.SSLContext, ssl.SSLContext] | tuple[None, None] = (None, None)
    ) -> None:
        self.port, self._behind = port, behind
        self._inside: ssl.SSLContext | None = tls[0]
        self._outside: ssl.SSLContext | None = tls[1]
        self._dialogues: list[Dialogue] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._connection, HOST, port, ssl=self._inside)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)

    def posts(self) -> list[Said]:
        """Every POST so far with the head of its answer, in the order they came."""
        said = []
        for dialogue in list(self._dialogues):
            asked, told = bytes(dialogue.asked), bytes(dialogue.told)
            heads = list(REQUEST.finditer(asked))
            ends = [head.start() for head in heads[1:]] + [len(asked)]
            answers = [found[0] for found in ANSWER.finditer(told)]
            answers += [b""] * (len(heads) - len(answers))
            for head, end, answer in zip(heads, ends, answers, strict=False):
                if head[0].startswith(b"POST"):
                    when = next(moment for length, moment in dialogue.times if length > head.start())
                    said.append(Said(asked[head.start() : end], head[1].decode(), answer, when))
        return sorted(said, key=lambda one: one.when)

    def close(self) -> None:
        """End every connection, and listen no more."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.02)  # transports end a turn of the loop later

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        dialogue = Dialogue()
        self._dialogues.append(dialogue)
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            away, onward = await asyncio.open_connection(HOST, self._behind, ssl=self._outside)
            with contextlib.closing(onward):
                ways = [_copy(reader, onward, dialogue.asked, dialogue.times), _copy(away, writer, dialogue.told, [])]
                copies = [asyncio.ensure_future(way) for way in ways]
                try:
                    await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for copy in copies:
                        copy.cancel()
                    await asyncio.gather(*copies, return_exceptions=True)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray, times: list[tuple[int, float]]
) -> None:
    while data := await reader.read(65536):
        times.append((len(kept) + len(data), time.monotonic()))
        kept += data
        writer.write(data)
        await writer.drain()
