#!/bin/sh
# Starts the server as the owner of the storage, so that a mounted folder and the files that jobs
# leave in it belong to the same user. If the folder does not exist, Docker makes it as root. A
# folder of root is given to the user orchestrator. With docker run --user all this is skipped.
set -eu
if [ "$(id -u)" -ne 0 ]; then
  exec job-orchestrator "$@"
fi
mkdir -p "$STORAGE_DIR"
if [ "$(stat -c %u "$STORAGE_DIR")" -eq 0 ]; then
  chown orchestrator:orchestrator "$STORAGE_DIR"
fi
owner=$(stat -c %u "$STORAGE_DIR")
group=$(stat -c %g "$STORAGE_DIR")
HOME=/nonexistent exec setpriv --reuid "$owner" --regid "$group" --clear-groups --inh-caps=-all job-orchestrator "$@"
