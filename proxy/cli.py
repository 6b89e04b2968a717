"""The command line: arguments in, exit code out. 0 done, 1 the replica could not be asked, 2 a mistake to mend."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from proxy import __version__
from proxy.client import Client, ClientFailure, Document
from proxy.core.config import Address, Config, parse_address
from proxy.core.errors import ConfigError
from proxy.core.units import parse_duration
from proxy.edges.config_file import DEFAULT_FILE, load, load_profile, warnings_of
from proxy.edges.tls import server_context
from proxy.terminal import outcomes_text, status_text, summary_text

REFRESH_SECONDS = 2.0
DEFAULT_URL = "http://127.0.0.1:3000"
TOKEN = "HOLDFAST_ADMIN_TOKEN"  # noqa: S105 - the variable's name, not its value
CLEAR = "\x1b[2J\x1b[H"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; without any: serve."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given if _names_command(given) else ["serve", *given])
    try:
        return int(options.run(options, os.environ))
    except ConfigError as error:
        return _told(error.problems, 2)
    except ClientFailure as error:
        return _told([f"holdfast: {error}"], error.exit_code)
    except KeyboardInterrupt:
        return 130


def _names_command(given: Sequence[str]) -> bool:
    """Whether a command (or --help, --version) comes first; `holdfast --config FILE` means serve."""
    return bool(given) and (not given[0].startswith("-") or given[0] in {"-h", "--help", "--version"})


def _told(lines: Sequence[str], code: int) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code


def _serve(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from proxy.serve import serve  # noqa: PLC0415 - asking a replica for its status needs no server

    path: Path | None = options.config

    def load_now() -> Config:
        config = load(path, environ)
        return config if options.listen is None else config.model_copy(update={"listen": options.listen})

    return serve(load_now, (path or DEFAULT_FILE).absolute().parent)


def _check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    path: Path = options.file
    config = load(path, environ)
    problems: list[str] = []
    for upstream in config.upstreams:
        try:
            load_profile(upstream.profile, path.absolute().parent)
        except ConfigError as error:
            problems += [f"{path}: upstreams.{upstream.name}.profile: {line}" for line in error.problems]
    if config.listen_tls:
        try:
            server_context(config.listen_tls, path.absolute().parent)
        except ConfigError as error:
            problems += [f"{path}: {line}" for line in error.problems]
    if problems:
        raise ConfigError(problems)
    _told([f"{path}: warning: {line}" for line in warnings_of(config, path.absolute().parent)], 0)
    print(f"{path}: ok, {_counted(config.upstreams, 'upstream')}, {_counted(config.routes, 'route')}")
    return 0


def _counted(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _view(path: str, render: Callable[[Document], str]) -> Callable[[argparse.Namespace, Mapping[str, str]], int]:
    """A command that shows what `path` answers, once or again and again."""

    def show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
        client = Client(options.url or _default_url(environ))
        while True:
            document = client.get(path)
            text = json.dumps(document, indent=2) if options.json else render(document)
            print(f"{CLEAR if options.watch and sys.stdout.isatty() else ''}{text}", flush=True)
            if not options.watch:
                return 0
            time.sleep(REFRESH_SECONDS)

    return show


def _breaker(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    token = environ.get(TOKEN, "")
    if not token:
        raise ClientFailure(f"{TOKEN} is not set: an override needs the replica's admin token", exit_code=2)
    client = Client(options.url or _default_url(environ))
    client.override(options.upstream, options.action, options.reason, options.duration, token)
    print(f"{options.upstream}: {options.action}{f' for {options.duration}' if options.duration else ''}")
    return 0


def _outcomes(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    path = f"/api/outcomes?limit={options.limit}{'&state=unknown' if options.unknown else ''}"
    document = Client(options.url or _default_url(environ)).get(path)
    print(json.dumps(document, indent=2) if options.json else outcomes_text(document))
    return 0


def _default_url(environ: Mapping[str, str]) -> str:
    return environ.get("HOLDFAST_URL") or DEFAULT_URL


def _address(text: str) -> Address:
    try:
        return Address.model_validate(parse_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, like 0.0.0.0:3000") from None


def _duration(text: str) -> str:
    try:
        positive = parse_duration(text) > 0
    except ValueError:
        positive = False
    if not positive:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a duration with its unit, like 15m")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast", description="A payment-safe resilience proxy.")
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run one replica (the default)")
    serve.add_argument("--config", type=Path, metavar="FILE", help="default: config.yaml, if there is one")
    serve.add_argument("--listen", type=_address, metavar="HOST:PORT", help="instead of the configured address")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", help="validate a config file")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=_check)

    _add_view(commands, "status", "the fleet as one replica sees it", _view("/api/status", status_text))
    _add_view(commands, "summary", "the same in a sentence", _view("/api/status/summary", summary_text))
    _add_outcomes(commands)
    _add_breaker(commands)
    return parser


def _add_view(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace, Mapping[str, str]], int],
) -> None:
    view = commands.add_parser(name, help=text)
    view.add_argument("url", nargs="?", metavar="URL", help=f"default: HOLDFAST_URL or {DEFAULT_URL}")
    view.add_argument("--watch", action="store_true", help=f"again every {REFRESH_SECONDS:g} s until Ctrl-C")
    view.add_argument("--json", action="store_true", help="the replica's answer as it is")
    view.set_defaults(run=run)


def _add_outcomes(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    outcomes = commands.add_parser("outcomes", help="the outcome ledger, for reconciling")
    outcomes.add_argument("--unknown", action="store_true", help="only payments nobody knows the outcome of")
    outcomes.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    outcomes.add_argument("--url", metavar="URL", help=f"default: HOLDFAST_URL or {DEFAULT_URL}")
    outcomes.add_argument("--json", action="store_true", help="the replica's answer as it is")
    outcomes.set_defaults(run=_outcomes)


def _add_breaker(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    breaker = commands.add_parser("breaker", help=f"override a breaker in the whole fleet (needs {TOKEN})")
    breaker.add_argument("action", choices=("open", "close", "auto"), help="auto: take the override back")
    breaker.add_argument("upstream", metavar="UPSTREAM")
    breaker.add_argument("--reason", required=True, metavar="TEXT", help="shown to everybody who looks")
    breaker.add_argument("--for", dest="duration", type=_duration, metavar="15m", help="default: until taken back")
    breaker.add_argument("--url", metavar="URL", help=f"default: HOLDFAST_URL or {DEFAULT_URL}")
    breaker.set_defaults(run=_breaker)
