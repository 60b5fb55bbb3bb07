#!/bin/sh
# Runs a program, and keeps what came of it in a folder: its outputs, and job.json, the record of the job. If it fails
# the end of its log is shown, as a scheduler would mail it.
#
#     report.sh PROGRAM FOLDER [ARG...]
#
# gojob finds the server and the key: see gojob login.
set -eu
program=$1 folder=$2
shift 2
mkdir -p "$folder"

job=$(gojob submit -q -l report=yes --timeout 10m "$program" "$@")
if gojob wait -q "$job"; then code=0; else code=$?; fi
gojob get -o json "$job" > "$folder/job.json"
gojob cp "$job" "$folder"
if [ "$code" -ne 0 ]; then
  echo "job $job failed; the end of its log:" >&2
  gojob logs --tail 5 "$job" >&2
fi
exit "$code"
