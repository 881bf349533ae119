#!/bin/sh
# Checks that a pipeline still gives the results in its lock file. For CI and for people:
#
#   examples/ci/reproduce.sh [PIPELINE]        (default: pipelines/quickstart.toml)
#
# 1. `dpt run --locked`: parameters, inputs and results agree with the lock file. Fresh nodes do not run again: in CI, keep
#    the store between jobs, or start from nothing.
# 2. `dpt verify`: the files in the store are undamaged.
# 3. `dpt verify --rerun`: a sample of nodes runs again and gives the stored results.
#
# The exit code is that of dpt: 3 the lock differs, 4 a node gives another result, 5 the store is damaged.
#
# Variables: DPT, the program (default: target/release/dpt, built if needed). DPT_CACHE, the store. SAMPLE, how much runs again
# (default 10%). SEED, the seed of the sample (default: the number of the CI run, so that in time all nodes run again).
# DEVICE (default cpu). STATEMENT, a file for the attestation.
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
