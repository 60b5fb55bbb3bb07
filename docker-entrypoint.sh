#!/bin/sh
# Starts the server as the owner of the storage, so that a mounted folder and what jobs leave in it
# belong to the same user. Docker makes a folder that is not there as root; such a folder is given
# to the user orchestrator. docker run --user skips this.
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
