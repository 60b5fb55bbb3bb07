import os, sys

attempt = int(os.environ["JOB_ATTEMPT"])
print("attempt", attempt)
if attempt < 3:
    sys.exit("the service did not answer")
