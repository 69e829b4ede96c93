#!/usr/bin/env bash
# A study under Slurm that goes on after it was preempted or its time was up:
#   sbatch examples/slurm.sh studies/mine.yaml -o reports/mine
# What follows the script is what follows `tstitch-search run`. Every attempt runs the same command, which goes on where the
# last one stopped; a chunk of images that was made is not made again.
#SBATCH --job-name=tstitch-search
#SBATCH --time=04:00:00
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
set -uo pipefail

tstitch-search run "$@" &
run=$!
# Slurm's warning reaches this shell (B:TERM), at preemption the run too; the run then takes 7 seconds at most to stop in order.
trap 'kill -TERM "$run" 2>/dev/null' TERM

code=0
wait "$run" || code=$?
while kill -0 "$run" 2>/dev/null; do # the signal ended `wait`, not the run
  code=0
  wait "$run" || code=$?
done

if [ "$code" -eq 143 ]; then # stopped by SIGTERM: once more, from the queue
  echo "stopped by SIGTERM; job $SLURM_JOB_ID goes back into the queue" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
