# `make run` brings up a guest, `make run-linux` Debian's kernel, `make test` proves the project; each sets up what it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHIM := $(wildcard plugins/avmm_unicorn/native/*.[ch])

.PHONY: run run-linux watch test lint bench bench-linux soak mutants clean

run: $(VENV)/.run
	$(BIN)/avmm run --kernel examples/guests/images/smp.img --smp 4 --memory 128M --stats

# Debian's kernel and a busybox, from Debian's archive into the cache, up to a shell on this terminal.
run-linux: $(VENV)/.run
	@kernel=$$($(BIN)/avmm fetch debian-arm64 --print kernel) && \
	initrd=$$($(BIN)/avmm fetch debian-arm64 --print initrd) && \
	echo "avmm: booting $$kernel; Ctrl-A x leaves, Ctrl-A h helps" && \
	$(BIN)/avmm run --kernel "$$kernel" --initrd "$$initrd" --smp 2 --memory 512M --append console=ttyAMA0

# A guest with its metrics, and Prometheus with avmm's rules that scrapes it: http://127.0.0.1:9090, until the guest is left.
watch: WATCH_DIR ?= build/watch
watch: WATCH_METRICS ?= 127.0.0.1:9464
watch: WATCH_PROMETHEUS ?= 127.0.0.1:9090
watch: $(VENV)/.run
	@command -v prometheus > /dev/null || { echo "avmm: install Prometheus (Debian: apt-get install prometheus)" >&2; exit 1; }
	@$(BIN)/avmm metrics config --output $(WATCH_DIR) --target $(WATCH_METRICS) > /dev/null
	@prometheus --config.file=$(WATCH_DIR)/prometheus/prometheus.yml --storage.tsdb.path=$(WATCH_DIR)/data \
		--web.listen-address=$(WATCH_PROMETHEUS) 2> $(WATCH_DIR)/prometheus.log & prometheus=$$!; \
	trap 'kill $$prometheus 2> /dev/null' EXIT; trap 'exit 1' HUP INT TERM; \
	until grep -qs 'ready to receive web requests' $(WATCH_DIR)/prometheus.log; do \
		kill -0 $$prometheus 2> /dev/null || { tail -n 1 $(WATCH_DIR)/prometheus.log >&2; exit 1; }; sleep 0.1; \
	done; \
	echo "avmm: Prometheus at http://$(WATCH_PROMETHEUS), dashboards in $(WATCH_DIR)/grafana; Ctrl-A x leaves"; \
	$(BIN)/avmm run --kernel examples/guests/images/smp.img --smp 4 --memory 128M --append seconds=86400 --metrics $(WATCH_METRICS)

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

bench: $(VENV)/.test
	$(BIN)/python -m tests.benchmarks

# Beside QEMU's emulator on Debian's kernel; `make bench-linux PARTS="boot compute"` for some of it.
bench-linux: $(VENV)/.test
	$(BIN)/python -m tests.benchmarks.linux $(PARTS)

# Debian's kernel, 200 times in a row; `make soak SOAK="--smp 4 --boots 50 --smp-mode parallel"` for other boots, with options of avmm run.
soak: $(VENV)/.test
	$(BIN)/python -m tests.linux.soak $(SOAK)

mutants: $(VENV)/.test
	$(BIN)/python -m tests.mutants

# The shim is compiled here, so its sources are what the stamps depend on.
$(VENV)/.run: pyproject.toml setup.py $(SHIM)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	touch $@

$(VENV)/.test: pyproject.toml setup.py $(SHIM)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(PYTHON) tests/tools.py
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
