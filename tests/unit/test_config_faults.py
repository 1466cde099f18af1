"""Broken configurations: each is refused with these lines, exit code 2, and nothing bound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import ConfigErrors, load

if TYPE_CHECKING:
    from collections.abc import Mapping

BROKEN: Mapping[str, tuple[str, list[str]]] = {
    # --- the file itself ---
    "not YAML": (
        "listen: [1, 2\nworkers: 1\n",
        ["c.yaml:2:8: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got ':'"],
    ),
    "a variable without quotes between braces": (
        "upstream: {api_key: ${KEY}}\n",
        [
            (
                "c.yaml:1:22: not valid YAML: while parsing a flow mapping, expected ',' or '}', but got '{'; "
                'between braces or brackets a variable needs quotes: "${NAME}"'
            )
        ],
    ),
    "a tab for indentation": (
        "admin:\n\tlisten: 127.0.0.1:1\n",
        [
            (
                "c.yaml:2:1: not valid YAML: while scanning for the next token, "
                "found character '\\t' that cannot start any token"
            )
        ],
    ),
    "a control character": ("listen: a\x07b\n", ["c.yaml:1:10: not valid YAML: special characters are not allowed"]),
    "two documents": (
        "workers: 1\n---\nworkers: 2\n",
        ["c.yaml:2:1: not valid YAML: expected a single document in the stream, but found another document"],
    ),
    "a control character after a bare CR": (
        "workers: 1\rx: \x07\n",
        ["c.yaml:2:4: not valid YAML: special characters are not allowed"],
    ),
    "a list at the top": ("- listen: 1\n", ["c.yaml:1:1: must hold keys and values, such as 'listen: …'"]),
    "nothing but a word": ("'listen: '\n", ["c.yaml:1:1: must hold keys and values, such as 'listen: …'"]),
    "a tag": (
        "workers: !!int 1\n",
        ["c.yaml:1:10: workers: YAML tags such as tag:yaml.org,2002:int are not supported"],
    ),
    "an alias within itself": (
        "shadow: &a\n  candidates: [*a]\n",
        ["c.yaml:1:9: shadow.candidates[0]: an alias may not contain itself"],
    ),
    "a mapping as key": ("{a: 1}: 2\n", ["c.yaml:1:1: a key must be text"]),
    "nested too deeply": ("listen: " + "[" * 5000, ["c.yaml: not valid YAML: nested too deeply"]),
    "nested deeply through aliases": (
        "x0: &a0 [1]\n" + "".join(f"x{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100)),
        ["c.yaml:1:10: not valid YAML: nested too deeply, in more than 64 levels"],
    ),
    "aliases that stand for a thousand million values": (
        "x0: &a0 [1, 1]\n" + "".join(f"x{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)),
        ["c.yaml:1:10: holds more than 100000 values (an alias counts at each use)"],
    ),
    "a character beyond Unicode": ('listen: "\\UFFFFFFFF"', ["c.yaml:1:12: not valid YAML: a number out of range"]),
    "a version of 5,000 digits": (
        f"%YAML 1.{'9' * 5000}\n---\n",
        ["c.yaml:1:9: not valid YAML: a number out of range"],
    ),
    "half a character": ('listen: "\\ud800:1"', ["c.yaml:1:9: listen: must be text in UTF-8, without NUL"]),
    "half a character in a key": ('"\\ud800": 1\n', ["c.yaml:1:1: a key must be text in UTF-8, without NUL"]),
    "NUL in a file's name": (
        'upstream: {ca_file: "a\\0b"}\n',
        ["c.yaml:1:21: upstream.ca_file: must be text in UTF-8, without NUL"],
    ),
    # --- keys ---
    "an unknown key": ("colour: red\n", ["c.yaml:1:1: colour: unknown key"]),
    "a misspelt key": ("evaluaters: auto\n", ["c.yaml:1:1: evaluaters: unknown key; did you mean 'evaluators'?"]),
    "a misspelt key deep inside": (
        "shadow:\n  candidates:\n    - modle: gpt-4o\n",
        ["c.yaml:3:7: shadow.candidates[0].modle: unknown key; did you mean 'model'?"],
    ),
    "a duplicate key": (
        "workers: 1\nlisten: 127.0.0.1:0\nworkers: 2\n",
        ["c.yaml:3:1: workers: duplicate key, it stands in line 1 already"],
    ),
    "a duplicate key deep inside": (
        "shadow:\n  conversation: {key: auto, idle_s: 1, key: header}\n",
        ["c.yaml:2:40: shadow.conversation.key: duplicate key, it stands in line 2 already"],
    ),
    "a missing key": (
        "shadow: {candidates: [{base_url: 'https://a.example'}]}\n",
        ["c.yaml:1:23: shadow.candidates[0]: needs the key 'model'"],
    ),
    # --- types ---
    "text for a number": ("workers: many\n", ["c.yaml:1:10: workers: must be a whole number, not 'many'"]),
    "a quoted number": ('workers: "2"\n', ["c.yaml:1:10: workers: must be a whole number, not '2'"]),
    "a fraction of a process": ("workers: 1.5\n", ["c.yaml:1:10: workers: must be a whole number, not 1.5"]),
    "true for a number": ("workers: true\n", ["c.yaml:1:10: workers: must be a whole number, not true"]),
    "no for a switch": ("shadow: {enabled: no}\n", ["c.yaml:1:19: shadow.enabled: must be true or false, not 'no'"]),
    "a number for text": ("listen: 8080\n", ["c.yaml:1:9: listen: must be text, not 8080"]),
    "null for a number": ("workers: null\n", ["c.yaml:1:10: workers: must be a whole number, not null"]),
    "a section that is a list": ("admin: []\n", ["c.yaml:1:8: admin: must hold keys and values, not a list"]),
    "a candidate's name alone": (
        "shadow: {candidates: [gpt-4o]}\n",
        ["c.yaml:1:23: shadow.candidates[0]: must hold keys and values, such as {model: gpt-4o}, not 'gpt-4o'"],
    ),
    "an evaluator's name alone": (
        "evaluators: [is-json]\n",
        ["c.yaml:1:14: evaluators[0]: must hold keys and values, such as {type: is-json}, not 'is-json'"],
    ),
    "one price for both": (
        "prices: {a: 3}\n",
        ["c.yaml:1:13: prices.a: must hold keys and values, such as {input: 1.25, output: 10}, not 3"],
    ),
    "a route's address alone": (
        "upstream: {routes: {/a: 'https://z'}}\n",
        [
            "c.yaml:1:25: upstream.routes./a: must hold keys and values, such as {base_url: 'https://b.c'}, not 'https://z'"
        ],
    ),
    "a list that is a mapping": ("clients: {a: b}\n", ["c.yaml:1:10: clients: must be a list"]),
    "not a number": (
        "shadow: {sample_rate: .nan}\n",
        ["c.yaml:1:23: shadow.sample_rate: must be a finite number, not nan"],
    ),
    "an infinite budget": (
        "shadow: {budget_usd_per_day: .inf}\n",
        ["c.yaml:1:30: shadow.budget_usd_per_day: must be a finite number, not inf"],
    ),
    # --- ranges ---
    "a rate over one": (
        "shadow:\n  sample_rate: 5\n",
        ["c.yaml:2:16: shadow.sample_rate: must lie between 0 and 1, not 5"],
    ),
    "a rate of 101 %": (
        "shadow:\n  candidates:\n  - {model: a, sample_rate: 1.01}\n",
        ["c.yaml:3:29: shadow.candidates[0].sample_rate: must lie between 0 and 1, not 1.01"],
    ),
    "no process at all": ("workers: 0\n", ["c.yaml:1:10: workers: must be at least 1, not 0"]),
    "a timeout of zero": (
        "upstream: {idle_timeout_s: 0}\n",
        ["c.yaml:1:28: upstream.idle_timeout_s: must be greater than 0, not 0"],
    ),
    "a negative price": (
        "prices: {gpt-4o: {input: -1, output: 1}}\n",
        ["c.yaml:1:26: prices.gpt-4o.input: must be at least 0, not -1"],
    ),
    "a price without output": (
        "prices: {gpt-4o: {input: 1}}\n",
        ["c.yaml:1:18: prices.gpt-4o: needs the key 'output'"],
    ),
    "a choice that is none": (
        "upstream: {auth: pasthrough}\n",
        [
            (
                "c.yaml:1:18: upstream.auth: must be 'passthrough' or 'gateway', not 'pasthrough'; "
                "did you mean 'passthrough'?"
            )
        ],
    ),
    "a dialect nobody speaks": (
        "shadow: {candidates: [{model: a, dialects: [gemini]}]}\n",
        [
            (
                "c.yaml:1:45: shadow.candidates[0].dialects[0]: "
                "must be 'anthropic-messages', 'openai-chat' or 'openai-responses', not 'gemini'"
            )
        ],
    ),
    # --- variables ---
    "a missing variable": (
        "upstream:\n  api_key: ${NOT_THERE}\n",
        [
            (
                "c.yaml:2:12: upstream.api_key: the variable NOT_THERE is not set; "
                "set it, or give a default: ${NOT_THERE:-default}"
            )
        ],
    ),
    "an unclosed variable": (
        "upstream:\n  api_key: ${EZAI\n",
        ["c.yaml:2:12: upstream.api_key: '${' needs a variable's name and '}'; write '$${' for a literal '${'"],
    ),
    "a variable of the wrong type": (
        "workers: ${WORD}\n",
        ["c.yaml:1:10: workers: must be a whole number"],
    ),
    "a rate from a variable out of range": (
        "shadow: {sample_rate: '${SEVEN}'}\n",
        ["c.yaml:1:23: shadow.sample_rate: must lie between 0 and 1"],
    ),
    # --- addresses ---
    "a listen without port": (
        "listen: localhost\n",
        [
            (
                'c.yaml:1:9: listen: must be host:port such as 127.0.0.1:8080, "[::]:8080" or unix:/path, '
                "not 'localhost'"
            )
        ],
    ),
    "a port too high": (
        "listen: 127.0.0.1:70000\n",
        ["c.yaml:1:9: listen: the port must be a number from 0 to 65535, not '70000'"],
    ),
    "an IPv6 address without brackets": (
        "listen: '::1:8080'\n",
        ['c.yaml:1:9: listen: an IPv6 address needs brackets and quotes, such as "[::]:8080"'],
    ),
    "a relative unix path": (
        "listen: unix:shadow.sock\n",
        ["c.yaml:1:9: listen: a unix socket needs an absolute path, such as unix:/run/shadow-gateway.sock"],
    ),
    "a base_url without scheme": (
        "upstream: {base_url: ezaiapi.com}\n",
        ["c.yaml:1:22: upstream.base_url: must start with https:// or http://, not 'ezaiapi.com'"],
    ),
    "a base_url with a password": (
        "upstream: {base_url: 'https://me:secret@ezaiapi.com'}\n",
        ["c.yaml:1:22: upstream.base_url: must not hold a user or password; put the key into api_key"],
    ),
    "a base_url with a query": (
        "upstream: {base_url: 'https://ezaiapi.com/?a=1'}\n",
        ["c.yaml:1:22: upstream.base_url: must not hold a query or fragment"],
    ),
    "a base_url with dot segments": (
        "upstream: {base_url: 'https://ezaiapi.com/a/../b'}\n",
        [("c.yaml:1:22: upstream.base_url: the path may not hold empty, '.' or '..' segments, spaces or backslashes")],
    ),
    "a route that is no prefix": (
        "upstream: {routes: {v1: {base_url: 'https://a.example'}}}\n",
        [
            (
                "c.yaml:1:21: upstream.routes.v1: "
                "a route is a path prefix: it starts with '/' and holds no '.', '..' or '?'"
            )
        ],
    ),
    "a proxy that is none": (
        "upstream: {proxy: 'socks5://127.0.0.1:1'}\n",
        ["c.yaml:1:19: upstream.proxy: must be an http:// proxy (it is asked to CONNECT)"],
    ),
    "one address for both": (
        "listen: 127.0.0.1:9000\nadmin: {listen: '127.0.0.1:9000'}\n",
        ["c.yaml:2:17: admin.listen: must differ from listen (127.0.0.1:9000)"],
    ),
    "an open admin port": (
        "admin:\n  listen: 0.0.0.0:8081\n",
        [
            (
                "c.yaml:2:11: admin.listen: 0.0.0.0:8081 can be reached from other machines, "
                "so admin.token is required (or listen on 127.0.0.1)"
            )
        ],
    ),
    "an open admin port with an empty token": (
        "admin:\n  listen: '[::]:8081'\n  token: ''\n",
        [
            (
                "c.yaml:2:11: admin.listen: [::]:8081 can be reached from other machines, "
                "so admin.token is required (or listen on 127.0.0.1)"
            )
        ],
    ),
    # --- keys that belong together ---
    "clients without gateway auth": (
        "clients: [a-key]\n",
        ["c.yaml:1:10: clients: clients are checked only with upstream.auth: gateway; set that, or remove clients"],
    ),
    "gateway auth without clients and key": (
        "upstream:\n  auth: gateway\n",
        [
            (
                "c.yaml:2:9: upstream.auth: gateway needs clients, the keys apps must present; "
                "else anyone could spend upstream.api_key"
            ),
            "c.yaml:2:9: upstream.auth: gateway needs upstream.api_key, the key that replaces the app's",
        ],
    ),
    "an empty client key": (
        "upstream: {auth: gateway, api_key: k}\nclients: ['']\n",
        ["c.yaml:2:11: clients[0]: must not be empty"],
    ),
    "a route without key at another origin": (
        "clients: [a]\nupstream:\n  auth: gateway\n  api_key: k\n  routes: {/x: {base_url: 'https://a.example'}}\n",
        [
            (
                "c.yaml:5:16: upstream.routes./x: needs an api_key of its own: "
                "a key goes only to the origin it was configured for"
            )
        ],
    ),
    "a widening without gateway auth": (
        "upstream: {allow_paths: [/v1/files]}\n",
        [
            (
                "c.yaml:1:25: upstream.allow_paths: allow_paths widens upstream.auth: gateway; "
                "with passthrough every path passes, remove it"
            )
        ],
    ),
    "a key with a space": (
        "upstream: {api_key: 'sk a'}\n",
        ["c.yaml:1:21: upstream.api_key: must be printable ASCII without spaces, it travels in a header"],
    ),
    "a candidate that is the gateway": (
        "listen: 127.0.0.1:9000\nshadow:\n  candidates:\n  - {model: a, base_url: 'http://localhost:9000'}\n",
        [
            (
                "c.yaml:4:26: shadow.candidates[0].base_url: http://localhost:9000 is this gateway itself "
                "(listen: 127.0.0.1:9000); requests would go in a circle"
            )
        ],
    ),
    "an upstream that is the admin port": (
        "upstream: {base_url: 'http://127.0.0.1:8081'}\n",
        [
            (
                "c.yaml:1:22: upstream.base_url: http://127.0.0.1:8081 is this gateway itself "
                "(admin.listen: 127.0.0.1:8081); requests would go in a circle"
            )
        ],
    ),
    "an upstream that is the gateway on every address": (
        "listen: 0.0.0.0:9000\nupstream: {base_url: 'http://127.0.0.9:9000/v1'}\n",
        [
            (
                "c.yaml:2:22: upstream.base_url: http://127.0.0.9:9000/v1 is this gateway itself "
                "(listen: 0.0.0.0:9000); requests would go in a circle"
            )
        ],
    ),
    "a candidate listed twice": (
        "shadow:\n  candidates: [{model: a}, {model: b}, {model: a}]\n",
        [
            (
                "c.yaml:2:48: shadow.candidates[2].model: "
                "'a' is shadow.candidates[0] already; each candidate is listed once"
            )
        ],
    ),
    # --- evaluators and tasks ---
    "an unknown evaluator": (
        "evaluators: [{type: is-jsno}]\n",
        ["c.yaml:1:21: evaluators[0].type: 'is-jsno' is no evaluator; did you mean 'is-json'?"],
    ),
    "no evaluator": (
        "evaluators: []\n",
        ["c.yaml:1:13: evaluators: must not be empty; write 'auto', or name an evaluator"],
    ),
    "nobody decides": (
        "evaluators: [{type: is-json}, {type: equals}]\n",
        ["c.yaml:1:13: evaluators: exactly one evaluator decides; mark it with quality: true"],
    ),
    "two decide": (
        "evaluators:\n- {type: is-json, quality: true}\n- {type: equals, quality: true}\n",
        [
            (
                "c.yaml:3:27: evaluators[1].quality: quality: true is set already at evaluators[0]; "
                "exactly one evaluator decides"
            )
        ],
    ),
    "the only one does not decide": (
        "evaluators: [{type: is-json, quality: false}]\n",
        ["c.yaml:1:13: evaluators: exactly one evaluator decides; mark it with quality: true"],
    ),
    "two evaluators of one name": (
        "evaluators: [{type: is-json, quality: true}, {type: is-json}]\n",
        ["c.yaml:1:46: evaluators[1]: an evaluator is called 'is-json' already; give this one a name of its own"],
    ),
    "an evaluator's bad pattern": (
        "evaluators: [{type: regex, pattern: '('}]\n",
        ["c.yaml:1:14: evaluators[0]: regex: pattern '(' is not RE2 syntax: missing ): ("],
    ),
    "an evaluator's option nobody knows": (
        "evaluators: [{type: icontains, vlue: x}]\n",
        ["c.yaml:1:14: evaluators[0]: icontains: unknown option `vlue`; did you mean `value`?"],
    ),
    "a schema that is none": (
        "evaluators: [{type: json-schema, schema: {type: text}}]\n",
        [
            (
                "c.yaml:1:14: evaluators[0]: json-schema: the schema cannot be used: "
                "\"text\" is not valid under any of the schemas listed in the 'anyOf' keyword"
            )
        ],
    ),
    "a task's schema that needs another document": (
        "tasks:\n- name: a\n  match: {path: /v1}\n  evaluators: [{type: json-schema, schema: {$ref: 'http://x/y'}}]\n",
        [
            (
                "c.yaml:4:16: tasks[0].evaluators[0]: json-schema: the schema cannot be used: "
                "Resource 'http://x/y' is not present in a registry and retrieving it failed: ValueError: "
                "references another document (http://x/y), which is never fetched"
            )
        ],
    ),
    "a python evaluator without target": (
        "evaluators: [{type: python, path: mine.py}]\n",
        ['c.yaml:1:14: evaluators[0]: python: needs `target: "module:attr"`'],
    ),
    "a python evaluator whose target is no attribute": (
        "evaluators: [{type: python, target: mine.py}]\n",
        ["c.yaml:1:14: evaluators[0]: python: target must be \"module:attr\", not 'mine.py'"],
    ),
    "a python evaluator that is not there": (
        "evaluators: [{type: python, target: 'nowhere_at_all:score'}]\n",
        [
            (
                "c.yaml:1:14: evaluators[0]: python: no module 'nowhere_at_all' in {folder} or on the path: "
                "No module named 'nowhere_at_all'"
            )
        ],
    ),
    "a redaction nobody knows": (
        "shadow: {redact: [email, iban]}\n",
        [
            (
                "c.yaml:1:26: shadow.redact[1]: 'iban' is no built-in name (email, phone, card, key); "
                "give it a pattern: {name: …, pattern: …}"
            )
        ],
    ),
    "a redaction of its own without pattern": (
        "shadow: {redact: [{name: iban}]}\n",
        [
            (
                "c.yaml:1:19: shadow.redact[0]: 'iban' is no built-in name (email, phone, card, key); "
                "give it a pattern: {name: …, pattern: …}"
            )
        ],
    ),
    "a redaction that would match everywhere": (
        "shadow: {redact: [{name: digits, pattern: '[0-9]*'}]}\n",
        [
            (
                "c.yaml:1:19: shadow.redact[0]: the pattern of redaction 'digits' matches the empty text; "
                "it must need a character"
            )
        ],
    ),
    "a redaction's bad pattern": (
        "shadow: {redact: [{name: iban, pattern: '[a'}]}\n",
        ["c.yaml:1:41: shadow.redact[0].pattern: not a pattern in RE2 syntax: missing ]: [a"],
    ),
    "a task that takes everything": (
        "tasks: [{name: a, match: {}}]\n",
        [
            (
                "c.yaml:1:26: tasks[0].match: must hold at least one of header, path, model, system_contains; "
                "else it would match everything"
            )
        ],
    ),
    "a task called default": (
        "tasks: [{name: default, match: {path: /v1}}]\n",
        [
            (
                "c.yaml:1:16: tasks[0].name: 'default' is the task of all that matches no other "
                "(see the top-level evaluators); choose another name"
            )
        ],
    ),
    "two tasks of one name": (
        "tasks: [{name: a, match: {path: /v1}}, {name: a, match: {path: /v2}}]\n",
        ["c.yaml:1:47: tasks[1].name: a task named 'a' exists already"],
    ),
    # --- files and store ---
    "a certificate that is not there": (
        "tls: {cert: c.pem, key: k.pem}\n",
        [
            "c.yaml:1:13: tls.cert: {folder}/c.pem cannot be read: No such file or directory",
            "c.yaml:1:25: tls.key: {folder}/k.pem cannot be read: No such file or directory",
        ],
    ),
    "a certificate that is none": (
        "tls: {cert: c.yaml, key: c.yaml}\n",
        ["c.yaml:1:6: tls: cert and key cannot be used together: no PEM data, or a key that needs a password"],
    ),
    "authorities that are none": (
        "upstream: {ca_file: c.yaml}\n",
        [
            (
                "c.yaml:1:21: upstream.ca_file: {folder}/c.yaml holds no usable PEM certificates: "
                "no certificate or crl found"
            )
        ],
    ),
    "a store of another kind": (
        "store: mysql://localhost/db\n",
        [
            (
                "c.yaml:1:8: store: must be sqlite:///file.db (from the config's folder) or "
                "sqlite:////absolute/file.db, not 'mysql://localhost/db'"
            )
        ],
    ),
    "a store in memory": (
        "store: 'sqlite:///:memory:'\n",
        ["c.yaml:1:8: store: must be a file: a memory database cannot be shared by the processes"],
    ),
    "a store without name": (
        "store: 'sqlite:///'\n",
        ["c.yaml:1:8: store: needs the name of a file, such as sqlite:///shadow.db"],
    ),
    # --- verdicts ---
    "an alpha of one half": (
        "verdict: {alpha: 0.5}\n",
        ["c.yaml:1:18: verdict.alpha: must be less than 0.5, not 0.5"],
    ),
    "a margin of nothing": (
        "verdict: {margin: 0}\n",
        ["c.yaml:1:19: verdict.margin: must be greater than 0, not 0"],
    ),
    "an end before the beginning": (
        "verdict: {min_conversations: 50, max_conversations: 49}\n",
        [
            (
                "c.yaml:1:53: verdict.max_conversations: must not be below min_conversations (50): "
                "every candidate would be given up undecided"
            )
        ],
    ),
    "a guard that decides": (
        "evaluators: [{type: is-json, guard: {margin: 0.05}}]\n",
        [
            (
                "c.yaml:1:37: evaluators[0].guard: the deciding evaluator is judged by verdict.margin; "
                "a guard is one of the others, remove this key"
            )
        ],
    ),
    "one that decides and yet does not": (
        "evaluators: [{type: is-json, quality: true}, {type: regex, pattern: a, decides: true}]\n",
        [
            (
                "c.yaml:1:81: evaluators[1].decides: is said of the deciding evaluator alone; "
                "remove this key, or mark this one with quality: true"
            )
        ],
    ),
    "a schedule that is none": (
        "benchmark: {schedule: every sunday, timezone: Mars/Base, sample: 0, budget_usd: -1}\n",
        [
            "c.yaml:1:23: benchmark.schedule: needs five fields of cron, such as '0 3 * * sun', not 'every sunday'",
            (
                "c.yaml:1:47: benchmark.timezone: 'Mars/Base' is no time zone this machine knows; "
                "take a name such as Europe/Berlin, or UTC"
            ),
            "c.yaml:1:66: benchmark.sample: must be at least 1, not 0",
            "c.yaml:1:81: benchmark.budget_usd: must be at least 0, not -1",
        ],
    ),
    "alerts that lead nowhere": (
        (
            "alerts:\n- {}\n- {slack: ftp://hooks.example/key}\n- {webhook: 'https://me:pw@h/x'}\n"
            "- {slack: 'https://h/a', webhook: 'https://h/b'}\n- {slack: 'https://h/a', secret: abc}\n"
            "- {webhook: 'https://h/b', kinds: [rain]}\n- {webhook: 'https://h/b', kinds: []}\n- https://h/c\n"
        ),
        [
            "c.yaml:3:11: alerts[1].slack: needs an address that starts with https:// or http://",
            (
                "c.yaml:4:13: alerts[2].webhook: may not hold a user or password; a receiver is known by its address "
                "and, if set, the secret"
            ),
            (
                "c.yaml:7:36: alerts[5].kinds[0]: must be 'verdict', 'lead', 'drift', 'trust', 'budget' or 'drops', "
                "not 'rain'"
            ),
            (
                "c.yaml:9:3: alerts[7]: must hold keys and values, such as {slack: 'https://hooks.slack.com/…'}, "
                "not 'https://h/c'"
            ),
        ],
    ),
    "alerts that do not fit together": (
        (
            "alerts:\n- {}\n- {slack: 'https://h/a', webhook: 'https://h/b'}\n- {slack: 'https://h/a', secret: abc}\n"
            "- {webhook: 'https://h/b', kinds: []}\n"
        ),
        [
            "c.yaml:2:3: alerts[0]: needs exactly one of slack, webhook and apprise, not none",
            "c.yaml:3:3: alerts[1]: needs exactly one of slack, webhook and apprise, not slack and webhook",
            "c.yaml:4:34: alerts[2].secret: signs a webhook; slack and apprise take none, remove it",
            "c.yaml:5:35: alerts[3].kinds: an empty list sends nothing; name kinds, or leave the key out for all",
        ],
    ),
    # --- not built yet ---
    "golden cases that are not there": (
        "golden: none.jsonl\n",
        ["c.yaml:1:9: golden: {folder}/none.jsonl cannot be read: No such file or directory"],
    ),
    "PostgreSQL": (
        "store: postgresql://me@db/shadow\n",
        [
            (
                "c.yaml:1:8: store: PostgreSQL is not built yet; use sqlite:///shadow.db "
                "(one machine, any number of processes)"
            )
        ],
    ),
    # --- several at once ---
    "all faults at once, in the file's order": (
        "listen: 1\nshadow:\n  sample_rate: 2\n  candidates: [{model: a}, {model: a}]\nadmin: {listen: '0.0.0.0:1'}\n",
        [
            "c.yaml:1:9: listen: must be text, not 1",
            "c.yaml:3:16: shadow.sample_rate: must lie between 0 and 1, not 2",
            (
                "c.yaml:4:36: shadow.candidates[1].model: "
                "'a' is shadow.candidates[0] already; each candidate is listed once"
            ),
            (
                "c.yaml:5:17: admin.listen: 0.0.0.0:1 can be reached from other machines, "
                "so admin.token is required (or listen on 127.0.0.1)"
            ),
        ],
    ),
    "unknown keys and wrong values of entries hide nothing of the others": (
        (
            "colour: blue\n"
            "tasks:\n"
            "  - {name: a, match: {path: /x}, quality: 1}\n"
            "  - {name: a, match: {path: [/y]}}\n"
            "  - {nam: b, match: {}}\n"
            "  - {name: b, match: {header: {x-app: y}}, evaluators: [{type: is-json, quality: 7, decides: true}]}\n"
            "alerts: [{slak: 'https://a.example'}, {kinds: []}]\n"
        ),
        [
            "c.yaml:1:1: colour: unknown key",
            "c.yaml:3:34: tasks[0].quality: unknown key",
            "c.yaml:4:12: tasks[1].name: a task named 'a' exists already",
            "c.yaml:4:29: tasks[1].match.path: must be text, not a list",
            "c.yaml:5:6: tasks[2].nam: unknown key; did you mean 'name'?",
            (
                "c.yaml:5:21: tasks[2].match: must hold at least one of header, path, model, system_contains; "
                "else it would match everything"
            ),
            "c.yaml:6:12: tasks[3].name: a task named 'b' exists already",
            "c.yaml:6:82: tasks[3].evaluators[0].quality: must be true or false, not 7",
            "c.yaml:7:11: alerts[0].slak: unknown key; did you mean 'slack'?",
            "c.yaml:7:39: alerts[1]: needs exactly one of slack, webhook and apprise, not none",
            "c.yaml:7:47: alerts[1].kinds: an empty list sends nothing; name kinds, or leave the key out for all",
        ],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_lines_and_exit_code_2_and_nothing_is_bound(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, lines = BROKEN[name]
    monkeypatch.chdir(tmp_path)
    live_socket = tmp_path / "live.sock"
    Path("c.yaml").write_text(text if "listen:" in text else f"{text}listen: unix:{live_socket}\n", encoding="utf-8")

    refused = CliRunner().invoke(
        app, ["serve", "-c", "c.yaml"], env={"WORD": "many", "SEVEN": "7", "EZAI_API_KEY": None, "HTTPS_PROXY": None}
    )

    assert refused.stderr.splitlines() == [line.replace("{folder}", str(tmp_path)) for line in lines]
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert not live_socket.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("modle: gpt-4o", "llm-pairwise: unknown option `modle`; did you mean `model`?"),
        ("api: google", "llm-pairwise: api must be anthropic or openai, not 'google'"),
        ("max_tokens: 10", "llm-pairwise: `max_tokens` must be a whole number from 300 to 100000, not 10"),
        (
            "base_url: 'ftp://judge'",
            "llm-pairwise: `base_url` must be an address without credentials, such as https://ezaiapi.com",
        ),
        ("base_url: 'http://127.0.0.1:8080'", "http://127.0.0.1:8080 is this gateway itself (listen: 127.0.0.1:8080)"),
        ("control_rate: 0", "llm-pairwise: `control_rate` must be a number from 0.01 to 1, not 0"),
    ],
)
def test_a_judge_whose_options_are_wrong_is_refused_with_what_would_be_right(
    tmp_path: Path, options: str, sentence: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"evaluators: [{{type: llm-pairwise, {options}}}]\n", encoding="utf-8")
    with pytest.raises(ConfigErrors) as refused:
        load(file, {})
    assert sentence in refused.value.lines[0]


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as refused:
        load(tmp_path / "none.yaml", {})
    assert refused.value.lines == (f"{tmp_path}/none.yaml: cannot be read: No such file or directory",)


def test_a_file_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"listen: caf\xe9\n")
    with pytest.raises(ConfigErrors) as refused:
        load(file, {})
    assert refused.value.lines == (f"{file}: must be UTF-8 text; byte 11 is not",)


def test_a_value_cannot_break_the_line_of_its_message(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text('workers: "1\\nlisten: \\u001b[31m"\n', encoding="utf-8")
    with pytest.raises(ConfigErrors) as refused:
        load(file, {})
    assert refused.value.lines == (f"{file}:1:10: workers: must be a whole number, not '1\\nlisten: \\x1b[31m'",)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"SHADOW_LISTEN": "8080"}, 'environment: SHADOW_LISTEN: must be host:port such as 127.0.0.1:8080, "[::]:8080" or unix:/path, not \'8080\''),  # noqa: E501  (the sentence as it is)
        ({"SHADOW_CANDIDATES": "a,a"}, "environment: SHADOW_CANDIDATES: 'a' is shadow.candidates[0] already; each candidate is listed once"),  # noqa: E501
        ({"SHADOW_STORE": "postgres://x"}, "environment: SHADOW_STORE: PostgreSQL is not built yet; use sqlite:///shadow.db (one machine, any number of processes)"),  # noqa: E501
        ({"SHADOW_ADMIN_LISTEN": "0.0.0.0:1"}, "environment: SHADOW_ADMIN_LISTEN: 0.0.0.0:1 can be reached from other machines, so admin.token is required (or listen on 127.0.0.1)"),  # noqa: E501
        ({"EZAI_API_KEY": "a b"}, "environment: EZAI_API_KEY: must be printable ASCII without spaces, it travels in a header"),  # noqa: E501
        ({"HTTPS_PROXY": "https://p:1"}, "environment: HTTPS_PROXY: must be an http:// proxy (it is asked to CONNECT)"),
        ({"SHADOW_LISTEN": "127.0.0.1:443", "SHADOW_ADMIN_LISTEN": "127.0.0.1:443"}, "environment: SHADOW_ADMIN_LISTEN: must differ from listen (127.0.0.1:443)"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_broken_variable_is_named(environ: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        load(None, environ)
    assert refused.value.lines == (line,)


def test_a_misspelt_variable_is_no_start(tmp_path: Path) -> None:
    typed = {"SHADOW_CANDIDATE": "a", "SHADOW_ADMINTOKEN": "my secret", "SHADOW_LISTEN ": "x", "SHADOW_STOR": ""}
    lines = (
        "environment: SHADOW_ADMINTOKEN: no such variable is read; did you mean SHADOW_ADMIN_TOKEN?",
        "environment: SHADOW_CANDIDATE: no such variable is read; did you mean SHADOW_CANDIDATES?",
        "environment: SHADOW_LISTEN : no such variable is read; did you mean SHADOW_LISTEN?",
        "environment: SHADOW_STOR: no such variable is read; did you mean SHADOW_STORE?",
    )
    file = tmp_path / "c.yaml"
    file.write_text("workers: none\n", encoding="utf-8")
    for path, more in ((None, ()), (file, (f"{file}:1:10: workers: must be a whole number, not 'none'",))):
        with pytest.raises(ConfigErrors) as refused:
            load(path, typed)
        assert refused.value.lines == (*lines, *more)


def test_variables_that_others_set_or_the_file_asks_for_are_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("workers: ${SHADOW_CANDIDATE}\n", encoding="utf-8")
    others = {
        "SHADOW_CANDIDATE": "2",
        "SHADOW_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "SHADOW_GATEWAY_PORT": "tcp://10.0.0.1:8080",
        "SHADOW_STORE_SERVICE_PORT": "1",
        "SHADOW_API_KEY": "x",
        "SHADOWS_LISTEN": "x",
    }
    assert load(file, others).workers == 2


def test_no_message_shows_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "clients: [my secret 1]\nadmin: {token: my secret 2, listen: '${KEY}'}\n"
        "upstream: {api_key: [my secret 3], proxy: 'ftp://u:my-secret-4@p'}\nshadow: {sample_rate: '${KEY}'}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigErrors) as refused:
        load(file, {"KEY": "my secret 5"})
    assert len(refused.value.lines) == 6
    assert "secret" not in str(refused.value).replace(str(file), "")
