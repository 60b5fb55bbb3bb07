"""Submits a program, follows its log and downloads its outputs.

    python3 client.py http://localhost:8080 words.py results alpha beta

GOJOB_KEY is the caller's key, where the server asks for one.
"""

import json
import os
import pathlib
import sys
import uuid

import requests

RUNTIMES = {".py": "python", ".js": "node", ".java": "java", ".jar": "java"}
OVER = ("Succeeded", "Failed", "Cancelled")


def main(url, program, folder, *args):
    path = pathlib.Path(program)
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    if key := os.environ.get("GOJOB_KEY"):  # for the other calls the job's token will do
        headers["Authorization"] = "Bearer " + key
    with path.open("rb") as f:
        answer = requests.post(
            f"{url}/api/v1/jobs",
            headers=headers,
            data={
                "runtime": RUNTIMES.get(path.suffix, "binary"),
                "entrypoint": path.name,
                "args": json.dumps(args),
            },
            files={"files": (path.name, f)},
            timeout=60,
        )
    check(answer)
    job = answer.json()["jobID"]
    session = requests.Session()
    session.headers["Authorization"] = "Bearer " + answer.json()["token"]

    status = follow(session, url, job)
    download(session, url, job, pathlib.Path(folder))
    print(f"{status['phase']}: {status.get('message', status['reason'])}", file=sys.stderr)
    return 0 if status["phase"] == "Succeeded" else 1


def follow(session, url, job):
    """Copies the log to standard output until the job is over. Reconnects when the connection breaks."""
    position = 0
    while True:
        # The status is read before the log. If the job is over by then, the log is complete.
        answer = session.get(f"{url}/api/v1/jobs/{job}", timeout=60)
        check(answer)
        query = {"follow": "true", "from": position}
        log = session.get(f"{url}/api/v1/jobs/{job}/logs", params=query, stream=True, timeout=3600)
        check(log)
        try:
            for piece in log.iter_content(chunk_size=None):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                position += len(piece)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            continue
        if answer.json()["phase"] in OVER:
            return answer.json()


def download(session, url, job, folder):
    answer = session.get(f"{url}/outputs/{job}", timeout=60)
    check(answer)
    for output in answer.json()["items"]:
        name = requests.utils.quote(output["name"])
        file = session.get(f"{url}/outputs/{job}/{name}", stream=True, timeout=60)
        check(file)
        path = folder / output["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as f:
            for piece in file.iter_content(1 << 16):
                f.write(piece)


def check(answer):
    """Ends the program with the server's message if the answer is an error."""
    if not answer.ok:
        sys.exit(f"{answer.status_code}: {answer.json().get('detail', answer.text)}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
