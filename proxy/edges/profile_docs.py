"""`python -m proxy.edges.profile_docs docs/profiles.md`: the tables of the built-in profiles, written into the page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from proxy.core.profile_tables import facts, overview
from proxy.edges.config_file import builtin_profiles, load_profile

_PART = re.compile(r"(<!-- made by proxy\.edges\.profile_docs: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def page(text: str) -> str:
    """The page with its made parts as the profiles have them now; all else is left alone."""
    profiles = [load_profile(name, Path()) for name in builtin_profiles()]
    parts = {
        "overview": overview(profiles),
        "facts": "\n".join(f"### {one.name}\n\nFrom: {one.source}\n\n{facts(one)}" for one in profiles),
    }
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n{found[3]}", text)


def main(path: Path) -> None:
    """Write the page at `path` anew."""
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
