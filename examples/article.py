"""The article's example, its imports changed and its endpoint taken from EZAI_BASE_URL; run by a test.

From "AI Model Benchmarking in Production" (EzAI blog): `python examples/article.py`, or against the simulator
`shadow-gateway simulator` and `EZAI_BASE_URL=http://127.0.0.1:9090 python examples/article.py`.
"""

import asyncio
import os

from shadow import ExactMatchEvaluator, ModelBenchmark, run_benchmark_suite

# Example usage
benchmark = ModelBenchmark("sk-your-ezai-key", base_url=os.environ.get("EZAI_BASE_URL", "https://ezaiapi.com"))
test_cases = [
    {"prompt": "What's the capital of France?", "expected": "Paris"},
    {"prompt": "Write a Python function to reverse a string", "expected": "[::-1]"},
    # Add 50+ real cases from your production logs
]

summary = asyncio.run(
    run_benchmark_suite(
        benchmark, test_cases, models=["claude-sonnet-4-5", "gpt-4o", "gemini-2.5-pro"], evaluator=ExactMatchEvaluator()
    )
)

for model, figures in summary.items():
    print(model)
    for name, value in figures.items():
        print(f"  {name}: {value}")
