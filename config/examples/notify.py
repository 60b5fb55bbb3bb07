"""Posts a line about a job to an incoming webhook, as Slack and its likes have them."""
import json
import os
import sys
import urllib.request

job_id, reason = sys.argv[1:3]
body = json.dumps({"text": f"Job {job_id} failed: {reason}"}).encode()
request = urllib.request.Request(os.environ["WEBHOOK_URL"], body, {"Content-Type": "application/json"})
with urllib.request.urlopen(request, timeout=30) as answer:
    print(answer.status)
