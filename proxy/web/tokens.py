"""Who may change something: the bearer of the admin token."""

from __future__ import annotations

import hmac

from aiohttp import web
from pydantic import SecretStr

from proxy.web.replies import problem

_ASK = {"WWW-Authenticate": 'Bearer realm="holdfast"'}


def refusal(request: web.Request, token: SecretStr | None) -> web.Response | None:
    """Why this request may not go on; None if it carries the admin token."""
    if token is None:
        return problem(403, "No admin token is configured; set HOLDFAST_ADMIN_TOKEN and restart to use overrides.")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        return problem(401, "Send the admin token as `Authorization: Bearer TOKEN`.", _ASK)
    # As bytes, since compare_digest refuses text beyond ASCII; and in constant time, so that timing tells nothing.
    if not hmac.compare_digest(_bytes(given.strip()), _bytes(token.get_secret_value())):
        return problem(403, "This is not the admin token.")
    return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
