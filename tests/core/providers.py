"""The nine providers' profiles, as the package ships them, and requests to them."""

from __future__ import annotations

import uuid
from pathlib import Path

from proxy.core.idempotency import Keyed, settle_kind
from proxy.core.key_terms import KeyTerms
from proxy.core.model import Body
from proxy.core.profiles import Profile
from proxy.edges.config_file import load_profile
from tests.fakes import keys, payment

NAMES = ("stripe", "adyen", "paypal", "square", "checkout_com", "braintree", "mollie", "razorpay", "gocardless")
PROVIDERS = {name: load_profile(name, Path()) for name in NAMES}


def rules(profile: Profile) -> tuple[KeyTerms, ...]:
    """The terms of every key rule of a profile, of its first place, the first rule first."""
    firsts = {id(one.rule): one for one in reversed(profile.terms)}
    return tuple(reversed(firsts.values()))


NEW = str(uuid.UUID(int=7, version=4))
BRAINTREE = b"<transaction><amount>1.00</amount><api_request_key>k-1</api_request_key></transaction>"


def settled(
    name: str, method: str, path: str, *headers: tuple[bytes, bytes], body: Body = b"{}", inject: bool = True
) -> Keyed:
    new_key = keys(NEW) if inject else keys()
    one = payment(method, *headers, target=path.encode(), body=body)
    return settle_kind(one, PROVIDERS[name], inject=inject, new_key=new_key)
