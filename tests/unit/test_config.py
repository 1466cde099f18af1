"""What a valid configuration becomes."""

from __future__ import annotations

import hashlib
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import trustme
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import config, starterfile
from gateway.addresses import ListenAddress
from gateway.config import ConfigErrors, load
from gateway.configmodel import ConfigFile, json_schema
from gateway.control import Tls
from gateway.settings import (
    BenchmarkSettings,
    LiveSettings,
    MeasuringSettings,
    RecordingSettings,
    RedactionRule,
    Upstream,
)
from gateway.yamltree import plain_value
from shadow.records import Dialect, EvaluatorSpec, Price, Task, TaskMatch

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_empty_file_is_a_valid_one_and_shadowing_is_off_with_the_reason(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, ""), {}, deployment_id="d")

    assert (str(loaded.listen), str(loaded.admin_listen)) == ("127.0.0.1:8080", "127.0.0.1:8081")
    assert (loaded.workers, loaded.tls) == (1, None)
    store = f"sqlite:///{tmp_path}/shadow.db"
    recording = RecordingSettings(store=store, sample_rate=0.05)
    assert loaded.live == LiveSettings(
        deployment_id="d", upstream=Upstream(base_url="https://ezaiapi.com"), recording=recording
    )
    assert loaded.measuring == MeasuringSettings(
        store=store,
        deployment_id="d",
        shadow_off_reason="no candidates; list them under shadow.candidates",
        sample_rate=0.05,
        noise_floor_rate=0.2,
        noise_floor_off_reason="there is no upstream.api_key to ask the primary again with",
        config_dir=str(tmp_path),
        config_file=str(tmp_path / "config.yaml"),
        config_version=hashlib.sha256(b"").hexdigest()[:12],
        redact=tuple(RedactionRule(name=name) for name in ("email", "phone", "card", "key")),
    )


def test_alerts_become_targets_an_empty_one_is_off_and_their_addresses_are_secrets(tmp_path: Path) -> None:
    text = """
benchmark: {schedule: null, sample: 5}
alerts:
  - slack: ${SLACK_WEBHOOK_URL:-}
  - {slack: "https://hooks.slack.com/services/T0/B0/k3y"}
  - {webhook: "https://hooks.example/in?token=t0ken-of-the-hook", secret: s3cret-of-the-hook, kinds: [drift]}
"""
    loaded = load(written(tmp_path, text), {})
    measuring = loaded.measuring
    assert measuring.benchmark == BenchmarkSettings(schedule=None, sample=5)
    assert [(target.kind, target.kinds) for target in measuring.alerts] == [("slack", None), ("webhook", ("drift",))]
    assert measuring.alerts_off == ("alerts[0].slack is empty: nothing is sent there",)
    assert {"services/T0/B0/k3y", "in?token=t0ken-of-the-hook", "s3cret-of-the-hook"} <= set(measuring.secrets)
    assert loaded.effective["alerts"][1]["slack"] == "***"
    assert [secret for secret in ("k3y", "t0ken", "s3cret") if secret in json.dumps(loaded.effective)] == []
    assert "k3y" not in repr(measuring.alerts)


def test_the_shipped_file_holds_the_defaults_and_loads_with_a_key_and_without() -> None:
    file = ROOT / "config.yaml"
    without = load(file, {})
    assert without.shadow_off_reason == (
        "no API key for any candidate; set EZAI_API_KEY (upstream.api_key), or give the candidates an api_key"
    )
    assert load(file, {"EZAI_API_KEY": "sk-1"}).shadow_off_reason is None
    defaults = ConfigFile().model_dump(mode="json")
    shipped = dict(without.effective)
    assert [entry["model"] for entry in shipped["shadow"].pop("candidates")] == ["gpt-4o", "gemini-2.5-pro"]
    assert defaults["shadow"].pop("candidates") == []
    assert shipped == {**defaults, "evaluators": "auto"}


def test_the_shipped_file_and_schema_are_what_init_writes() -> None:
    assert (ROOT / "config.yaml").read_text("utf-8") == starterfile.config_text()
    assert (ROOT / "config.schema.json").read_text("utf-8") == starterfile.schema_text()


def test_the_schema_accepts_the_shipped_file_and_variables_and_refuses_unknown_keys() -> None:
    validator = jsonschema_rs.validator_for(json_schema())
    assert validator.is_valid(yaml.safe_load((ROOT / "config.yaml").read_text("utf-8")))
    assert validator.is_valid({"workers": "${N:-2}", "shadow": {"sample_rate": "${R}", "redact": ["email"]}})
    assert validator.is_valid({"evaluators": [{"type": "regex", "pattern": "a", "quality": True}]})
    assert not validator.is_valid({"evaluaters": "auto"})
    assert not validator.is_valid({"shadow": {"sample_rate": 5}})
    assert not validator.is_valid({"workers": "two"})


def test_a_starter_file_holds_the_chosen_candidates_however_they_are_spelt(tmp_path: Path) -> None:
    names = ["gpt-4o", "on", "1e3", "meta/llama-3.1", "a: b", "- x"]
    loaded = load(written(tmp_path, starterfile.config_text(names)), {"EZAI_API_KEY": "k"})
    assert [candidate.model for candidate in loaded.measuring.candidates] == names
    assert load(written(tmp_path, starterfile.config_text([])), {}).measuring.candidates == ()


def test_the_environment_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(
        None,
        {
            "EZAI_API_KEY": "sk-1",
            "SHADOW_CANDIDATES": "gpt-4o, gemini-2.5-pro,",
            "SHADOW_LISTEN": "[::]:9000",
            "SHADOW_ADMIN_LISTEN": "0.0.0.0:9001",
            "SHADOW_ADMIN_TOKEN": "tok",
            "SHADOW_STORE": "sqlite:///my db.sqlite",
            "HTTPS_PROXY": "http://user:pass%20word@proxy:3128",
            "NO_PROXY": "localhost, .internal",
        },
    )
    assert str(loaded.listen) == "[::]:9000"
    assert [candidate.model for candidate in loaded.measuring.candidates] == ["gpt-4o", "gemini-2.5-pro"]
    assert {candidate.api_key for candidate in loaded.measuring.candidates} == {"sk-1"}
    assert loaded.measuring.admin_token == "tok"
    assert loaded.measuring.admin_hosts == (socket.gethostname().lower(),)
    assert loaded.store_path == tmp_path / "my db.sqlite"
    assert loaded.measuring.store == f"sqlite:///{tmp_path}/my%20db.sqlite"
    assert (loaded.live.proxy, loaded.live.no_proxy) == (
        "http://user:pass%20word@proxy:3128",
        ("localhost", ".internal"),
    )
    assert loaded.shadow_off_reason is None


def test_without_a_key_or_candidate_live_traffic_flows_and_the_reason_names_the_variable(tmp_path: Path) -> None:
    assert load(None, {}).shadow_off_reason == "no candidates; set SHADOW_CANDIDATES=model,model"
    assert load(None, {"SHADOW_CANDIDATES": "a"}).shadow_off_reason == (
        "no API key for any candidate; set EZAI_API_KEY (upstream.api_key), or give the candidates an api_key"
    )
    off = written(tmp_path, "shadow: {enabled: false, candidates: [{model: a}]}")
    assert load(off, {"EZAI_API_KEY": "k"}).shadow_off_reason == "shadow.enabled is false"


def test_a_key_goes_only_to_the_origin_it_was_configured_for(tmp_path: Path) -> None:
    loaded = load(
        written(
            tmp_path,
            """
            upstream:
              base_url: https://one.example:443/prefix/
              api_key: key-one
              api_key_header: bearer
              routes:
                /same: {base_url: https://one.example/v2}
                /other: {base_url: https://two.example}
                /own: {base_url: https://two.example, api_key: key-two, api_key_header: both}
            shadow:
              candidates:
                - {model: same}
                - {model: same-written, base_url: "https://ONE.example/x"}
                - {model: other, base_url: https://two.example}
                - {model: own, base_url: https://two.example, api_key: key-three, api_key_header: x-api-key,
                   sample_rate: 0.5, dialects: [openai-chat], drop_params: [seed]}
                - {model: port, base_url: https://one.example:8443}
            """,
        ),
        {"EZAI_API_KEY": "not-taken"},
    )
    assert loaded.live.upstream == Upstream(
        base_url="https://one.example:443/prefix", api_key="key-one", api_key_header="bearer"
    )
    assert {prefix: route.api_key for prefix, route in loaded.live.routes.items()} == {
        "/same": "key-one",
        "/other": None,
        "/own": "key-two",
    }
    same, same_written, other, own, port = loaded.measuring.candidates
    assert (same.base_url, same.api_key, same.same_origin) == ("https://one.example:443/prefix", "key-one", True)
    assert (same_written.api_key, same_written.same_origin) == ("key-one", True)
    assert (other.api_key, other.same_origin, other.api_key_header) == (None, False, "bearer")
    assert (own.api_key, own.api_key_header, own.sample_rate) == ("key-three", "x-api-key", 0.5)
    assert (own.dialects, own.drop_params) == ((Dialect.OPENAI_CHAT,), ("seed",))
    assert (port.api_key, port.same_origin) == (None, False)
    assert [each.own_base_url for each in (same, same_written, other)] == [False, True, True]


def test_live_processes_learn_no_candidate_key_and_no_admin_token(tmp_path: Path) -> None:
    loaded = load(
        written(
            tmp_path,
            "clients: [client-key]\nadmin: {token: admin-token}\n"
            "upstream: {auth: gateway, api_key: up-key, proxy: 'http://u:proxy-pass@p:1'}\n"
            "shadow: {candidates: [{model: a, base_url: 'https://b.example', api_key: candidate-key}]}\n",
        ),
        {},
    )
    assert "candidate-key" not in repr(loaded.live)
    assert "admin-token" not in repr(loaded.live)
    assert loaded.live.recording.secrets == ("client-key", "proxy-pass", "up-key")
    assert loaded.measuring.secrets == ("candidate-key", "admin-token", "client-key", "proxy-pass", "up-key")
    shown = json.dumps(loaded.effective)
    assert not any(secret in shown for secret in loaded.measuring.secrets)
    assert loaded.effective["clients"] == ["***"]


def test_ezais_key_is_not_taken_unasked_for_another_origin(tmp_path: Path) -> None:
    text = "upstream: {base_url: 'https://other.example'}\nshadow: {candidates: [{model: a}]}\n"
    loaded = load(written(tmp_path, text), {"EZAI_API_KEY": "k"})
    assert loaded.live.upstream.api_key is None
    assert loaded.shadow_off_reason == (
        "no API key for any candidate; write upstream.api_key for https://other.example, or give the candidates an "
        "api_key (EZAI_API_KEY goes to EzAI only, unless the file says so)"
    )
    here = load(written(tmp_path, "upstream: {base_url: 'http://127.0.0.1:9'}"), {"EZAI_API_KEY": "k"})
    assert here.live.upstream.api_key == "k"


def test_a_null_section_list_or_option_is_its_default(tmp_path: Path) -> None:
    text = (
        "tls: null\nadmin:\nclients:\nshadow:\n  candidates:\n  conversation:\ntasks: ~\nevaluators: null\nprices:\n"
        "upstream: {api_key: null, proxy: '', ca_file: ''}\nprimary: {model: null}\n"
    )
    found, empty = (load(written(tmp_path, each), {}, deployment_id="d") for each in (text, ""))
    same = replace(empty.measuring, config_version=found.measuring.config_version)
    assert found == replace(empty, measuring=same)
    assert empty.measuring.config_version != found.measuring.config_version


def test_variables_are_replaced_after_parsing_and_become_what_the_key_wants(tmp_path: Path) -> None:
    text = (
        "workers: ${N}\nshadow: {sample_rate: '${RATE:-0.25}', enabled: '${ON}', max_concurrency: '${EMPTY:-3}', "
        "seed: 'a$${b}${N}', candidates: [{model: '${YAML}'}]}\nupstream: {api_key: '${DIGITS}'}\n"
    )
    environ = {"N": "3", "ON": "true", "EMPTY": "", "YAML": "x}, workers: 9", "DIGITS": "0123"}
    loaded = load(written(tmp_path, text), environ)
    assert loaded.workers == 3
    assert loaded.measuring.sample_rate == 0.25
    assert loaded.measuring.max_concurrency == 3
    assert loaded.live.recording.seed == "a${b}3"
    assert loaded.measuring.candidates[0].model == "x}, workers: 9"
    assert loaded.live.upstream.api_key == "0123"


def test_every_key_arrives_where_it_is_used(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    loaded = load(
        written(
            tmp_path,
            """
            listen: unix:/tmp/live.sock
            tls: {cert: both.pem, key: both.pem}
            workers: 2
            drain_timeout_s: 3
            admin: {listen: "192.0.2.1:81", token: t, hosts: [gateway]}
            upstream:
              ca_file: ca.pem
              connect_timeout_s: 1
              first_byte_timeout_s: 2
              idle_timeout_s: 3
              write_stall_timeout_s: 4
              keep_alive_s: 5
              max_connections: 6
            primary: {model: m}
            shadow:
              sample_rate: 1
              seed: s
              conversation: {key: header, idle_s: 7, max_turns: 8, max_age_s: 9}
              budget_usd_per_day: 10
              max_concurrency: 11
              queue_size: 12
              max_body_bytes: 13
              tee_memory_mb: 14
              max_job_age_s: 15
              allow_opt_in: true
              content: full
              redact: [email, {name: iban, pattern: "DE[0-9]+"}]
              retention_days: 16
            tasks:
              - name: support
                match: {header: {X-App: support}, path: /v1, model: m, system_contains: help}
                evaluators: [{type: is-json, name: json}]
              - {name: other, match: {path: /v2}}
            evaluators:
              - {type: regex, pattern: a, quality: true}
              - {type: equals}
            prices: {m: {input: 1, output: 2, cache_read: 0.5}}
            store: sqlite:////data/x.db
            """,
        ),
        {},
    )
    live, measuring, recording = loaded.live, loaded.measuring, loaded.live.recording
    assert loaded.listen == ListenAddress(path="/tmp/live.sock")
    assert loaded.tls == Tls(cert=f"{tmp_path}/both.pem", key=f"{tmp_path}/both.pem")
    assert (loaded.workers, live.drain_timeout_s, live.primary_model) == (2, 3, "m")
    assert measuring.admin_hosts == ("gateway", "192.0.2.1")
    assert live.ca_file == measuring.ca_file == f"{tmp_path}/ca.pem"
    assert (live.connect_timeout_s, live.first_byte_timeout_s, live.idle_timeout_s) == (1, 2, 3)
    assert (live.write_stall_timeout_s, live.keep_alive_s, live.max_connections) == (4, 5, 6)
    assert (recording.sample_rate, recording.seed, recording.conversation_key) == (1, "s", "header")
    assert (recording.max_body_bytes, recording.tee_memory_bytes, recording.max_job_age_s) == (13, 14 << 20, 15)
    assert recording.allow_opt_in
    assert (measuring.conversation_idle_s, measuring.conversation_max_turns) == (7, 8)
    assert (measuring.conversation_max_age_s, measuring.budget_usd_per_day) == (9, 10)
    assert (measuring.max_concurrency, measuring.queue_size, measuring.content) == (11, 12, "full")
    assert measuring.redact == (RedactionRule(name="email"), RedactionRule(name="iban", pattern="DE[0-9]+"))
    assert measuring.retention_days == 16
    tasks = (
        Task(
            name="support",
            match=TaskMatch(header={"x-app": "support"}, path="/v1", model="m", system_contains="help"),
            evaluators=(EvaluatorSpec(type="is-json", name="json", quality=True),),
        ),
        Task(name="other", match=TaskMatch(path="/v2")),
    )
    assert measuring.tasks == tasks
    assert recording.tasks == tuple(replace(task, evaluators=None) for task in tasks)
    assert measuring.evaluators == (
        EvaluatorSpec(type="regex", options={"pattern": "a"}, quality=True),
        EvaluatorSpec(type="equals"),
    )
    assert measuring.prices == {"m": Price(input=1, output=2, cache_read=0.5)}
    assert recording.store == measuring.store == "sqlite:////data/x.db"


def test_a_python_evaluator_is_loaded_only_when_asked_to(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('loaded')", encoding="utf-8")
    file = written(tmp_path, "evaluators: [{type: python, target: 'mine:score'}]")
    assert load(file, {}).measuring.evaluators == (
        EvaluatorSpec(type="python", options={"target": "mine:score"}, quality=True),
    )
    with pytest.raises(ConfigErrors, match="RuntimeError: loaded"):
        load(file, {}, load_python=True)


def test_the_keys_that_need_a_restart_are_told() -> None:
    one = load(None, {}, deployment_id="d")
    other = load(
        None,
        {"SHADOW_LISTEN": "127.0.0.1:1", "SHADOW_ADMIN_LISTEN": "127.0.0.1:2", "SHADOW_STORE": "sqlite:///b.db"},
        deployment_id="d",
    )
    assert one.needs_restart(one) == ()
    assert one.needs_restart(other) == ("listen", "admin.listen", "store")
    assert one.needs_restart(replace(one, workers=2, tls=Tls(cert="c", key="k"))) == ("tls", "workers")


def test_the_deployment_id_is_drawn_once_and_kept_over_a_reload() -> None:
    drawn = load(None, {}).live.deployment_id
    assert len(drawn) == 16
    assert load(None, {}).live.deployment_id != drawn
    again = load(None, {}, deployment_id=drawn)
    assert (again.live.deployment_id, again.measuring.deployment_id) == (drawn, drawn)


def test_config_yaml_here_is_found_unless_variables_describe_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.find_file(None, {}) == (None, ())
    written(tmp_path, "")
    assert config.find_file(None, {"EZAI_API_KEY": "k"}) == ("config.yaml", ())
    assert config.find_file(None, {"SHADOW_STORE": "x"}) == (
        None,
        ("config.yaml is not read because SHADOW_STORE is set; to read it, pass -c config.yaml",),
    )
    assert config.find_file("other.yaml", {"SHADOW_LISTEN": "x"}) == (
        "other.yaml",
        ("SHADOW_LISTEN is set but not read, because other.yaml describes the start",),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("off", "off"),
        ("012", 12),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("9" * 30, 1e30),
        (".inf", float("inf")),
    ],
)
def test_an_unquoted_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)


@pytest.mark.parametrize(
    ("listen", "url", "meets"),
    [
        ("127.0.0.1:80", "http://localhost", True),
        ("127.0.0.1:80", "http://[::1]/v1", True),
        ("127.0.0.1:443", "https://0.0.0.0", True),
        ("localhost:80", "http://app.localhost:80", True),
        ("127.0.0.1:80", "http://localhost:81", False),
        ("127.0.0.1:80", "http://example.com", False),
        ("0.0.0.0:80", "http://127.0.0.1", True),
        ("[::]:80", f"http://{socket.gethostname()}", True),
        ("0.0.0.0:80", "http://192.0.2.1", False),
        ("0.0.0.0:80", "http://[2001:db8::1]", False),
        ("0.0.0.0:80", "http://example.com", False),
        ("example.com:80", "http://EXAMPLE.com", True),
        ("unix:/tmp/a", "http://localhost", False),
        ("127.0.0.1:0", "http://127.0.0.1", False),
    ],
)
def test_an_address_knows_which_urls_lead_to_it(listen: str, url: str, meets: bool) -> None:  # noqa: FBT001  (the expected value)
    assert ListenAddress.parse(listen).answers(url) is meets


KEYS = st.sampled_from(
    [
        *ConfigFile.model_fields,
        "verdict",
        "base_url",
        "api_key",
        "model",
        "type",
        "quality",
        "match",
        "key",
        "input",
        "x",
    ]
)
SCALARS = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        5,
        0.5,
        "",
        "auto",
        "${A}",
        "${A:-1}",
        "${",
        "127.0.0.1:80",
        "https://a.example",
        "unix:/x",
        "é",
    ]
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


def faults_of(file: Path) -> tuple[str, ...]:
    try:
        load(file, {"A": "2"})
    except ConfigErrors as refused:
        return refused.lines
    return ()


@given(tree=st.dictionaries(KEYS, TREES, max_size=6))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_loads_or_is_refused_in_lines(tmp_path: Path, tree: dict[str, Any]) -> None:
    file = written(tmp_path, yaml.safe_dump(tree, allow_unicode=True))
    assert all(line.startswith(f"{file}:") and line.isprintable() for line in faults_of(file))


@given(text=st.text(max_size=60))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_text_a_file_holds_it_loads_or_is_refused_in_lines(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert all(line.startswith(f"{file}:") for line in faults_of(file))


def test_what_is_shown_of_a_configuration_hides_secrets_where_names_are_the_users_too(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "tasks: [{name: t, match: {header: {Authorization: Bearer canary-1, x-api-key: canary-2, cookie: s=canary-3,"
        " x-hook: 'https://user:canary-4@hooks.example/T0/canary-5', x-app: support}},"
        " evaluators: [{type: python, target: 'm:a', api_key: canary-6, options: {password: canary-7},"
        " hook: 'https://hooks.example/canary-8'}]}]\n"
        "upstream: {proxy: 'http://u:canary-9@p:1', api_key: canary-10,"
        " routes: {/r: {base_url: 'http://h', api_key: canary-11}}}\n"
        "admin: {token: canary-12}\nshadow: {candidates: [{model: m, api_key: canary-13}]}\n",
        encoding="utf-8",
    )
    shown = load(file, {}).effective
    assert "canary" not in repr(shown)
    (task,) = shown["tasks"]
    assert task["match"]["header"]["x-app"] == "support"
    assert task["match"]["header"]["x-hook"] == "https://hooks.example/***"
    assert task["evaluators"][0]["target"] == "m:a"
    assert shown["shadow"]["conversation"]["key"] == "auto"
