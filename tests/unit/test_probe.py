"""Evaluators of the user's are loaded elsewhere: whatever their code does, the one who checks gets a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from shadow.evaluators.probe import loading_fault
from shadow.records import EvaluatorSpec
from tests.support.waiting import eventually


def fault(folder: Path, code: str, *, limit_s: float = 30.0, **options: object) -> str | None:
    (folder / "mine.py").write_text(code, encoding="utf-8")
    spec = EvaluatorSpec(type="python", options={"target": "mine:score", **options})
    return loading_fault(spec, config_dir=str(folder), limit_s=limit_s)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def score(case): return 1.0", None),
        ('print(\'{"fault": "printed"}\', flush=True)\ndef score(case): return 1.0', None),
        ("class score:\n    def __init__(self, limit=1): self.limit = limit\n    def evaluate(self, case): ...", None),
        ("nothing = 1", "python: module 'mine' has no 'score'"),
        ("1 / 0", "python: {folder}/mine.py cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "python: mine:score ended the process that loads it (exit code 3)"),
        ("import os; os._exit(3)", "python: mine:score ended the process that loads it (exit code 3)"),
        (
            "class Odd:\n    version = property(lambda self: {}['odd'])\n    evaluate = print\nscore = Odd()",
            "python: mine:score cannot be used: KeyError: 'odd'",
        ),
        (
            "score = iter",
            "python: mine:score must be a function of (case) or (output, expected), or have score, evaluate or compare",
        ),
    ],
)
def test_what_is_wrong_with_an_evaluator_is_one_sentence(tmp_path: Path, code: str, sentence: str | None) -> None:
    assert fault(tmp_path, code) == (sentence and sentence.replace("{folder}", str(tmp_path)))


def test_options_are_handed_on(tmp_path: Path) -> None:
    code = "class score:\n    def __init__(self, limit): self.limit = limit\n    def evaluate(self, case): ..."
    assert fault(tmp_path, code, limit=3) is None
    assert fault(tmp_path, code, depth=3) == (
        "python: mine:score could not be built: TypeError: score.__init__() got an unexpected keyword argument 'depth'"
    )


def test_an_installed_module_that_fails_at_import_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "installed_elsewhere.py").write_text("raise ValueError('no licence')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    spec = EvaluatorSpec(type="python", options={"target": "installed_elsewhere:score"})
    assert loading_fault(spec, config_dir=str(tmp_path / "empty")) == (
        "python: module 'installed_elsewhere' cannot be imported: ValueError: no licence"
    )


def test_code_that_hangs_is_given_up_and_leaves_nothing_running(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "pathlib.Path(__file__).with_name('pids').write_text(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(300)"
    )
    assert fault(tmp_path, code, limit_s=5) == "python: mine:score was not loaded within 5 s"
    for pid in map(int, (tmp_path / "pids").read_text("utf-8").split()):
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists() or is_zombie(pid))  # type: ignore[misc]


def is_zombie(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text("utf-8")
    except FileNotFoundError:
        return True


def test_threads_that_never_end_do_not_hold_the_answer_up(tmp_path: Path) -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()\ndef score(case): ..."
    assert fault(tmp_path, code) is None
