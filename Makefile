.DEFAULT_GOAL := help
.PHONY: help demo test check style fmt fuzz hostile load browser withstands screenshots bench bench-learn bench-pipeline bench-workers bench-http bench-recommend bench-views bench-query bench-build bench-beside bench-versions bench-spark bench-import soak soak-page docs

help: ## List these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Generated data, streamed, cut, trained and served at http://127.0.0.1:8080
	cargo run --release -- demo

test: ## Every test that needs no service
	cargo test --workspace

check: style ## Format, links of documents, dependencies, lints, documentation; warnings as errors (once before: ci/tools.sh install)
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

style: ## Of `check` what compiles nothing
	cargo fmt --all --check
	python3 ci/links.py
	python3 -c 'compile(open("crates/model/src/engine/spark/job.py").read(), "job.py", "exec")'
	ci/tools.sh cargo-deny --locked check --deny warnings bans licenses sources
	ci/tools.sh cargo-shear --locked --deny-warnings

fmt: ## Format the code
	cargo fmt --all

fuzz: ## Fuzz the broker's codec path and the parsers of what others wrote, SECONDS (60) for each target
	ci/fuzz.sh crates/broker/fuzz $(or $(SECONDS),60)
	ci/fuzz.sh crates/untrusted/fuzz $(or $(SECONDS),60)

hostile: ## Some 400 hostile requests, records and files against the release binary, in a cgroup of 2 GiB
	cargo build --release
	ci/hostile.sh

load: ## Ten minutes of requests while brokers, trainers, stores, versions and keys come and go: no answer but the owed one
	cargo build --release
	ci/load.py target/release/millstream $(or $(SECONDS),600)

browser: ## Every page of the release binary in Chromium (ONLY=movies: one system's, ONLY=live, ONLY=rules)
	cargo build --release
	ONLY=$(ONLY) ci/browser.sh target/release/millstream

withstands: ## Before a release: the demos, hostile, readers of other languages, 60 dialects and the pages, of the release binary
	cargo build --release
	ci/withstands.sh target/release/millstream

screenshots: ## Pictures of the pages into FOLDER (target/screenshots)
	cargo build --release
	ci/browser.sh screenshots target/release/millstream $(or $(FOLDER),target/screenshots)

docs: ## Rewrite what the documentation takes from the code
	UPDATE=1 cargo test --workspace --lib documents -- --test-threads=1

bench: bench-learn bench-pipeline bench-workers bench-http bench-recommend bench-views bench-query bench-versions bench-import ## All measurements, each beside its peer in the same run

bench-learn: ## Trainers and top-N beside scikit-learn, LightGBM, implicit, Spark and usearch
	crates/learn/benches/run.sh
	crates/learn/benches/top_n.sh
	crates/learn/benches/content.sh

bench-pipeline: ## csv to batches beside bare librdkafka clients, and the whole run; 7 million rows
	bench/pipeline.sh

bench-http: ## Predictions over HTTP beside Flask (needs wrk)
	bench/http.sh

bench-recommend: ## A recommender of 20 million ratings: training, memory, top-10 over HTTP beside Flask with implicit (needs wrk)
	bench/recommend.sh

bench-views: ## A filtered top-5 over a million rows, over HTTP beside DuckDB
	bench/views.sh

bench-beside: ## A benchmark by two builds in turn: OLD, NEW, ROUNDS (5), BENCHMARK (http.sh), ARGUMENTS
	bench/beside.sh $(OLD) $(NEW) $(or $(ROUNDS),5) $(or $(BENCHMARK),http.sh) $(ARGUMENTS)

bench-query: ## SQL of requests: `select 1` in a process that waits and in a new one, against 20 and 500 ms
	bench/query.sh

bench-build: ## Build times: a changed page file and a changed training file, dev and release (BENCHMARK=cold: a fresh clone)
	bench/build.sh $(or $(BENCHMARK),touched)

bench-workers: ## One, two and three ingest workers on three full partitions, after bench-pipeline
	bench/workers.sh

bench-import: ## A model of 138,000 users that Spark saved, imported: seconds and memory
	bench/import.sh

bench-versions: ## What a batch costs at 10,000 batches with two models, memory, and a restart until the first answer
	bench/versions.sh

bench-spark: ## The same models of the same batches by Millstream, Spark on this machine and a Spark cluster on it; half an hour
	bench/spark.sh

soak: ## Ten minutes of one-second windows at 10,000 rows/s: does it keep up, with flat memory, two models trained on each?
	bench/soak.sh

soak-page: ## The same with the first page open in Chromium: does the browser's memory stay flat too?
	bench/soak.sh 10 10000 page
