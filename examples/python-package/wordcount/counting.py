from collections import Counter


def count(text):
    return Counter(text.lower().split()).most_common()
