"""Lua scripts by their digest. Every new connection makes sure that Redis has them; a flushed cache is filled again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ResponseError


def _read(*parts: str) -> bytes:
    folder = resources.files("proxy.edges") / "lua"
    return b"".join((folder / f"{part}.lua").read_bytes() for part in parts)


VIEW, LEDGER = "view", "ledger"
BREAKER_SCRIPTS = ("report", "install", "lease", "settle")
LEDGER_SCRIPTS = ("claim_entry", "settle_entry", "renew_entry", "restore_entries", "list_entries")
_TEXTS: Mapping[str, bytes] = {
    **{name: _read(VIEW, name) for name in BREAKER_SCRIPTS},
    **{name: _read(LEDGER, name) for name in LEDGER_SCRIPTS},
}
_DIGESTS: Mapping[str, str] = {
    name: hashlib.sha1(text, usedforsecurity=False).hexdigest() for name, text in _TEXTS.items()
}


async def teach(connection: AbstractConnection) -> None:
    """Load every script that Redis does not have: two round trips at most, on a connection nobody uses yet."""
    known = await _asked(connection, ("SCRIPT", "EXISTS", *_DIGESTS.values()))
    have = known[0] if isinstance(known[0], list) and len(known[0]) == len(_TEXTS) else [0] * len(_TEXTS)
    missing = [text for text, there in zip(_TEXTS.values(), have, strict=True) if there != 1]
    if missing:
        await _asked(connection, *(("SCRIPT", "LOAD", text) for text in missing))


async def _asked(connection: AbstractConnection, *commands: tuple[str | bytes, ...]) -> list[Any]:
    """The replies; an error reply (a user without the right to SCRIPT) stands as itself, for the first use to meet."""
    await connection.send_packed_command(connection.pack_commands(commands))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as refused:
            replies.append(refused)
    return replies


class Script:
    """One of the scripts, to be run on a client."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._text, self._digest = _TEXTS[name], _DIGESTS[name]
        self._loading: asyncio.Task[Any] | None = None

    async def __call__(self, *, keys: Sequence[str], args: Sequence[bytes | str | float]) -> Any:
        """Its reply as it came. Where Redis lost it, it is loaded even if the caller cannot wait for that."""
        try:
            return await self._run(keys, args)
        except NoScriptError:
            await asyncio.shield(self._loaded())
            return await self._run(keys, args)

    def _run(self, keys: Sequence[str], args: Sequence[bytes | str | float]) -> Any:
        return self._client.evalsha(self._digest, len(keys), *keys, *args)

    def _loaded(self) -> asyncio.Task[Any]:
        if self._loading is None or self._loading.done():
            self._loading = asyncio.ensure_future(self._client.script_load(self._text))
            self._loading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._loading
