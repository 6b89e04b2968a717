"""How sure a fact about a provider is, and where it is from.

What is only assumed never lets anything go out again, and never settles a doubt: the engine sees to it, not a review.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from proxy.core.config import Section

Evidence = Literal["documented", "sdk", "openapi", "assumed"]
"""`documented`: the provider's own documentation says it. `sdk`: its official SDK does it. `openapi`: its published
API description says it. `assumed`: none of them; a habit of the trade, somebody else's words, or nothing at all."""
DEFAULT: Evidence = "documented"
"""Of a profile that does not say: whoever writes one vouches for it."""


class Ground(Section):
    """Where one plain fact is from, and how sure it is."""

    source: Annotated[str, Field(min_length=1)]
    evidence: Evidence


class Fact(Section):
    """A group of facts that belong together."""

    source: str | None = None
    evidence: Evidence = DEFAULT

    @property
    def proven(self) -> bool:
        """Whether anything may be sent again, or settled, because of it."""
        return self.evidence != "assumed"


Tree = TypeVar("Tree")


def inherit(tree: Tree, *groups: str) -> Tree:
    """The tree with its `evidence` in each of its `groups` that says none of its own: mappings, and lists of such."""
    if not isinstance(tree, Mapping):
        return tree
    evidence = tree.get("evidence", DEFAULT)
    found = {key: _with(tree[key], evidence) for key in groups if key in tree}
    return {**tree, **found}  # type: ignore[return-value]


def _with(value: object, evidence: object) -> object:
    if isinstance(value, Mapping):
        return {"evidence": evidence, **value}
    return [_with(one, evidence) for one in value] if isinstance(value, list | tuple) else value
