"""The other proxies: how each is found, configured and started. Configurations are in deploy/compare/."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.store import free_port
from prove.stage import Server, Stage

CONFIGURATIONS = Path(__file__).parents[1] / "deploy" / "compare"
OFF, GUARDED, POST = "off", "guarded", "post"
VARIANTS = {
    OFF: "no retries configured",
    GUARDED: "retries, only what is safe for a POST",
    POST: "retries, POST included",
}
LISTEN, PROVIDER = "8080", "4000"


@dataclass(frozen=True, slots=True)
class Contender:
    """One proxy; `words` are its command line for a configuration file and a port."""

    name: str
    binary: str
    file: str
    version: Sequence[str]
    words: Callable[[Path, int], Sequence[str]]

    def find(self, folders: str) -> str | None:
        """Where its binary is: in `folders`, else on PATH."""
        return shutil.which(self.binary, path=folders or None) or shutil.which(self.binary)

    def version_of(self, binary: str) -> str:
        """What it says of itself, cut down to the number."""
        said = subprocess.run([binary, *self.version], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
        found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
        return found[0] if found else "unknown version"

    def on(self, stage: Stage, variant: str, binary: str) -> Server:
        """It in front of the stage's provider, not started yet."""
        port = free_port()
        path = stage.folder / self.file
        path.write_text(configuration(self.file, variant, port, stage.provider.port))
        return stage.server(self.name, [binary, *self.words(path, port)], port, None)


def configuration(file: str, variant: str, listen: int, provider: int) -> str:
    """The text of one variant, with the ports of this run in the place of 8080 and 4000."""
    kept = []
    for line in (CONFIGURATIONS / file).read_text().splitlines():
        text, _, variants = line.partition(" #: ")
        if not variants or variant in variants.split():
            kept.append(text.rstrip())
    ports = {LISTEN: str(listen), PROVIDER: str(provider)}
    return re.sub(rf"\b({LISTEN}|{PROVIDER})\b", lambda found: ports[found[0]], "\n".join(kept) + "\n")


def _traefik(path: Path, port: int) -> list[str]:
    quiet = ["--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=ERROR"]
    return [f"--entrypoints.pay.address=127.0.0.1:{port}", f"--providers.file.filename={path}", *quiet]


CONTENDERS = (
    Contender("HAProxy", "haproxy", "haproxy.cfg", ["-v"], lambda path, _: ["-db", "-f", str(path)]),
    Contender("nginx", "nginx", "nginx.conf", ["-v"], lambda path, _: ["-p", str(path.parent), "-c", str(path)]),
    Contender(
        "Envoy",
        "envoy",
        "envoy.yaml",
        ["--version"],
        lambda path, _: ["-c", str(path), "--log-level", "error", "--concurrency", "1", "--disable-hot-restart"],
    ),
    Contender("Traefik", "traefik", "traefik.yaml", ["version"], _traefik),
)
