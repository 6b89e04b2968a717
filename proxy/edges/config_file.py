"""The configuration from file and environment, and profiles from the package or the team's own files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from proxy.core.config import Config
from proxy.core.errors import ConfigError
from proxy.core.profiles import Profile
from proxy.edges.environment import lay_over
from proxy.edges.problems import complaint, quote, validated
from proxy.edges.yaml_file import Tree, parse, read

DEFAULT_FILE = Path("config.yaml")


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration, or a ConfigError with one line for each problem.

    Without `path`: config.yaml in the working directory if there is one, else UPSTREAM_URL and the defaults.
    """
    source, tree = _start(path, environ)
    laid = lay_over(tree, environ)
    if not isinstance(laid.tree.get("upstreams", {}), dict):
        # a list would do for the model, but the environment and every error know an upstream by its name
        raise ConfigError([*laid.problems, f"{source}: upstreams: expected a mapping of NAME: settings"])
    try:
        config = validated(Config, laid.tree, source, laid.overrides)
    except ConfigError as error:
        raise ConfigError([*laid.problems, *error.problems]) from None
    if laid.problems:
        raise ConfigError(laid.problems)
    return config


def _start(path: Path | None, environ: Mapping[str, str]) -> tuple[str, Tree]:
    if path is not None or DEFAULT_FILE.exists():
        chosen = path or DEFAULT_FILE
        return str(chosen), read(chosen)
    if environ.get("UPSTREAM_URL", "").strip():
        return "defaults", {}
    missing = f"no upstream: {Path.cwd() / DEFAULT_FILE} does not exist and UPSTREAM_URL is not set"
    raise ConfigError([f"{missing}; set UPSTREAM_URL=http://HOST:PORT, or write a config file (--config FILE)"])


def builtin_profiles() -> list[str]:
    """The names of the profiles that come with Holdfast."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in (files("proxy") / "profiles").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_profile(name_or_path: str, base: Path) -> Profile:
    """A built-in profile by name, else the file at a path ending in .yaml, relative to the folder `base`."""
    if name_or_path in builtin_profiles():
        return validated(Profile, _builtin(name_or_path), f"profile {name_or_path}")
    if name_or_path.endswith(".yaml"):
        path = base / name_or_path
        return validated(Profile, _extended(read(path), str(path)), str(path))
    known = ", ".join(builtin_profiles())
    raise ConfigError(
        [f"profile {quote(name_or_path)} is not known: expected one of {known}, or the path of a .yaml file"]
    )


def _builtin(name: str) -> Tree:
    text = (files("proxy") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse(text, f"profile {name}")


def _extended(tree: Tree, source: str) -> Tree:
    """The tree over the built-in profile that it `extends`, whole top-level keys; its name and source stay its own."""
    parent = tree.get("extends")
    if parent is None:
        return tree
    if parent not in builtin_profiles():
        known = ", ".join(builtin_profiles())
        raise ConfigError([complaint(f"{source}: extends", quote(parent), f"expected one of {known}")])
    own = {key: value for key, value in tree.items() if key != "extends"}
    inherited = {
        key: value for key, value in _builtin(str(parent)).items() if key not in {"name", "source", "evidence"}
    }
    grounds = inherited.pop("grounds", None)
    grounds = {key: value for key, value in grounds.items() if key not in own} if isinstance(grounds, dict) else {}
    return {"grounds": grounds} | inherited | own
