"""The composition root: routes to handlers, nothing else."""

from aiohttp import web

from mock_provider.admin import Admin
from mock_provider.injector import Injector
from mock_provider.ledger import Ledger
from mock_provider.payments import Payments


def build_app(ledger: Ledger, injector: Injector) -> web.Application:
    """Return the provider, ready to be served."""
    payments = Payments(ledger, injector)
    admin = Admin(ledger, injector)
    app = web.Application()
    app.add_routes(
        [
            web.post("/api/payment", payments.create),
            web.get("/api/payment/{id}", payments.get),
            web.get("/admin/faults", admin.faults),
            web.put("/admin/faults", admin.put_faults),
            web.get("/admin/ledger", admin.ledger),
            web.delete("/admin/ledger", admin.clear_ledger),
            web.get("/healthz", admin.health),
        ],
    )
    return app
