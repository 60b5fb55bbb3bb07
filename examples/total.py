import json

with open("inputs/counts.json") as f:
    counts = json.load(f)
print(sum(counts.values()), "letters in", len(counts), "words")
