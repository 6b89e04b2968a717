"""`python -m bench.bare PORT BACKEND_URL`: what an aiohttp pass-through costs that does nothing else."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import ClientSession, TCPConnector, web

HOP = {"host", "connection", "content-length", "transfer-encoding"}


async def main(port: int, backend: str) -> None:
    session = ClientSession(connector=TCPConnector(limit=0), auto_decompress=False)

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        url = backend + request.raw_path
        async with session.request(request.method, url, data=body, headers=headers, allow_redirects=False) as answer:
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            return web.Response(status=answer.status, body=content, headers=kept)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
