#!/bin/sh
# Does a pipeline still give what its lock file says? For CI, and by hand:
#
#   examples/ci/reproduce.sh [PIPELINE]        (default: pipelines/quickstart.toml)
#
# 1. `dpt run --locked`: nothing else is asked for than what was locked, and nothing else comes out. What the store has
#    already need not run again: in CI, keep the store from one job to the next, or start from nothing.
# 2. `dpt verify`: the store's bytes are what was stored.
# 3. `dpt verify --rerun`: a sample runs once more and is compared with what the store has.
#
# The exit code is dpt's: 3 other than the lock, 4 a node does not give the same twice, 5 the store is damaged.
#
# What may be set: DPT, the program (default: target/release/dpt, built if need be). DPT_CACHE, the store. SAMPLE, how much runs
# again (default 10%), and SEED, which part of it (default: the number of the CI run, so that in time all of it does).
# DEVICE (default cpu). STATEMENT, a file for what was shown.
set -eu

cd "$(dirname "$0")/../.."
pipeline=${1:-pipelines/quickstart.toml}
sample=${SAMPLE:-10%}
seed=${SEED:-${GITHUB_RUN_NUMBER:-0}}
device=${DEVICE:-cpu}
statement=${STATEMENT:-reproduced.json}

if [ -z "${DPT:-}" ]; then
    DPT=target/release/dpt
    cargo xtask libtorch
    cargo build --release
fi

"$DPT" run "$pipeline" --locked --device "$device"
"$DPT" verify "$pipeline"
"$DPT" verify "$pipeline" --rerun --sample "$sample" --seed "$seed" --device "$device" --statement "$statement"
