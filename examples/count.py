import json, os, sys

with open(os.environ["OUTPUT_DIR"] + "/counts.json", "w") as f:
    json.dump({word: len(word) for word in sys.argv[1:]}, f)
