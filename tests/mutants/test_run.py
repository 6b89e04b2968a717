"""Which mutants are drawn, who judges them, and what is said of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mutants import __main__ as program
from mutants import equivalent, python
from mutants.mutant import Mutant, sample
from mutants.report import layers, scores, survivors, table
from mutants.stand import ROOT, Unsound, Verdict, stand
from mutants.table import files, row_of, stages

SOURCE = b"""def share(part, whole):
    if whole > 0:
        return part / whole
    return 0

def unseen(x):
    return x > 2
"""
TESTS = """from proxy.core.money import share, unseen

def test_share():
    assert share(1, 2) == 0.5
    assert share(1, 0) == 0
    assert unseen(9)
"""
FILE = "proxy/core/money.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A product with one file, and one test of it that looks at half of it."""
    for name, text in {
        FILE: SOURCE.decode(),
        "proxy/__init__.py": "",
        "proxy/core/__init__.py": "",
        "tests/core/test_money.py": TESTS,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def mutants() -> list[Mutant]:
    return python.mutants_of(FILE, SOURCE, {})


def the(now: str) -> Mutant:
    return next(one for one in mutants() if one.now == now)


def test_one_that_is_noticed_is_killed_one_that_is_not_survives_and_the_project_stays_as_it_was(project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*.*")}
    with stand(project) as place:
        results = [place.judge(the(now)).result for now in ("if whole >= 0:", "return x >= 2", "return None")]
        assert results == ["killed", "survived", "killed"]
        assert (place.root / FILE).read_bytes() == SOURCE
        copy = place.root
    assert {path: path.read_bytes() for path in project.rglob("*.*")} == before
    assert not copy.exists()


def test_an_endless_one_is_killed_by_time_and_leaves_no_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mutants.stand.LEAST_LIMIT_SECONDS", 0.5)
    monkeypatch.setattr("mutants.stand.LIMIT_FACTOR", 0.0)
    place_of_if = SOURCE.index(b"if")
    endless = Mutant(FILE, "share", 2, "test", place_of_if, place_of_if, "while True: pass\n    ", "", "")
    with stand(project) as place:
        assert place.judge(endless).result == "timeout"
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(place.worker.pid)], capture_output=True, check=False
        )
        assert children.stdout.split() == []


def test_tests_that_do_not_pass_as_they_are_say_nothing(project: Path) -> None:
    (project / "tests/core/test_money.py").write_text("def test_no():\n    assert False\n")
    with stand(project) as place, pytest.raises(Unsound, match="without any mutant"):
        place.judge(the("return x >= 2"))


def test_the_same_seed_draws_the_same_and_another_one_others() -> None:
    drawn = {seed: sample(mutants(), 4, seed) for seed in range(5)}
    assert drawn == {seed: sample(mutants(), 4, seed) for seed in range(5)}
    assert len({tuple(one.key for one in some) for some in drawn.values()}) > 1


def test_every_line_has_its_turn_before_any_has_a_second() -> None:
    every = mutants()
    lines = {one.line for one in every}
    assert {one.line for one in sample(every, len(lines), 1)} == lines
    assert sample(every, 1000, 1) == every
    assert len(sample(every, len(lines) + 2, 1)) == len(lines) + 2
    assert sample([], 5, 1) == []


ENTRY = '[[equivalent]]\nfile = "{}"\nfunction = "unseen"\nwas = "return x > 2"\nnow = "{}"\nwhy = "nobody asks"\n'


def test_an_equivalent_one_is_known_wherever_it_stands() -> None:
    reasons = equivalent.load(ENTRY.format(FILE, "return x >= 2"))
    moved = python.mutants_of(FILE, b"# a line more\n" + SOURCE, {})
    assert [one.now for one in moved if one.key in reasons] == ["return x >= 2"]
    assert equivalent.stale(reasons, moved) == []
    assert len(equivalent.stale(reasons, python.mutants_of(FILE, SOURCE.replace(b"x > 2", b"x > 3"), {}))) == 1
    assert equivalent.stale(reasons, python.mutants_of("proxy/other.py", SOURCE, {})) == []


@pytest.mark.parametrize(
    "text", [ENTRY.replace("why", "how"), ENTRY.replace("nobody asks", " "), 2 * ENTRY, '[[equivalent]]\nfile = "a"\n']
)
def test_an_entry_without_a_reason_is_no_entry(text: str) -> None:
    with pytest.raises(ValueError, match=r"equivalent\.toml"):
        equivalent.load(text.format(FILE, "a", FILE, "a"))


def test_what_is_listed_as_equivalent_can_be_read() -> None:
    assert all(why for why in equivalent.load(equivalent.FILE.read_text()).values())


def verdicts(**results: int) -> list[Verdict]:
    one = the("return x >= 2")
    return [Verdict(one, result) for result, times in results.items() for _ in range(times)]


@pytest.mark.parametrize(
    ("results", "share", "enough"),
    [
        ({"killed": 18, "timeout": 1, "survived": 1, "equivalent": 9}, 0.95, True),
        ({"killed": 18, "survived": 1, "equivalent": 99}, 18 / 19, False),
        ({"equivalent": 3}, 1.0, True),
    ],
)
def test_the_share_is_of_those_that_can_be_noticed(
    results: dict[str, int], share: float, enough: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (score,) = scores(verdicts(**results))
    assert score.share == pytest.approx(share)
    assert score.mutants == sum(results.values())
    for by_file in (True, False):
        assert program._tell(verdicts(**results), [], 1.0, by_file=by_file) == (0 if enough else 1)
    assert ("**low**" in capsys.readouterr().out) is not enough


def test_the_report_names_every_survivor_with_its_place() -> None:
    told = verdicts(killed=1, survived=1)
    assert list(survivors(told)) == [f"{FILE}:7 in unseen (boundary)\n    - return x > 2\n    + return x >= 2"]
    assert list(table(scores(told)))[2:] == [
        f"| {name} | 2 | 1 | 1 | 0 | 50.0% **low** | 0 |" for name in (FILE, "core")
    ]


def test_a_sample_is_judged_by_layers_and_a_whole_run_by_files() -> None:
    other = Mutant("proxy/core/cards.py", "f", 1, "test", 0, 1, "", "a", "b")
    mixed = [*verdicts(killed=1, survived=1), *(Verdict(other, "killed") for _ in range(18))]
    assert [(one.file, one.mutants) for one in layers(scores(mixed))] == [("core", 20)]
    assert program._tell(mixed, [], 1.0, by_file=False) == 0
    assert program._tell(mixed, [], 1.0, by_file=True) == 1


def test_nothing_to_look_at_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["proxy/no_such_file.py"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_rules_the_corridor_the_ledger_and_their_scripts_are_looked_at() -> None:
    looked_at = set(files(ROOT, []))
    assert {
        *(
            "proxy/core/outcome.py",
            "proxy/core/ledger.py",
            "proxy/forward.py",
            "proxy/resend.py",
            "proxy/bookkeeper.py",
        ),
        *("proxy/edges/lua/view.lua", "proxy/edges/redis_ledger.py", "proxy/edges/memory_ledger.py", "proxy/gate.py"),
    } <= looked_at
    assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob("proxy/edges/lua/*.lua")} <= looked_at
    assert list(files(ROOT, ["proxy/web"]))
    assert list(files(ROOT, ["proxy/core/ledger.py"])) == ["proxy/core/ledger.py"]


@pytest.mark.parametrize("file", list(files(ROOT, [])))
def test_every_one_of_them_meets_tests_that_exist(file: str) -> None:
    row = row_of(file)
    assert row is not None
    plan = stages(ROOT, file)
    assert plan
    for argument in (argument for stage in plan for argument in stage if not argument.startswith("-")):
        assert (ROOT / argument).exists(), argument
