"""Closed-loop load: CONNECTIONS clients, each sending its next payment when it has its answer."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time

import uvloop

CONNECTIONS = 64
BODY = b'{"amount":1200,"currency":"EUR","reference":"bench"}'
REQUEST = (
    b"POST /api/payment HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)
WRK = 'wrk.method="POST"\nwrk.body=[[{body}]]\nwrk.headers["Content-Type"]="application/json"\n'


def rate(port: int, seconds: int, cores: list[str]) -> float:
    """Answers per second, by wrk where it is installed, else by this module; every answer must be a 2xx."""
    if shutil.which("wrk") is None:
        command = [*cores, sys.executable, "-m", "bench.load", str(port), str(seconds)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK.format(body=BODY.decode()))
        script.flush()
        url = f"http://127.0.0.1:{port}/api/payment"
        command = [*cores, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script.name, url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"not every answer was a success:\n{said}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if found is None:
        raise SystemExit(f"wrk said nothing of a rate:\n{said}")
    return float(found[1])


async def _client(port: int, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while time.monotonic() < until:
        writer.write(REQUEST)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 2"):
            raise SystemExit(f"not every answer was a success: {head!r}")
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        answered += 1
    writer.close()
    return answered


async def main(port: int, seconds: float) -> float:
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(_client(port, until) for _ in range(CONNECTIONS)))) / seconds


if __name__ == "__main__":
    print(uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]))))
