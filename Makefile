# `make` lists the targets. Everything runs in .venv, made from the hash-pinned lock when it is missing.
.DEFAULT_GOAL := help
.PHONY: help demo test check unit integration simulate bench bench-stats quality sdk-matrix bench-peers fuzz h1spec slowhttp soak lock clean
PYTHON ?= python3
BIN := .venv/bin

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/.installed: requirements-dev.lock pyproject.toml scripts/make_venv.sh
	@PYTHON="$(PYTHON)" sh scripts/make_venv.sh

demo: .venv/.installed ## Run the whole product on this machine: no key, no network (Ctrl-C ends it; DEMO="--once" ends by itself)
	@$(BIN)/shadow-gateway demo $(DEMO)

test: .venv/.installed ## Format, lint, types, layers, then every test (installs Chromium for the browser tests when it may)
	@sh scripts/check.sh
	@sh scripts/browser.sh
	@$(BIN)/pytest tests --cov -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/.installed ## Format, lint, types, layers; then the tails: largest files, longest functions
	@sh scripts/check.sh
	@$(BIN)/python scripts/tails.py

bench: .venv/.installed ## Speed against nginx in one run (needs cc and nginx; takes minutes; run it alone)
	@$(BIN)/python bench/run.py

bench-stats: .venv/.installed ## How long questions take at ten million records (loads them first; STATS="--keep FOLDER" finds them again; run it alone)
	@$(BIN)/python -m bench.stats $(STATS)

simulate: .venv/.installed ## Does the verdict keep its word? Every demand beside what simulation measures (two minutes; SIMULATE="--only withdrawn")
	@$(BIN)/python -m bench.simulate $(SIMULATE)

quality: .venv/.installed ## Evaluators and judge on recorded answers of real models (DATA=folder; WRITE=1 keeps the table in docs)
	@$(BIN)/python -m bench.quality $(if $(DATA),--data $(DATA)) $(if $(WRITE),--write)

sdk-matrix: .venv/.installed ## Old and new anthropic and openai SDKs, through the gateway and directly: all must be equal
	@$(BIN)/python scripts/sdk_matrix.py

bench-peers: .venv/.installed ## Speed against nginx, LiteLLM and Portkey in one run (installs both in .peers/; run it alone)
	@$(BIN)/python bench/peers.py

fuzz: ## Coverage-guided fuzzing, FUZZ_SECONDS (60) a target; FUZZ="heads-request splice" names some (Linux)
	@PYTHON="$(PYTHON)" sh scripts/fuzz.sh $(FUZZ)

h1spec: .venv/.installed ## The 33 demands of h1spec against a live port (needs deno and h1spec; the script says how)
	@sh scripts/h1spec.sh

slowhttp: .venv/.installed ## 300 slow clients of each kind beside 50 good ones (needs slowhttptest; takes 4 minutes)
	@sh scripts/slowhttp.sh

soak: .venv/.installed ## Memory, leaks and event-loop lag under 200,000 requests, aborts and faults (ten minutes; run it alone; SOAK="--only aborts")
	@$(BIN)/python -m bench.soak $(SOAK)

lock: ## Write both locks anew from pyproject.toml (needs uv)
	@sh scripts/lock.sh

clean: ## Remove the virtual environment and every cache
	rm -rf .venv tests/browser/.shots .fuzz .sdk .peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage bench/.build
