"""Mutants of Python source. A span of the text is replaced, never the tree printed, so that lines stay as they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mutants.mutant import Mutant, distinct, mutant

Enums = Mapping[str, Sequence[str]]
"""Members of each enumeration of the project, in order."""
Edit = tuple[str, int, int, str]
"""Operator, the bytes from where to where, and what stands there instead."""

_SYMBOLS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_OPPOSITES = (("<", ">="), (">", "<="), ("==", "!="), ("is", "is not"), ("in", "not in"))
_NEGATION = {one: other for pair in _OPPOSITES for one, other in (pair, pair[::-1])}
_COMPOUND = (ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.BinOp, ast.UnaryOp, ast.NamedExpr, ast.Await)
_BRACKETS: dict[type[ast.expr], tuple[str, str]] = {
    ast.Set: ("{", "}"),
    ast.Dict: ("{", "}"),
    ast.List: ("[", "]"),
    ast.Tuple: ("(", ")"),
}
_GENERICS = frozenset({"dict", "list", "tuple", "set", "frozenset", "type", "deque"})
_NOT_RUN = {  # annotations, decorators and base classes: what is wrong there is the type checker's to say
    ast.FunctionDef: ("decorator_list", "returns", "name"),
    ast.AsyncFunctionDef: ("decorator_list", "returns", "name"),
    ast.ClassDef: ("decorator_list", "bases", "keywords"),
    ast.AnnAssign: ("annotation", "target"),
    ast.arg: ("annotation",),
}


def enums(sources: Sequence[str]) -> Enums:
    """The enumerations in some modules."""
    found: dict[str, list[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases):
                targets = (one.targets[0] for one in node.body if isinstance(one, ast.Assign))
                found[node.name] = [target.id for target in targets if isinstance(target, ast.Name)]
    return found


def mutants_of(file: str, source: bytes, known: Enums) -> list[Mutant]:
    """Every mutant of a module."""
    text = _Text(source, known, [0, *(found.end() for found in re.finditer(rb"\n", source))])
    edits = ((place, edit) for node, place in _walk(ast.parse(source), ()) for edit in text.edits(node, place))
    return distinct(
        mutant(file, source, ".".join(place) or "module", operator, start, end, new)
        for place, (operator, start, end, new) in edits
    )


def _walk(node: ast.AST, place: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Every node that runs, with the names of the classes and functions around it."""
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom) or _is_type(node):
        return
    yield node, place
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        place = (*place, node.name)
    skipped = _NOT_RUN.get(type(node), ())
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, place)


def _is_type(node: ast.AST) -> bool:
    match node:
        case ast.ClassDef(bases=[*_, ast.Name(id="Protocol")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Subscript(value=ast.Name(id=name)):
            return name in _GENERICS or (name[0].isupper() and not name.isupper())
    return False


@dataclass(frozen=True, slots=True)
class _Text:
    """A module's source, to find and quote nodes in."""

    source: bytes
    known: Enums
    starts: Sequence[int]

    def edits(self, node: ast.AST, place: tuple[str, ...]) -> Iterator[Edit]:
        match node:
            case ast.Compare():
                yield from self._comparison(node)
            case ast.BoolOp():
                yield from self._logic(node)
            case ast.UnaryOp(op=ast.Not()):
                yield self._replace("not", node, self._quote(node.operand))
            case ast.Set() | ast.List() | ast.Tuple() | ast.Dict():
                yield from self._members(node)
            case ast.Call():
                yield from self._call(node)
            case _:
                yield from self._simple(node, place)

    def _simple(self, node: ast.AST, place: tuple[str, ...]) -> Iterator[Edit]:
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=member) if member in self.known.get(name, ()):
                members = self.known[name]
                other = members[(members.index(member) + 1) % len(members)]
                yield self._replace("enum constant", node, f"{name}.{other}")
            case ast.Constant():
                yield from self._constant(node)
            case ast.If() | ast.While() | ast.IfExp():
                yield from self._condition(node.test, loop=isinstance(node, ast.While))
            case ast.comprehension():
                for test in node.ifs:
                    yield from self._condition(test)
            case ast.stmt() if place:
                yield from self._statement(node)

    def _comparison(self, node: ast.Compare) -> Iterator[Edit]:
        sides = pairwise([node.left, *node.comparators])
        for (left, right), op in zip(sides, node.ops, strict=True):
            symbol = _SYMBOLS[type(op)]
            start, end = self._between(left, right, symbol)
            for name, table in (("boundary", _BOUNDARY), ("negation", _NEGATION)):
                if symbol in table:
                    yield name, start, end, table[symbol]

    def _logic(self, node: ast.BoolOp) -> Iterator[Edit]:
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            yield "and/or", *self._between(left, right, word), other
        for dropped in range(len(node.values)):
            rest = [self._quote(value) for place, value in enumerate(node.values) if place != dropped]
            yield self._replace("dropped operand", node, f"({f' {word} '.join(rest)})")

    def _condition(self, test: ast.expr, *, loop: bool = False) -> Iterator[Edit]:
        if not isinstance(test, ast.Constant):
            yield self._replace("condition", test, "False")
            if not loop:
                yield self._replace("condition", test, "True")

    def _members(self, node: ast.Set | ast.List | ast.Tuple | ast.Dict) -> Iterator[Edit]:
        if isinstance(node, ast.List | ast.Tuple) and not isinstance(node.ctx, ast.Load):
            return
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            members = [
                f"{self._raw(key)}: {self._raw(value)}" if key else f"**{self._quote(value)}" for key, value in pairs
            ]
        else:
            members = [self._raw(one) for one in node.elts]
        left, right = _BRACKETS[type(node)]
        for dropped in range(len(members)):
            rest = "".join(f"{one}, " for place, one in enumerate(members) if place != dropped)
            empty_set = isinstance(node, ast.Set) and not rest
            yield self._replace("dropped member", node, "set()" if empty_set else f"{left}{rest.rstrip()}{right}")

    def _call(self, node: ast.Call) -> Iterator[Edit]:
        if isinstance(node.func, ast.Name) and node.func.id in {"min", "max"}:
            yield self._replace("min/max", node.func, "max" if node.func.id == "min" else "min")
        for dropped in (one for one in node.keywords if one.arg is not None):
            kept = [one for one in node.keywords if one is not dropped]
            named = [f"{one.arg}={self._raw(one.value)}" if one.arg else f"**{self._quote(one.value)}" for one in kept]
            arguments = ", ".join([*(self._raw(one) for one in node.args), *named])
            yield self._replace("dropped argument", node, f"{self._raw(node.func)}({arguments})")

    def _constant(self, node: ast.Constant) -> Iterator[Edit]:
        if isinstance(node.value, bool):
            yield self._replace("constant", node, str(not node.value))
        elif isinstance(node.value, int | float):
            yield self._replace("constant", node, repr(node.value + 1))
            if node.value:
                yield self._replace("constant", node, "0")

    def _statement(self, node: ast.stmt) -> Iterator[Edit]:
        match node:
            case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
                yield self._replace("return None", node, "return None")
            case ast.Expr(value=ast.Constant() | ast.Yield() | ast.YieldFrom()) | ast.AnnAssign(value=None):
                return
            case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.Delete() | ast.Raise():
                yield self._replace("removed statement", node, "pass")
            case ast.Return() | ast.Continue() | ast.Break():
                yield self._replace("removed statement", node, "pass")

    def _replace(self, operator: str, node: ast.expr | ast.stmt, text: str) -> Edit:
        return operator, *self._span(node), text

    def _between(self, left: ast.expr, right: ast.expr, symbol: str) -> tuple[int, int]:
        """Where an operator stands between its operands."""
        start, end = self._span(left)[1], self._span(right)[0]
        words = re.escape(symbol).replace(r"\ ", r"\s+").encode()
        found = re.search(rb"(?<![\w<>=!])" + words + rb"(?![\w=])", self.source[start:end])
        assert found is not None, f"{symbol} is not between its operands"
        return start + found.start(), start + found.end()

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def _raw(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self.source[start:end].decode()

    def _quote(self, node: ast.expr) -> str:
        """A node as an operand: its own parentheses are no part of its span."""
        return f"({self._raw(node)})" if isinstance(node, _COMPOUND) else self._raw(node)
