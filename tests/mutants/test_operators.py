"""What is changed, and what is left alone: every operator, in Python and in Lua."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mutants import lua, python
from mutants.mutant import sample
from mutants.table import files

ROOT = Path(__file__).parents[2]
ENUMS = {"State": ["FINAL", "UNKNOWN"]}


def in_python(line: str) -> set[str]:
    """Every way in which one line of a function may read."""
    source = f"def f(a, b, c):\n    {line}\n"
    return {one.now for one in python.mutants_of("m.py", source.encode(), ENUMS) if one.line > 1}


def in_lua(source: str) -> set[str]:
    return {one.now for one in lua.mutants_of("m.lua", source.encode())}


@pytest.mark.parametrize(
    ("line", "mutants"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b", "pass"}),
        ("x = a >= b", {"x = a > b", "x = a < b", "pass"}),
        ("x = a == b", {"x = a != b", "pass"}),
        ("x = a is not b", {"x = a is b", "pass"}),
        ("x = a not in b", {"x = a in b", "pass"}),
        ("x = (a) < (b)", {"x = (a) <= (b)", "x = (a) >= (b)", "pass"}),
        ("x = a and b", {"x = a or b", "x = (a)", "x = (b)", "pass"}),
        ("x = (a or b) and c", {"x = (a and b) and c", "x = ((a)) and c", "x = ((b)) and c"}),
        ("x = (a or b) and c", {"x = (a or b) or c", "x = ((a or b))", "x = (c)"}),
        ("x = not a", {"x = a", "pass"}),
        ("x = not (a or b)", {"x = (a or b)"}),
        ("x = b if a else c", {"x = b if True else c", "x = b if False else c"}),
        ("x = [y for y in a if y]", {"x = [y for y in a if True]", "x = [y for y in a if False]"}),
        ("x = {a, b}", {"x = {b,}", "x = {a,}"}),
        ("x = {a}", {"x = set()"}),
        ("x = (a, b)", {"x = (b,)", "x = (a,)"}),
        ("x = [a]", {"x = []"}),
        ("x = {a: b, **c}", {"x = {**c,}", "x = {a: b,}"}),
        ("x = State.FINAL", {"x = State.UNKNOWN", "pass"}),
        ("x = State.other", {"pass"}),
        ("x = 7", {"x = 8", "x = 0", "pass"}),
        ("x = 0", {"x = 1", "pass"}),
        ("x = True", {"x = False", "pass"}),
        ("a(b, c=b, d=c)", {"a(b, d=c)", "a(b, c=b)", "pass"}),
        ("x = min(a, b)", {"x = max(a, b)", "pass"}),
        ("a.append(b)", {"pass"}),
        ("a.b += c", {"pass"}),
        ("return a", {"return None"}),
        ("return None", {"pass"}),
        ("raise a", {"pass"}),
    ],
)
def test_every_operator_of_python(line: str, mutants: set[str]) -> None:
    assert mutants <= in_python(line)


@pytest.mark.parametrize("line", ["'words'", "x: dict[a, b]", "x: Final", "import a", "pass"])
def test_what_says_nothing_at_run_time_is_left_alone(line: str) -> None:
    assert in_python(line) == set()


@pytest.mark.parametrize(
    "source",
    [
        "@dataclass(frozen=True)\nclass A(B, key=True):\n    '''Words.'''\n    x: dict[str, int]\n",
        "class A(Protocol):\n    def f(self, x=1) -> None:\n        return self.x == 1\n",
        "if TYPE_CHECKING:\n    A = 1\n",
        "Pair = tuple[str, int]\nCall = Callable[[int], str]\n",
        "A = B\n",
    ],
)
def test_types_and_names_are_left_alone(source: str) -> None:
    assert python.mutants_of("m.py", source.encode(), ENUMS) == []


def test_a_text_that_is_put_together_is_left_as_it_is() -> None:
    assert in_python('x = f"{a < b}"') == {"pass"}


def test_a_default_and_a_figure_of_a_module_are_changed() -> None:
    found = python.mutants_of("m.py", b"SECONDS = 5\ndef f(x=True): ...\n", ENUMS)
    assert {one.now for one in found} == {"SECONDS = 6", "SECONDS = 0", "def f(x=False): ..."}


def test_a_mutant_names_the_function_it_stands_in_and_the_whole_of_its_lines() -> None:
    source = b"class A:\n    def f(self):\n        return (\n            1 <\n            2\n        )\n"
    found = [one for one in python.mutants_of("m.py", source, ENUMS) if one.operator == "boundary"]
    assert [(one.function, one.line, one.was, one.now) for one in found] == [("A.f", 4, "1 <", "1 <=")]


@pytest.mark.parametrize(
    ("source", "mutants"),
    [
        ("x = a == b", {"x = a ~= b", "do end"}),
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("if a and b then c() end", {"if a or b then c() end", "if b then c() end", "if a then c() end"}),
        ("if a and b then c() end", {"if true then c() end", "if false then c() end", "if a and b then do end end"}),
        ("while a do b() end", {"while false do b() end", "while a do do end end"}),
        ("x = not a", {"x = a"}),
        ("local x = now + 5", {"local x = now - 5", "local x = now + 6", "local x = now + 4"}),
        ("local x = a[1]", {"local x = a[2]"}),
        ("local x = math.max(a, b)", {"local x = math.min(a, b)"}),
        ("put('final')", {"put('unknown')", "do end"}),
        ("redis.call('PERSIST', k)", {"do end"}),
        ("redis.call('HSET', k, 'a', f(1, 2), 'b', 3)", {"redis.call('HSET', k, 'b', 3)"}),
        ("redis.call('HSET', k, 'a', f(1, 2), 'b', 3)", {"redis.call('HSET', k, 'a', f(1, 2))"}),
        ("redis.call('DEL', j, k)", {"redis.call('DEL', k)", "redis.call('DEL', j)"}),
        ("redis.call('ZADD', k, 'NX', s, i)", {"redis.call('ZADD', k, s, i)"}),
        ("local l = redis.call('ZRANGE', k, 0, -1)", {"local l = redis.call('ZREVRANGE', k, 0, -1)"}),
    ],
)
def test_every_operator_of_lua(source: str, mutants: set[str]) -> None:
    assert mutants <= in_lua(source)


def test_a_statement_of_lua_is_removed_whole() -> None:
    found = lua.mutants_of("m.lua", b"local function f()\n  redis.call('SET', a,\n    b)\n  x, y = a,\n    b\nend\n")
    removed = [(one.function, one.line, one.was) for one in found if one.operator == "removed statement"]
    assert removed == [("f", 2, "redis.call('SET', a, b)"), ("f", 4, "x, y = a, b")]


@pytest.mark.parametrize("source", ["-- if a < 1 then b() end", "local x = 'a < 1 and b'", "return x"])
def test_comments_and_texts_of_lua_are_left_alone(source: str) -> None:
    assert in_lua(source) == set()


PYTHON = sorted(ROOT.glob("proxy/**/*.py"))
KNOWN = python.enums([path.read_text() for path in PYTHON])


@pytest.mark.parametrize("file", [file for file in files(ROOT, []) if file.endswith(".py")])
def test_whatever_the_product_says_its_mutants_can_be_read(file: str) -> None:
    source = (ROOT / file).read_bytes()
    for one in sample(python.mutants_of(file, source, KNOWN), 6, 1):
        changed = one.applied(source)
        assert changed != source
        ast.parse(changed)


def test_the_enumerations_of_the_product_are_known() -> None:
    assert KNOWN["Outcome"] == ["NOT_SENT", "UNKNOWN", "FINAL"]
