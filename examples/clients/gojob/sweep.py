"""Runs a program once for each value, all at the same time, and prints what came of it.

    sweep.py PROGRAM VALUE...

It needs nothing but gojob, which finds the server and the key: see gojob login. It ends with 1 if a
job failed, and with gojob's exit code if the server refuses.
"""

import json
import subprocess
import sys


def gojob(*args, check=True):
    """Runs gojob, and returns what it printed. Errors go to our standard error."""
    done = subprocess.run(["gojob", *args], stdout=subprocess.PIPE, text=True)
    if check and done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def main(program, *values):
    jobs = {value: json.loads(gojob("submit", "-q", "-o", "json", program, value))["jobID"] for value in values}
    gojob("wait", "-q", *jobs.values(), check=False)  # ends with 1 if one of them failed
    failed = 0
    for value, job in jobs.items():
        status = json.loads(gojob("get", "-o", "json", job))
        failed += status["phase"] != "Succeeded"
        output = gojob("logs", "--stream", "stdout", "--tail", "1", job).strip()
        print(value, status["phase"], status["reason"], status.get("exitCode"), output)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
