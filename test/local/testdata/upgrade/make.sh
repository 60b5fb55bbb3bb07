#!/bin/bash
# Makes data.tar.gz: a data directory of the version before access control, commit f505199.
# Usage: make.sh <repository>
set -euo pipefail
repository=$(realpath "$1")
out=$(realpath "$(dirname "$0")")
temp=$(mktemp -d)
server=
cleanup() {
  test -z "$server" || kill -KILL "$server" || true
  git -C "$repository" worktree remove --force "$temp/old" || true
  rm -rf "$temp"
}
trap cleanup EXIT

git -C "$repository" worktree add --quiet --detach "$temp/old" f505199
CGO_ENABLED=0 go -C "$temp/old" build -trimpath -tags grpcnotrace,disable_grpc_modules -o "$temp/all" ./functions/cmd/all

port=18080
url=http://127.0.0.1:$port
begin() {
  PORT=$port STORAGE_DIR=$temp/data MAX_CONCURRENT_JOBS=1 DRAIN_TIMEOUT=0s KILL_GRACE=100ms \
    "$temp/all" > "$temp/log" 2>&1 &
  server=$!
  until curl -sf $url/healthz > "$temp/null"; do sleep 0.1; done
}
# field <name>: prints a field of the JSON object on its input.
field() { python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
# post <name> <path> <curl option>…: sends a form, and stores the answer in answers/<name>.json.
post() { # the jobs are kept for as long as a job can be
  local name=$1 path=$2; shift 2
  curl -sSf "$@" "$url$path" > "$temp/answers/$name.json"
}
form=(-F runtime=binary -F entrypoint=run -F ttlSecondsAfterFinished=315360000)
auth() { echo "Authorization: Bearer $(field token < "$temp/answers/$1.json")"; }
# end <name>: waits until the job is over.
end() {
  local id; id=$(field jobID < "$temp/answers/$1.json")
  until curl -sSf -H "$(auth "$1")" "$url/api/v1/jobs/$id" | field phase | grep -qE 'Succeeded|Failed|Cancelled'; do
    sleep 0.1
  done
}

mkdir "$temp/answers"
begin
cat > "$temp/run" <<'PROGRAM'
#!/bin/sh
echo "to stdout: $*"; echo "to stderr: $*" >&2
mkdir "$OUTPUT_DIR/folder"; echo "the output of $*" > "$OUTPUT_DIR/folder/output.txt"
PROGRAM
printf '#!/bin/sh\necho begun; exec sleep "$1"\n' > "$temp/sleep"
printf '#!/bin/sh\nexit 3\n' > "$temp/fail"
printf '#!/bin/sh\necho begun; test "$JOB_ATTEMPT" -gt 1 || exec sleep 1000\n' > "$temp/again"
post ended /api/v1/jobs "${form[@]}" -F "files=@$temp/run" -F arg=ended
end ended
post labelled /api/v1/jobs "${form[@]}" -F "files=@$temp/run" -F arg=labelled -F 'labels={"team":"blue"}'
end labelled
post failed /api/v1/jobs "${form[@]}" -F "files=@$temp/fail;filename=run"
end failed
post repeated /api/v1/jobs "${form[@]}" -H 'Idempotency-Key: sent by a caller' -F "files=@$temp/run" -F arg=repeated
end repeated
post cancelled /api/v1/jobs "${form[@]}" -F "files=@$temp/sleep;filename=run" -F arg=1000
curl -sSf -X POST -H "$(auth cancelled)" "$url/api/v1/jobs/$(field jobID < "$temp/answers/cancelled.json")/cancel" \
  > "$temp/null"
end cancelled

post template-one /api/v1/templates/one -X PUT "${form[@]}" -F "files=@$temp/run" -F arg=one
post template-two /api/v1/templates/two -X PUT "${form[@]}" -F "files=@$temp/run" -F arg=two
post of-template /api/v1/templates/one/jobs -X POST -H "$(auth template-one)"
end of-template
# event <name> <template> <option>…: sends an event, and stores the token of its job as for the others.
event() {
  local name=$1 template=$2 id; shift 2
  id=$(curl -sSf -i -H 'ce-specversion: 1.0' -H "ce-id: $name" -H 'ce-source: /shop' "$@" "$url/events$template" |
    sed -n 's|^[Ll]ocation: /api/v1/jobs/\([0-9a-f]*\).*|\1|p')
  curl -sSf -H "$(auth template-one)" "$url/api/v1/jobs/$id/token" > "$temp/answers/$name.json"
}
event of-event '?template=one' -H 'ce-type: com.example.uploaded' -H 'Content-Type: application/json' -d '{"n":1}'
end of-event
event brought '' -H 'ce-type: io.github.go-job-orchestrator.job.requested.v1' -H 'Content-Type: application/json' \
  -H "$(auth template-one)" -d '{"runtime":"binary","entrypoint":"run","ttlSecondsAfterFinished":315360000,
    "args":["brought"],"files":[{"name":"run","content":"'"$(base64 -w0 < "$temp/run")"'"}]}'
end brought

# The first runs and the second waits when the server is stopped.
post running /api/v1/jobs "${form[@]}" -F "files=@$temp/again;filename=run" -F retries=1
until curl -sSf -H "$(auth running)" "$url/api/v1/jobs/$(field jobID < "$temp/answers/running.json")/logs" |
  grep -q begun; do sleep 0.1; done
post waiting /api/v1/jobs "${form[@]}" -F "files=@$temp/run" -F arg=waiting
kill -KILL "$server"
wait "$server" || true
server=

# What the callers of then have: the jobs and tokens, in the order in which they were submitted.
for name in ended labelled failed repeated cancelled of-template of-event brought running waiting; do
  python3 -c "import json, sys; j = json.load(open(sys.argv[1])); print('$name', j['jobID'], j['token'])" \
    "$temp/answers/$name.json"
done > "$temp/data/callers.txt"
tar -C "$temp/data" --sort=name --owner=0 --group=0 --numeric-owner -c . | gzip -9n > "$out/data.tar.gz"
ls -l "$out/data.tar.gz"
