#!/usr/bin/env bash
# On one GPU: the study studies/smollm2.yaml, with SmolLM2-135M or another model (compare.py); or, with --figures,
# M-GRPO's time and memory against TRL's GRPO in one table (figures.py). README.md in this directory says what to bring.
#
#   benchmarks/gpu/run.sh OUTPUT_DIR [--minutes 9.5] [--model MODEL] [--model_pieces DIR] [OPTION ...]
#   benchmarks/gpu/run.sh --figures OUTPUT_DIR [--minutes 9.5] [--model_pieces DIR] [OPTION ...]
#
# --model_pieces DIR (or MODEL_PIECES=DIR): put the GGUF file together from the pieces DIR/*.gguf.?? first, checked
# against DIR/*.gguf.sha256. The other options are the file's; PYTHON=... chooses the interpreter.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$([ -x "$here/../../.venv/bin/python" ] && echo "$here/../../.venv/bin/python" || echo python3)}
pieces=${MODEL_PIECES:-}
script=compare.py
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --model_pieces) pieces=${2:?--model_pieces needs a directory}; shift 2 ;;
    --figures) script=figures.py; shift ;;
    *) arguments+=("$1"); shift ;;
  esac
done

if [ -n "$pieces" ]; then
  sums=("$pieces"/*.gguf.sha256)
  [ -f "${sums[0]}" ] || { echo "run.sh: $pieces holds no *.gguf.sha256; README.md says how to make the pieces" >&2; exit 2; }
  model=${sums[0]%.sha256}
  [ -f "$model" ] || cat "$model".?? > "$model"
  (cd "$pieces" && sha256sum --check --quiet "${sums[0]##*/}") || {
    rm -f "$model"
    echo "run.sh: the pieces in $pieces do not make up the file; copy them again" >&2
    exit 2
  }
  arguments+=(--model "$model")
fi

export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export PYTHONPATH="$here/../../src${PYTHONPATH:+:$PYTHONPATH}"  # works where mgrpo is not installed
exec "$python" "$here/$script" "${arguments[@]}"
