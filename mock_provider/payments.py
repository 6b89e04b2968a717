"""The payment routes: arrival, plan, charge, answer, in that order."""

import asyncio

from aiohttp import web

from mock_provider import answers
from mock_provider.answers import Answer
from mock_provider.faults import Fault, Plan
from mock_provider.injector import Injector
from mock_provider.ledger import Ledger, Refusal, fingerprint
from mock_provider.order import InvalidOrderError, Order, read_order
from mock_provider.wire import deliver, respond


class Payments:
    """Handlers of POST /api/payment and GET /api/payment/{id}."""

    def __init__(self, ledger: Ledger, injector: Injector) -> None:
        """Keep the books in `ledger`, ask `injector` what goes wrong."""
        self._ledger = ledger
        self._injector = injector

    async def create(self, request: web.Request) -> web.Response:
        """Answer one payment as its plan has it."""
        # Before the first await: plans follow the order of arrival, not of whose body came first.
        plan = self._injector.plan()
        self._ledger.enter()
        try:
            return await self._serve(request, plan)
        finally:
            self._ledger.leave()

    async def get(self, request: web.Request) -> web.Response:
        """Answer with one payment; only an outage goes wrong here."""
        self._ledger.enter()
        try:
            settings = self._injector.settings()
            if settings.outage:
                return respond(answers.unavailable(settings.retry_after_s))
            return respond(answers.found(self._ledger.find(request.match_info["id"])))
        finally:
            self._ledger.leave()

    async def _serve(self, request: web.Request, plan: Plan) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return respond(answers.TOO_LARGE)
        except ConnectionError:
            return web.Response()  # nobody is there to read it
        if plan.fault.reaches_charge:
            answer = await self._process(body, request.headers.getall("Idempotency-Key", []), plan.delay_s)
        else:
            await _pause(plan.delay_s)
            answer = answers.SERVER_ERROR
        if plan.fault is Fault.OK:
            return respond(answer)
        settings = self._injector.settings()
        answer = answers.instead(plan.fault, answer, settings.retry_after_s)
        return await deliver(request, plan.fault, answer, settings.hang_s)

    async def _process(self, body: bytes, keys: list[str], delay_s: float) -> Answer:
        try:
            order = read_order(body)
        except InvalidOrderError as error:
            return answers.invalid(str(error))
        if not keys:
            await _pause(delay_s)
            return answers.settled(self._ledger.settle(order))
        if len(keys) > 1 or not keys[0]:
            return answers.invalid("Idempotency-Key must be sent once and not be empty")
        return await self._process_once(order, keys[0], fingerprint(body), delay_s)

    async def _process_once(self, order: Order, key: str, mark: bytes, delay_s: float) -> Answer:
        """Return the first answer under `key`, now or again; the key is in flight until then."""
        claim = self._ledger.claim(key, mark)
        if isinstance(claim, Refusal):
            return answers.refused(claim)
        if claim is not None:
            await _pause(delay_s)
            return answers.replayed(claim)
        try:
            await _pause(delay_s)
            return answers.settled(self._ledger.settle(order, key, mark))
        finally:
            self._ledger.release(key)


async def _pause(delay_s: float) -> None:
    if delay_s:
        await asyncio.sleep(delay_s)
