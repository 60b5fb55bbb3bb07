import os

from .counting import count


def main():
    with open("data/poem.txt") as poem:
        words = count(poem.read())
    with open(os.environ["OUTPUT_DIR"] + "/words.txt", "w") as out:
        for word, times in words:
            print(word, times, file=out)
    print(len(words), "words")


main()
