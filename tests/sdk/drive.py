"""Run by the SDKs' own interpreter: calls an example's `pay` for each line it is given, and tells what came of it.

It knows no SDK and nothing of the project: `drive.py EXAMPLE.py`, a JSON object a line in and out.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Load the example, then answer until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # some SDKs print
    warnings.simplefilter("ignore")
    path = Path(sys.argv[1])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    print(json.dumps({"ready": path.stem}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_told(example, json.loads(line))), file=answers, flush=True)


def _told(example: Any, wish: dict[str, Any]) -> dict[str, Any]:
    with _settings(example, wish.get("settings", {})):
        try:
            value, error = example.pay(wish["reference"], wish["key"]), None
        except Exception as raised:  # noqa: BLE001 - whatever an SDK raises is the answer
            value, error = None, raised
    kinds = [f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__] if error else []
    return {"value": value, "kinds": kinds, "text": f"{error} {vars(error)}" if error else ""}


@contextlib.contextmanager
def _settings(example: Any, settings: dict[str, object]) -> Iterator[None]:
    """`module.name: value` of the example changed for one call."""
    with contextlib.ExitStack() as restored:
        for path, value in settings.items():
            *way, name = path.split(".")
            owner = functools.reduce(getattr, way, example)
            if isinstance(owner, dict):
                restored.callback(owner.update, {name: owner[name]})
                owner[name] = value
            else:
                restored.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
        yield


if __name__ == "__main__":
    main()
