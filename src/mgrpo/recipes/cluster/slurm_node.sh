#!/usr/bin/env bash
# What slurm.sh runs on each node that trains: `accelerate launch`, and SIGUSR1 passed on to it as SIGTERM, which is
# what it passes on to its own processes. Ends with 75 if the run was stopped so.
launcher=
told=
asked=
stop() { if [[ -n $told && -n $launcher ]]; then kill -TERM "$launcher" 2>/dev/null; fi; }
trap 'told=1; asked=1; stop' USR1
trap 'told=1; stop' TERM
(
  trap '' USR1  # it has no handler for it and would die, its processes left behind
  exec accelerate launch --machine_rank "$SLURM_PROCID" "$@"
) &
launcher=$!
stop  # told before it was there
while kill -0 "$launcher" 2>/dev/null; do wait "$launcher"; done  # a trap ends a wait
wait "$launcher"
code=$?
if [[ -n $asked && $code != 0 ]]; then code=75; fi
exit "$code"
