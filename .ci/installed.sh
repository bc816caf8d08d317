#!/usr/bin/env bash
# The package as a user installs it: builds the wheel, installs it into a fresh environment without extras and without
# the tested versions of constraints.txt, and works with it from another directory; then adds one extra after another.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1
unset PYTHONPATH
grep '^torch==' "$root/constraints.txt" > "$work/torch.txt"
export PIP_CONSTRAINT=$work/torch.txt # any other torch is a download of gigabytes

# The environment lies within the user's own repository, whose commit is not mgrpo's.
git init -q "$work/mine"
git -C "$work/mine" -c user.name=me -c user.email=me@localhost commit -q --allow-empty -m mine
bin=$work/mine/.venv/bin
install() { "$bin/pip" install -qq --no-compile "$@"; }

# runs COMMAND...: succeeds
runs() {
  echo "mgrpo $*"
  "$bin/mgrpo" "$@" > "$work/output" 2>&1 || { cat "$work/output"; echo "failed: mgrpo $*"; exit 1; }
}

# refuses EXTRA COMMAND...: names the extra that is missing, with exit code 2 and without a traceback
refuses() {
  local extra=$1 code=0
  shift
  echo "mgrpo $* (without $extra)"
  "$bin/mgrpo" "$@" > "$work/output" 2>&1 || code=$?
  if [ $code != 2 ] || ! grep -q "pip install ['\"]mgrpo\[$extra\]" "$work/output" || grep -q Traceback "$work/output"; then
    cat "$work/output"
    echo "exit code $code instead of a message that names mgrpo[$extra]: mgrpo $*"
    exit 1
  fi
}

"${PYTHON:-python3}" -m venv "$work/mine/.venv"
install torch
"$bin/pip" wheel -qq --no-deps --wheel-dir "$work" "$root"
install "$work"/mgrpo-*.whl

cd "$work/mine"
runs train --config embedded --max_steps 2 --output_dir run
grep -q '"git_commit": null' run/environment.json
grep -q "trained with M-GRPO" run/final/README.md
runs report run
runs evaluate run --benchmarks embedded:chains --limit 16 --max_tokens 14
refuses vllm train --config embedded --use_vllm true

refuses report plot run
install 'mgrpo[report]'
runs plot run

tasks=(tasks show reasoning_gym:chain_sum --dataset_size 5)
refuses tasks "${tasks[@]}"
install 'mgrpo[tasks]'
runs "${tasks[@]}"

# The benchmark's prompt has letters, which the embedded model's tokenizer lacks: they become padding.
cp -r run/final model
sed -i 's/"unk_token": *"[^"]*"/"unk_token": "<pad>"/' model/tokenizer.json
echo '{"question": "1+2=", "answer": "#### 3"}' > gsm8k.jsonl
gsm8k=(evaluate model --benchmarks gsm8k --data gsm8k.jsonl --max_tokens 14)
refuses eval "${gsm8k[@]}"
install 'mgrpo[eval]'
runs "${gsm8k[@]}"

echo '{"prompt": "1+2=", "answer": "3"}' > sums.jsonl
sums=(evaluate model --benchmarks file:sums.jsonl --max_tokens 14 --output_dir sums)
refuses math "${sums[@]}"
install 'mgrpo[math]'
runs "${sums[@]}"
echo "the installed package works: $SECONDS seconds"
