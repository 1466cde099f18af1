"""The article's example and its classes against the simulator over real sockets; importing them costs little."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from shadow import (
    BenchmarkResult,
    ExactMatchEvaluator,
    JSONValidityEvaluator,
    LLMJudgeEvaluator,
    ModelBenchmark,
    run_benchmark_suite,
)
from shadow.benchmark.article import NoScoreError, NotApplicableError
from shadow.simulator import FaultRate, Quality, Script, SimModel, Simulator, Timing
from tests.support.serving import plain_environment
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ARTICLES_JUDGE = """Rate this response 1-5 on accuracy and relevance.
Expected answer: {1}
Actual response: {0}
Reply with just the number."""
FRANCE = {"prompt": "What is 3 + 4?", "expected": "7"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    script = Script(
        models=(
            SimModel(name="slow", timing=Timing(ttft_ms=1000)),
            SimModel(name="wrong", quality=Quality(wrong=1.0)),
            SimModel(name="down", faults=(FaultRate(fault="500; retry-after-ms=1", rate=1.0),)),
        )
    )
    with Simulator(script) as running:
        yield running


def test_the_articles_example_runs_and_prints_its_summary(simulator: Simulator) -> None:
    environ = plain_environment(EZAI_BASE_URL=simulator.base_url)
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "article.py")],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for model in ("claude-sonnet-4-5", "gpt-4o", "gemini-2.5-pro"):
        block = done.stdout.partition(f"{model}\n")[2].partition("p95_latency_ms")[0]
        for key in ("avg_latency_ms", "avg_quality", "total_cost", "cost_per_quality_point"):
            assert f"  {key}: " in block
        assert "  avg_quality: 1.0\n" in block
    assert {entry.key for entry in simulator.log} == {"sk-your-ezai-key"}
    assert len(simulator.log.calls()) == 6


def test_the_example_is_the_articles_but_for_its_imports_and_endpoint() -> None:
    ours = (ROOT / "examples" / "article.py").read_text("utf-8")
    for line in (
        'benchmark = ModelBenchmark("sk-your-ezai-key"',
        '{"prompt": "What\'s the capital of France?", "expected": "Paris"},',
        '{"prompt": "Write a Python function to reverse a string", "expected": "[::-1]"},',
        'models=["claude-sonnet-4-5", "gpt-4o", "gemini-2.5-pro"]',
        "evaluator=ExactMatchEvaluator()",
    ):
        assert line in ours


async def test_one_question_gives_every_field_of_the_article_and_the_first_token(simulator: Simulator) -> None:
    benchmark = ModelBenchmark("key", base_url=simulator.base_url)
    benchmark.pricing["slow"] = (1.0, 2.0)
    result = await benchmark.run_single("slow", "What is 3 + 4?", "Be brief.")

    assert isinstance(result, BenchmarkResult)
    assert (result.model, result.output, result.error) == ("slow", "The answer is 7.", None)
    assert (result.tokens_in, result.tokens_out) == (10, 4)
    assert result.cost_usd == pytest.approx((10 * 1.0 + 4 * 2.0) / 1e6)
    assert result.quality_score is None
    assert result.ttft_ms is not None
    assert 300 <= result.ttft_ms <= result.latency_ms
    result.quality_score = 1.0


async def test_an_unknown_price_is_no_cost_and_says_why(simulator: Simulator) -> None:
    result = await ModelBenchmark("key", base_url=simulator.base_url).run_single("wrong", "What is 3 + 4?")

    assert (result.cost_usd, result.cost_reason) == (None, "price unknown")
    assert result.tokens_out is not None


async def test_a_suite_asks_all_at_once_and_never_blocks_the_loop(simulator: Simulator) -> None:
    turns = 0

    class Sleepy:
        def score(self, output: str, expected: str) -> float:
            """Sleep, as the article's synchronous judge does, until the loop has had a turn meanwhile."""
            begun = turns
            eventually(lambda: turns > begun, what="a turn of the loop while an answer is scored")
            return 1.0 if expected in output else 0.0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    summary = await run_benchmark_suite(
        ModelBenchmark("key", base_url=simulator.base_url), [FRANCE] * 6, ["slow", "other"], Sleepy()
    )
    turning.cancel()

    assert summary["slow"]["avg_quality"] == summary["other"]["avg_quality"] == 1.0
    calls = simulator.log.calls(model="slow")
    together = max(sum(one.arrived_at <= other.arrived_at <= (one.ended_at or 0) for one in calls) for other in calls)
    assert together == 6


async def test_one_models_failure_is_counted_and_ends_nothing(simulator: Simulator) -> None:
    summary = await run_benchmark_suite(
        ModelBenchmark("key", base_url=simulator.base_url, retries=1),
        [FRANCE] * 2,
        ["down", "other"],
        ExactMatchEvaluator(),
    )

    assert summary["other"]["avg_quality"] == 1.0
    down = summary["down"]
    assert (down["errors"], down["attempts"], down["avg_quality"], down["total_cost"]) == (2, 4, None, 0.0)
    assert "no answer ended well" in down["reasons"]["avg_quality"]
    assert down["cost_per_quality_point"] is None


async def test_a_subclass_that_raises_is_a_failure_of_its_model_alone(simulator: Simulator) -> None:
    class Odd(ModelBenchmark):
        async def run_single(self, model: str, prompt: str, system: str = "") -> BenchmarkResult:
            if model == "odd":
                raise RuntimeError("no route")
            return await super().run_single(model, prompt, system)

    cases = [FRANCE, {**FRANCE, "system": "Be brief."}]
    summary = await run_benchmark_suite(
        Odd("key", base_url=simulator.base_url), cases, ["odd", "other"], ExactMatchEvaluator()
    )
    assert (summary["odd"]["errors"], summary["other"]["scored"]) == (2, 2)
    assert "RuntimeError: no route" in summary["odd"]["reasons"]["avg_quality"]


async def test_what_cannot_be_scored_is_missing_and_never_a_number(simulator: Simulator) -> None:
    class Raises:
        def score(self, output: str, expected: str) -> float:
            raise ValueError(output + expected)

    class TooMuch:
        def score(self, output: str, expected: str) -> float:
            return 5.0 if output and not expected else 0.0

    benchmark = ModelBenchmark("key", base_url=simulator.base_url)
    for evaluator, why in (
        (ExactMatchEvaluator(), "not applicable: no expected text"),
        (Raises(), "raised ValueError"),
        (TooMuch(), "returned 5.0, not a number from 0 to 1"),
    ):
        summary = await run_benchmark_suite(benchmark, [{"prompt": "What is 3 + 4?"}], ["other"], evaluator)
        assert summary["other"]["avg_quality"] is None
        assert why in summary["other"]["reasons"]["avg_quality"]
        assert summary["other"]["scored"] == 0


async def test_quality_zero_costs_without_end_and_divides_by_nothing(simulator: Simulator) -> None:
    benchmark = ModelBenchmark("key", base_url=simulator.base_url)
    benchmark.pricing["wrong"] = (1.0, 2.0)
    summary = await run_benchmark_suite(benchmark, [FRANCE] * 3, ["wrong"], ExactMatchEvaluator())

    assert summary["wrong"]["avg_quality"] == 0.0
    assert summary["wrong"]["total_cost"] > 0
    assert summary["wrong"]["cost_per_quality_point"] == math.inf
    assert summary["wrong"]["reasons"]["cost_per_quality_point"] == "quality is 0: no money buys a point"


async def test_the_articles_weekly_choice_takes_the_smallest_of_all_models(simulator: Simulator) -> None:
    benchmark = ModelBenchmark("key", base_url=simulator.base_url)
    benchmark.pricing |= {"wrong": (0.1, 0.2), "slow": (1.0, 2.0)}
    summary = await run_benchmark_suite(benchmark, [FRANCE] * 3, ["wrong", "slow"], ExactMatchEvaluator())
    assert min(summary, key=lambda m: summary[m]["cost_per_quality_point"]) == "slow"


async def test_the_judge_grades_through_the_benchmarks_client(simulator: Simulator) -> None:
    benchmark = ModelBenchmark("key", base_url=simulator.base_url)
    judge = LLMJudgeEvaluator(benchmark.client, model="judge")
    summary = await run_benchmark_suite(benchmark, [FRANCE], ["other"], judge)
    [asked] = simulator.log.calls(model="judge")
    wrong = judge.score("The answer is 8.", "7")
    said = benchmark.client.messages.create(
        model="judge", max_tokens=10, messages=[{"role": "user", "content": ARTICLES_JUDGE.format("Paris.", "paris")}]
    )
    benchmark.client.close()

    assert (summary["other"]["avg_quality"], wrong) == (1.0, 0.5)
    assert [block.text for block in said.content] == ["5"]  # asked as the article does: the number alone
    assert asked.key == "key"
    body = json.loads(asked.body)
    assert body["tool_choice"] == {"type": "tool", "name": "grade"}
    assert "The answer is 7." in body["messages"][0]["content"]


def judge_that_says(*content: Any) -> LLMJudgeEvaluator:
    answer = SimpleNamespace(content=list(content), stop_reason="end_turn")
    return LLMJudgeEvaluator(SimpleNamespace(messages=SimpleNamespace(create=lambda **_: answer)))


def grade(**given: Any) -> Any:
    return SimpleNamespace(type="tool_use", input=given)


@pytest.mark.parametrize(("given", "expected"), [(1, 0.0), (2, 0.25), (3, 0.5), (5, 1.0)])
def test_a_grade_is_mapped_to_the_whole_range(given: int, expected: float) -> None:
    assert judge_that_says(grade(reason="so", grade=given)).score("out", "in") == expected


@pytest.mark.parametrize(
    "content",
    [
        [],
        [SimpleNamespace(type="text", text="4")],
        [grade(grade=10)],
        [grade(grade="5")],
        [grade(grade=True)],
        [grade(reason="score 5")],
        [grade(grade=5), grade(grade=1)],
        [SimpleNamespace(type="tool_use", input="5")],
    ],
)
def test_a_judge_that_gives_no_grade_gives_no_score(content: list[Any]) -> None:
    with pytest.raises(NoScoreError, match="no grade from 1 to 5"):
        judge_that_says(*content).score("out", "in")


def test_a_judge_that_cannot_be_asked_gives_no_score() -> None:
    def broken(**_: Any) -> Any:
        raise ConnectionError

    judge = LLMJudgeEvaluator(SimpleNamespace(messages=SimpleNamespace(create=broken)))
    with pytest.raises(NoScoreError, match="could not be asked: ConnectionError"):
        judge.score("out", "")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"a": 1}', 1.0),
        ("[]", 1.0),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', 1.0),
        ("```\n[1]\n```", 1.0),
        ("5", 0.0),
        ("true", 0.0),
        ('"x"', 0.0),
        ("NaN", 0.0),
        ('{"a": NaN}', 0.0),
        ('{"a": 1, "a": 2}', 0.0),
        ("", 0.0),
        ("not json", 0.0),
        ("[" * 200_000, 0.0),
        ("[" + "1" * 5_000 + "]", 0.0),
    ],
)
def test_json_validity_has_a_defined_result_for_everything(output: str, expected: float) -> None:
    assert JSONValidityEvaluator().score(output, "") == expected


def test_an_empty_expected_text_gives_no_score() -> None:
    assert ExactMatchEvaluator().score("It is PARIS.", "paris") == 1.0
    assert ExactMatchEvaluator().score("It is Rome.", "paris") == 0.0
    with pytest.raises(NotApplicableError, match="no expected text"):
        ExactMatchEvaluator().score("anything", "")


def test_importing_shadow_stays_light_and_its_names_load_late() -> None:
    look = (
        "import sys, shadow\n"
        "heavy = {'anthropic', 'httpx2', 'starlette', 'pydantic', 'aiosqlite', 'genai_prices', 'asyncio', 're2'}\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in heavy or name.startswith('shadow.')))\n"
        "shadow.ModelBenchmark\n"
        "print('shadow.benchmark.article' in sys.modules, 'anthropic' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", look], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["['shadow.records']", "True False"], done.stderr


def test_every_exported_name_is_there() -> None:
    import shadow  # noqa: PLC0415

    for name in shadow.__all__:
        assert getattr(shadow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        shadow.Nothing  # noqa: B018
