import os, sys, time

words = sys.argv[1:]
for number, word in enumerate(words, 1):
    print(number, word)
    time.sleep(1)
with open(os.environ["OUTPUT_DIR"] + "/count.txt", "w") as f:
    f.write(f"{len(words)} words\n")
