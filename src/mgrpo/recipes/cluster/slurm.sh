#!/usr/bin/env bash
# Train on all nodes of a job but the last, which samples: vLLM has it for itself. Not run on a GPU yet.
#
#   sbatch recipes/cluster/slurm.sh --config qwen3-4b-math --output_dir runs/qwen3-4b --gradient_accumulation_steps 6
#
# MODEL is what vLLM serves, and must be the recipe's. VLLM_NODES=0: no such node, and the recipe's own way to sample.
# Where its server fails, mgrpo shows the end of VLLM_LOG, which all nodes must see.
# Five minutes before the time is over the step under way is finished and saved, and the job goes back into the queue;
# it then goes on from there. Give --signal a longer time where a step takes longer.
#SBATCH --job-name=mgrpo
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"

MODEL=${MODEL:-Qwen/Qwen3-4B-Base}
ACCELERATE_CONFIG=${ACCELERATE_CONFIG:-recipes/cluster/fsdp2-2x8.yaml}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
VLLM_NODES=${VLLM_NODES:-1}
VLLM_TENSOR_PARALLEL_SIZE=${VLLM_TENSOR_PARALLEL_SIZE:-$GPUS_PER_NODE}  # must divide the model's heads
VLLM_MAX_MODEL_LENGTH=${VLLM_MAX_MODEL_LENGTH:-4096}  # max_prompt_length + max_completion_length
VLLM_LOG=${VLLM_LOG:-$PWD/vllm-${SLURM_JOB_ID:-job}.log}
PORT=${PORT:-29500}
NODE_SCRIPT=${NODE_SCRIPT:-recipes/cluster/slurm_node.sh}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-280}  # as long as a step may take, in seconds
REQUEUE=75  # what mgrpo ends with after SIGUSR1

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
num_trainers=$((${#nodes[@]} - VLLM_NODES))
if ((num_trainers < 1)); then
  echo "slurm.sh: the job has ${#nodes[@]} nodes, of which vLLM takes $VLLM_NODES; give --nodes one more" >&2
  exit 2
fi
trainers=("${nodes[@]:0:num_trainers}")

sampling=()
if ((VLLM_NODES)); then
  server=${nodes[num_trainers]}
  # what TRL asks of a server: endpoints for weights, and log-probabilities as sampled from
  srun --nodes=1 --ntasks=1 --nodelist="$server" env VLLM_SERVER_DEV_MODE=1 \
    vllm serve "$MODEL" --host 0.0.0.0 --port 8000 --tensor-parallel-size "$VLLM_TENSOR_PARALLEL_SIZE" \
    --max-model-len "$VLLM_MAX_MODEL_LENGTH" --weight-transfer-config '{"backend": "nccl"}' \
    --logprobs-mode processed_logprobs --max-logprobs -1 >"$VLLM_LOG" 2>&1 &
  trap 'kill %1 2>/dev/null || true' EXIT
  sampling=(--use_vllm true --vllm_mode server --vllm_server_host "$server" --vllm_server_timeout 1800)
  sampling+=(--vllm_server_log "$VLLM_LOG")
fi

training=
asked=
stop() { if [[ -n $asked && -n $training ]]; then kill -USR1 "$training" 2>/dev/null || true; fi; }
trap 'asked=1; stop' USR1  # srun passes it on to slurm_node.sh
# SLURM_PROCID is known in each node's task alone; what the recipe is told comes before what you say, which wins
srun --nodes="$num_trainers" --ntasks="$num_trainers" --nodelist="$(IFS=,; echo "${trainers[*]}")" \
  bash "$NODE_SCRIPT" \
  --config_file "$ACCELERATE_CONFIG" --num_machines "$num_trainers" \
  --num_processes "$((num_trainers * GPUS_PER_NODE))" --main_process_ip "${trainers[0]}" --main_process_port "$PORT" \
  -m mgrpo train "${sampling[@]}" "$@" &
training=$!
stop  # asked before it was there
while kill -0 "$training" 2>/dev/null; do wait "$training" || true; done  # a trap ends a wait
code=0
wait "$training" || code=$?
if ((code == REQUEUE)); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
