"""The docs say what the code does: a heading for every key, command, route and reason; blocks that run."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import load
from gateway.configmodel import ConfigFile, Section
from gateway.configsource import START_VARIABLES
from shadow.evaluators import EVALUATOR_TYPES
from shadow.records import Outcome
from shadow.web.openapi import openapi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")

SKIPPED = {
    "primary_error", "stateful", "server_tools", "mcp", "files", "holds_key", "client_retry", "too_large", "unreadable",
    "dialect", "same_model", "no_credentials", "price_unknown", "over_budget", "not_configured",
    "price_varies", "no_output_limit", "routed_elsewhere", "decided", "not_in_noise_floor",
}  # fmt: skip
DROPPED = {
    "tee_full", "queue_full", "too_old", "lost_on_crash", "worker_error", "buffer_full", "unstorable", "unflushed",
}  # fmt: skip


def section(title: str) -> str:
    """One part of the reference."""
    return REFERENCE.partition(f"\n# {title}\n")[2].partition("\n# ")[0]


def headings(title: str) -> list[str]:
    return re.findall(r"^### `(.+)`$", section(title), re.MULTILINE)


def keys(of: type[Section] = ConfigFile, *, start: str = "") -> Iterator[tuple[str, str]]:
    """Every key of the configuration with the sentence about its default; `[]` each entry, `*` each name."""
    for name, field in of.model_fields.items():
        inner, step = _inner(field.annotation)
        default = field.get_default(call_default_factory=True)
        # What holds further keys has their defaults, unless it is one of several or may be missing.
        told = "" if inner is not None and isinstance(default, Section) else _default(field)
        yield f"{start}{name}", told
        if inner is not None:
            yield from keys(inner, start=f"{start}{name}{step}")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "Required."
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "Default: `auto`." if "auto" in str(field) else "Default: none."
    if default and isinstance(default, list):
        default = [entry.name for entry in default]
    text = yaml.safe_dump(default, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
    return f"Default: `{text.replace(chr(39) * 2, chr(34) * 2)}`."


def _inner(annotation: Any) -> tuple[type[Section] | None, str]:
    """Find the section a key holds, and how a path goes on into it."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, "."
    steps = {list: (0, "[]."), dict: (1, ".*.")}
    origin, given = get_origin(annotation), get_args(annotation)
    if origin in steps:
        at, step = steps[origin]
        return _inner(given[at])[0], step
    for choice in given[:1] if origin is Annotated else given:
        found = _inner(choice)
        if found[0] is not None:
            return found
    return None, ""


def test_every_configuration_key_has_its_heading_and_its_default() -> None:
    told = dict(re.findall(r"^### `(.+)`\n\n(Default: `.*?`\.|Default: none\.|Required\.)?", REFERENCE, re.MULTILINE))
    assert headings("Configuration") == [key for key, _ in keys()]
    assert {key: told[key] for key, _ in keys()} == dict(keys())


@pytest.mark.parametrize("key", headings("Not built yet"))
def test_what_is_not_built_yet_is_refused_and_said_so(key: str, tmp_path: Path) -> None:
    last = key.rpartition(".")[2]
    text = {
        "store: postgresql://": "store: postgresql://user@host/db",
    }.get(key, f"{last}: {{}}")
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Exception, match=r"not built yet"):
        load(file, {})


def test_every_variable_has_its_heading() -> None:
    assert set(headings("Environment")) == {*START_VARIABLES, "EZAI_API_KEY", "SHADOW_ADMIN_TOKEN", "HTTPS_PROXY"}


def test_every_command_and_option_is_told() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]  # a group has commands
    assert set(headings("Commands")) == set(commands)
    for name, command in commands.items():
        told = section("Commands").partition(f"### `{name}`\n")[2].partition("###")[0]
        options = {max(option.opts, key=len) for option in command.params if option.param_type_name == "option"}
        missing = {option for option in options - {"--config", "--help"} if option not in told}
        assert missing == set(), name


def test_every_admin_route_has_its_heading_and_its_parameters() -> None:
    paths = openapi(version="1")["paths"]
    routes = {
        f"{method.upper()} {path}": operation for path, each in paths.items() for method, operation in each.items()
    }
    assert set(headings("Admin routes")) == set(routes)
    for route, operation in routes.items():
        told = section("Admin routes").partition(f"### `{route}`\n")[2].partition("###")[0]
        asked = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        assert [name for name in asked if f"`{name}`" not in told] == [], route


def test_every_outcome_and_every_evaluator_has_its_heading() -> None:
    assert headings("Outcomes") == [outcome.value for outcome in Outcome]
    assert set(headings("Evaluators")) == set(EVALUATOR_TYPES)


def source(*folders: str) -> str:
    files = [file for folder in folders for kind in ("*.py", "*.sql") for file in (ROOT / folder).rglob(kind)]
    return "\n".join(file.read_text("utf-8") for file in files)


def test_every_reason_has_its_heading_and_is_one_the_code_gives() -> None:
    assert set(headings("Skipped")) == SKIPPED
    assert set(headings("Dropped")) == DROPPED
    code = source("gateway", "shadow")
    assert [reason for reason in SKIPPED | DROPPED if not re.search(rf"[\"']{reason}[\"']", code)] == []
    given = set(re.findall(r"(?:UnsendableError\(|reason=|skip=|_?lose\(|return \"skipped\", )\"([a-z_]+)\"", code))
    assert given - SKIPPED - DROPPED == set()


def test_every_own_answer_has_its_heading() -> None:
    code = source("gateway")
    given = set(re.findall(r"(?:Refusal\(status=\d+, error=|gateway_error = )\"([a-z_]+)\"", code))
    given |= set(re.findall(r"^ +(?:name|error) = \"([a-z_]+)\" if .* else \"[a-z_]+\"", code, re.MULTILINE))
    given |= set(re.findall(r"^ +(?:name|error) = \"[a-z_]+\" if .* else \"([a-z_]+)\"", code, re.MULTILINE))
    assert set(headings("Own answers")) >= given
    assert [name for name in headings("Own answers") if f'"{name}"' not in code] == []


# --- README ---


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_in_the_readme_compiles_and_what_it_imports_is_there(block: str) -> None:
    tree = ast.parse(block)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    code = compile(ast.Module(body=list(imports), type_ignores=[]), "README.md", "exec")  # type: ignore[arg-type]
    exec(code, {})


def test_the_readmes_evaluator_is_one(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("python") if "def short" in block]
    (tmp_path / "my_checks.py").write_text(block, encoding="utf-8")
    written = re.search(r"evaluators: \[.*\]", block)
    assert written is not None
    (tmp_path / "config.yaml").write_text(written[0], encoding="utf-8")
    assert load(tmp_path / "config.yaml", {}, load_python=True).measuring.evaluators is not None


def test_every_command_the_readme_names_explains_itself() -> None:
    named = set(re.findall(r"shadow-gateway ([a-z]+)", README)) | set(re.findall(r"`([a-z]+)` ·", README))
    assert len(named) > 5
    for name in named:
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0, name
        assert "Usage:" in shown.stdout


def test_every_make_target_the_readme_names_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"^ {4}make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def test_shell_in_the_readme_is_shell() -> None:
    for block in blocks("sh"):
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)


def test_every_configuration_key_the_readme_names_is_one() -> None:
    table = README.partition("| key | meaning |")[2].partition("\n\n")[0]
    first_cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    named = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    assert len(named) > 8
    assert named - {key for key, _ in keys()} == set()


def test_files_the_docs_link_to_are_there() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")):
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page


def test_each_threat_names_tests_that_are_there() -> None:
    rows = re.findall(r"^\| (T\d+) \|(.*)\|$", (ROOT / "SECURITY.md").read_text("utf-8"), re.MULTILINE)
    assert [number for number, _ in rows] == [f"T{number}" for number in range(1, 17)]
    for number, row in rows:
        named = re.findall(r"`(tests/[^`]+\.py)::(test_[^`]+)`", row)
        assert named, number
        for file, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), test


def test_anchors_of_the_reference_lead_somewhere() -> None:
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^# (.+)$", REFERENCE, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", REFERENCE)) <= titles
