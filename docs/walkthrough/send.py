"""Send real prompts as an app would: the openai SDK, streaming, its base_url pointing at the gateway.

    python send.py --gsm8k gsm8k.jsonl.gz --ifeval ifeval.jsonl.gz --limit 160 --base-url http://127.0.0.1:8080/v1

Before it sends, it writes `golden.json` beside itself: what a right answer is, for `evaluators.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

from evaluators import CHECKS, GOLDEN, final_number, prompt_key
from openai import AsyncOpenAI, OpenAIError

HINT = "\n\nThink in short steps. End with: The answer is <number>."


def read(path: Path) -> list[dict[str, Any]]:
    """Read a gzipped file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def word_problems(path: Path) -> list[tuple[str, float]]:
    """Return problems whose right number is known: the one a recorded answer marked as right ends with."""
    found = []
    for row in read(path):
        right = row["gpt4_out"] if row["gpt4_ok"] else row["mixtral_out"] if row["mixtral_ok"] else None
        number = final_number(right) if right else None
        if number is not None:
            found.append((row["prompt"] + HINT, number))
    return found


def instructions(path: Path) -> list[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """Return prompts with at least one instruction there is a rule for."""
    found = []
    for row in read(path):
        pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
        rules = [(name, options) for name, options in pairs if name in CHECKS]
        if rules:
            found.append((row["prompt"], rules))
    return found


async def ask(client: AsyncOpenAI, model: str, app: str, prompt: str, gate: asyncio.Semaphore) -> bool:
    """Send one prompt and read its stream to the end; False when the app would have seen an error."""
    async with gate:
        try:
            stream = await client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": prompt}],
                max_tokens=160,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
                extra_headers={"x-app": app},
            )
            async for _ in stream:
                pass
        except OpenAIError as error:
            print(f"{app}: {type(error).__name__}", file=sys.stderr)  # noqa: T201  (a script talks to its user)
            return False
    return True


async def main() -> None:
    """Write the golden file, then send everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True)
    parser.add_argument("--ifeval", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=160)
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--golden-only", action="store_true")
    options = parser.parse_args()
    following = instructions(options.ifeval)
    solving = word_problems(options.gsm8k)[: max(0, options.limit - len(following))]
    golden = {
        "numbers": {prompt_key(prompt): number for prompt, number in solving},
        "instructions": {prompt_key(prompt): rules for prompt, rules in following},
    }
    GOLDEN.write_text(json.dumps(golden))
    if options.golden_only:
        return
    client = AsyncOpenAI(base_url=options.base_url, api_key="sk-walkthrough", max_retries=0, timeout=600)
    gate = asyncio.Semaphore(2)
    started = time.monotonic()
    asks = [ask(client, options.model, "math", prompt, gate) for prompt, _ in solving]
    asks += [ask(client, options.model, "instructions", prompt, gate) for prompt, _ in following]
    answered = sum(await asyncio.gather(*asks))
    print(f"{answered} of {len(asks)} answered in {time.monotonic() - started:.0f} s")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
