"""The control routes: change the faults, read the books."""

import json

from aiohttp import web

from mock_provider import answers
from mock_provider.injector import Injector
from mock_provider.ledger import Ledger
from mock_provider.patch import FaultsError, read_patch
from mock_provider.wire import respond


class Admin:
    """Handlers of /admin/faults, /admin/ledger and /healthz."""

    def __init__(self, ledger: Ledger, injector: Injector) -> None:
        """Show and change these two."""
        self._ledger = ledger
        self._injector = injector

    async def faults(self, _: web.Request) -> web.Response:
        """Answer with the whole current setting."""
        return respond(answers.document(self._injector.document()))

    async def put_faults(self, request: web.Request) -> web.Response:
        """Change what the body names, or nothing at all if it names anything wrong."""
        try:
            patch = read_patch(json.loads(await request.read()))
        except FaultsError as error:
            return respond(answers.invalid(str(error), error.name))
        except (ValueError, RecursionError):
            return respond(answers.invalid("body: must be a JSON object", "body"))
        self._injector.put(patch)
        return await self.faults(request)

    async def ledger(self, request: web.Request) -> web.Response:
        """Answer with the books, or with ?summary=1 only their counts."""
        summary = request.query.get("summary", "0") not in {"", "0", "false"}
        return respond(answers.document(self._ledger.document(summary=summary)))

    async def clear_ledger(self, request: web.Request) -> web.Response:
        """Empty the books."""
        self._ledger.clear()
        return await self.ledger(request)

    async def health(self, _: web.Request) -> web.Response:
        """Answer that the process is up, whatever the faults."""
        return respond(answers.document({"status": "ok"}))
