"""Mutants of the store's Lua scripts, found token by token: what is a string or a comment is never taken for code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mutants.mutant import Mutant, distinct, mutant

STATES = ("in_flight", "final", "unknown", "not_sent")
_TOKEN = re.compile(
    rb"(?P<space>\s+|--[^\n]*)|(?P<string>'[^'\n]*'|\"[^\"\n]*\")|(?P<name>[A-Za-z_]\w*)|(?P<number>\d+(?:\.\d+)?)"
    rb"|(?P<mark>==|~=|<=|>=|\.\.|.)"
)
_COMPARISONS = {
    "==": ("~=",),
    "~=": ("==",),
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
}
_WORDS = {"and": "or", "or": "and"}
_MARKS = {"+": "-", "-": "+", "*": "+"}
_FUNCTIONS = {"max": "min", "min": "max", "ZRANGE": "ZREVRANGE", "ZREVRANGE": "ZRANGE", "ZPOPMIN": "ZPOPMAX"}
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_BEFORE_STATEMENT = frozenset({"then", "else", "do", "end", ";", "repeat"})
_KEYWORDS = frozenset(
    [
        *("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in"),
        *("local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"),
    ]
)
_OPERATORS = frozenset({"==", "~=", "<", "<=", ">", ">=", "..", "+", "-", "*", "/", ",", ".", "=", "and", "or", "not"})


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    line: int


Edit = tuple[str, int, int, str]


def mutants_of(file: str, source: bytes) -> list[Mutant]:
    """Every mutant of a script."""
    script = _Script(_tokens(source), source)
    places = script.functions()
    return distinct(
        mutant(
            file, source, next((name for name, a, b in places if a <= start < b), "main"), operator, start, end, text
        )
        for operator, start, end, text in script.edits()
    )


def _tokens(source: bytes) -> list[_Token]:
    found = (match for match in _TOKEN.finditer(source) if match.lastgroup != "space")
    return [
        _Token(str(one.lastgroup), one[0].decode(), one.start(), one.end(), source.count(b"\n", 0, one.start()))
        for one in found
    ]


@dataclass(frozen=True, slots=True)
class _Script:
    tokens: Sequence[_Token]
    source: bytes

    def functions(self) -> list[tuple[str, int, int]]:
        """Name and extent of each named function. They are never nested here."""
        found = []
        for place, token in enumerate(self.tokens):
            if token.text == "function" and self.tokens[place + 1].kind == "name":
                found.append((self.tokens[place + 1].text, token.start, self.tokens[self._block_end(place)].end))
        return found

    def _block_end(self, place: int) -> int:
        depth = 0
        for at in range(place, len(self.tokens)):
            word = self.tokens[at].text
            depth += (word in {"function", "if", "do", "repeat"}) - (word in {"end", "until"})
            if depth == 0:
                return at
        return len(self.tokens) - 1

    def edits(self) -> Iterator[Edit]:
        for place, token in enumerate(self.tokens):
            yield from self._token(place, token)
            if token.text in {"if", "elseif", "while"}:
                yield from self._condition(place)
            if self._starts_statement(place):
                yield from self._statement(place)
            if token.text == "call" and place + 2 < len(self.tokens):
                yield from self._command(place + 1)

    def _token(self, place: int, token: _Token) -> Iterator[Edit]:
        word = token.text
        for other in _COMPARISONS.get(word, ()):
            yield "comparison", token.start, token.end, other
        if word in _WORDS:
            yield "and/or", token.start, token.end, _WORDS[word]
        if word == "not":
            yield "not", token.start, token.end, ""
        if word in _MARKS and token.kind == "mark" and self._ends_value(place - 1):
            yield "arithmetic", token.start, token.end, _MARKS[word]
        if word in _FUNCTIONS:
            yield "function", token.start, token.end, _FUNCTIONS[word]
        if token.kind == "number":
            index = self.tokens[place - 1].text == "["  # a reply's fields are told apart well enough by one wrong one
            for number in (int(word) + 1, *(() if index else (int(word) - 1,))):
                yield "number", token.start, token.end, str(number) if number >= 0 else f"({number})"
        if token.kind == "string":
            yield from self._string(place, token)

    def _string(self, place: int, token: _Token) -> Iterator[Edit]:
        inner = token.text[1:-1]
        if inner in STATES and self.tokens[place - 1].text != "[":
            other = STATES[(STATES.index(inner) + 1) % len(STATES)]
            yield "state", token.start, token.end, f"'{other}'"
        if inner in _FUNCTIONS:
            yield "command", token.start, token.end, f"'{_FUNCTIONS[inner]}'"

    def _ends_value(self, place: int) -> bool:
        token = self.tokens[place]
        return token.text in _CLOSING or (token.kind != "mark" and token.text not in _KEYWORDS)

    def _condition(self, place: int) -> Iterator[Edit]:
        """`if A and B then`: fixed, and without each of its operands."""
        then = next(at for at in range(place, len(self.tokens)) if self.tokens[at].text in {"then", "do"})
        start, end = self.tokens[place + 1].start, self.tokens[then - 1].end
        yield "condition", start, end, "false"
        if self.tokens[place].text != "while":
            yield "condition", start, end, "true"
        joints = [at for at in range(place + 1, then) if self.tokens[at].text in _WORDS and self._depth(place, at) == 0]
        if not joints:
            return
        first, last = joints[0], joints[-1]
        yield "dropped operand", start, self.tokens[first + 1].start, ""
        yield "dropped operand", self.tokens[last - 1].end, end, ""

    def _depth(self, start: int, end: int) -> int:
        words = [token.text for token in self.tokens[start:end]]
        return sum(word in _OPENING for word in words) - sum(word in _CLOSING for word in words)

    def _starts_statement(self, place: int) -> bool:
        token = self.tokens[place]
        if token.text == "return":
            return False
        if token.kind != "name" or token.text in _KEYWORDS:
            return False
        if place == 0:
            return True
        before = self.tokens[place - 1]
        if before.text in _BEFORE_STATEMENT:
            return True
        fresh_line = before.line < token.line and before.text not in _OPERATORS | _OPENING | {"return", "in", "then"}
        return fresh_line and self._depth(0, place) == 0

    def _statement(self, place: int) -> Iterator[Edit]:
        end = self._statement_end(place)
        yield "removed statement", self.tokens[place].start, self.tokens[end].end, "do end"

    def _statement_end(self, place: int) -> int:
        """The last token of a call or an assignment: before a word that ends a block, or a line that begins anew."""
        for at in range(place + 1, len(self.tokens)):
            token, before = self.tokens[at], self.tokens[at - 1]
            if self._depth(place, at) > 0:
                continue
            ends_block = token.text in {"end", "else", "elseif", "until", "return", "local", "if", "for", "while", ";"}
            new_line = token.line > before.line and before.text not in _OPERATORS and token.text not in _OPERATORS
            if ends_block or new_line:
                return at - 1
        return len(self.tokens) - 1

    def _command(self, place: int) -> Iterator[Edit]:
        """`redis.call(COMMAND, key, ...)`: without one field of an HSET, one key of a DEL, or its NX."""
        if self.tokens[place].text != "(":
            return
        arguments = self._arguments(place)
        name = self._said(arguments[0])
        step = {"HSET": 2, "DEL": 1}.get(name, 0)
        first = {"HSET": 2, "DEL": 1}.get(name, 0)
        if step and len(arguments) > first + step:
            for at in range(first, len(arguments), step):
                yield "dropped field", self.tokens[arguments[at - 1][1]].end, self._last(arguments, at + step - 1), ""
        for at, (start, _) in enumerate(arguments):
            if self.tokens[start].text in {"'NX'", "'XX'", "'GT'"}:
                yield "dropped option", self.tokens[arguments[at - 1][1]].end, self.tokens[start].end, ""

    def _said(self, argument: tuple[int, int]) -> str:
        return self.tokens[argument[0]].text.strip("'\"")

    def _last(self, arguments: Sequence[tuple[int, int]], at: int) -> int:
        return self.tokens[arguments[min(at, len(arguments) - 1)][1]].end

    def _arguments(self, place: int) -> list[tuple[int, int]]:
        """First and last token of each argument of the call whose parenthesis stands at `place`."""
        found, start = [], place + 1
        for at in range(place + 1, len(self.tokens)):
            depth = self._depth(place, at)
            if (self.tokens[at].text == "," and depth == 1) or (self.tokens[at].text == ")" and depth == 1):
                found.append((start, at - 1))
                start = at + 1
            if self.tokens[at].text == ")" and depth == 1:
                break
        return found
