"""One YAML file as a mapping. Owns what YAML allows and we do not: duplicate keys, keys that are not text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from proxy.core.errors import ConfigError

Tree = dict[str, object]

_TEXT_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"})
_QUOTED = re.compile(r"'[^'<]{2,}'")

_BAD_SCALAR = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML's constructors raise on a scalar that only looks like a date, a number or its own tag."""


def read(path: Path) -> Tree:
    """The mapping in the file; a ConfigError of one line if it holds none."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text (byte {error.start})"]) from None


def parse(text: str, source: str) -> Tree:
    """The mapping in `text`; `source` is its name in errors."""
    try:
        tree = _construct(text)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([f"{source}: {_syntax(error)}"]) from None
    except yaml.YAMLError:
        raise ConfigError([f"{source}: is not YAML: it holds characters that YAML does not allow"]) from None
    except _BAD_SCALAR:
        raise ConfigError([f"{source}: is not YAML: a value does not have the form its type needs"]) from None
    except RecursionError:
        raise ConfigError([f"{source}: is nested too deeply"]) from None
    if not isinstance(tree, dict):
        raise ConfigError([f"{source}: expected a mapping of settings, like `upstreams: ...`"])
    return tree


def _construct(text: str) -> object:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        # Before construction: merges (`<<`) put keys beside the ones they may override.
        for mapping in _mappings(root):
            _check_keys(mapping)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _mappings(root: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every mapping once, even where aliases make the tree a graph."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting.extend(child for pair in node.value for child in pair)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)


def _check_keys(mapping: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _TEXT_TAGS:
            raise yaml.MarkedYAMLError(problem="a key must be text: put it in quotes", problem_mark=key.start_mark)
        if key.value in seen:
            raise yaml.MarkedYAMLError(problem=f"{key.value!a} stands here twice", problem_mark=key.start_mark)
        seen.add(key.value)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """The parser's complaint without the excerpt it quotes, nor any word of the file: both may be a secret."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "not YAML"
    if type(error) is not yaml.MarkedYAMLError:  # the parser's, not ours
        problem = f"not YAML: {_QUOTED.sub('(...)', problem)}"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem
