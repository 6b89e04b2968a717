"""What the command line asks a replica over HTTP, and what can go wrong with that, in one clear line each."""

from __future__ import annotations

import getpass
import http.client
import json
import socket
from urllib.parse import quote, urlsplit

from proxy.core.errors import HoldfastError

Document = dict[str, object]
TIMEOUT_SECONDS = 5.0


class ClientFailure(HoldfastError):
    """The replica could not be asked, or said no; the command ends with `exit_code`."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Client:
    """One replica's control plane.

    `http.client` and not urllib: neither a proxy of the environment nor a redirect may get to see the token.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        try:
            parts = urlsplit(self._url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise ClientFailure("the replica's URL must be like http://127.0.0.1:3000", exit_code=2)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=TIMEOUT_SECONDS)
        self._base = parts.path

    def get(self, path: str) -> Document:
        """The JSON document at `path`."""
        status, body = self._ask("GET", path)
        if status != http.HTTPStatus.OK:
            raise ClientFailure(f"{self._url}{path} answered {status}{_detail(body)}")
        return body

    def override(self, upstream: str, action: str, reason: str, duration: str | None, token: str) -> None:
        """Force a breaker open or closed, or give it back to the machine (auto)."""
        wish = {"reason": reason, "actor": _actor()} | ({"for": duration} if duration else {})
        path = f"/api/breakers/{quote(upstream, safe='')}/{action}"
        status, body = self._ask("POST", path, json.dumps(wish), _bearer(token))
        if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
            raise ClientFailure(f"{self._url} refused the admin token ({status}): HOLDFAST_ADMIN_TOKEN must be its own")
        if status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise ClientFailure(f"{self._url}{path} answered {status}{_detail(body)}")

    def _ask(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Document]:
        try:
            self._connection.request(method, self._base + path, body, {"Accept": "application/json", **(headers or {})})
            answer = self._connection.getresponse()
            return answer.status, _document(answer.read())
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            self._connection.close()
            raise ClientFailure(f"cannot reach {self._url}: {_reason(error)}") from None


def _document(data: bytes) -> Document:
    """The JSON object in `data`; an empty one for anything else (a page of some other server)."""
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _detail(body: Document) -> str:
    detail = body.get("detail")
    return f": {detail}" if isinstance(detail, str) else ""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__


def _bearer(token: str) -> dict[str, str]:
    if not token.isascii() or not token.isprintable():
        raise ClientFailure("HOLDFAST_ADMIN_TOKEN holds characters that no header may carry", exit_code=2)
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def _actor() -> str:
    """Who is asking, for the record; in a container the user may have no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
