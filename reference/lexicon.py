"""How English words are said, as flite says them: crates/media/src/phonemes/english.txt.gz.

    python reference/lexicon.py words.txt common.txt crates/media/src/phonemes/english.txt.gz

`words.txt` is a word on each line, lower case (SCOWL's american-english); `common.txt` those of them that are to be
right. Learned are rules from a letter in its context to phones (van den Bosch and Daelemans 1993,
https://aclanthology.org/E93-1007: the smallest context that tells); the lexicon holds the common words that the rules
get wrong. Lines of the file:

    left letter right phones     rules: a letter between two contexts, `#` at a word's ends
    word phones                  exceptions to them

A rule has four fields, separated by tabs; an exception two.
"""

import argparse
import gzip
import math
import subprocess
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The contexts of a letter, each a little larger than the one before: letters to the left and to the right.
CONTEXTS = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4)]
# What flite says of a word alone is not what it says within a sentence.
SPOKEN = {"a": ["ax"], "a.": ["ey"]}  # the word, and the letter where it is spelt


def segments(text):
    out = subprocess.run(["flite", "-voice", "kal16", "-t", text, "-o", "none", "-ps"], check=True, capture_output=True, text=True)
    return out.stdout.split()


def said(words):
    """The phones of each word, by one call for all of them; by one for each where a word is not one phrase."""
    phrases, phrase = [], []
    for phone in segments(", ".join(words) + "."):
        if phone == "pau":
            phrases, phrase = phrases + [phrase] * bool(phrase), []
        else:
            phrase.append(phone)
    if len(phrases) == len(words):
        return list(zip(words, phrases))
    if len(words) == 1:
        return []
    half = len(words) // 2
    return said(words[:half]) + said(words[half:])


def pronounced(words):
    batches = [words[i : i + 40] for i in range(0, len(words), 40)]
    with ThreadPoolExecutor(2) as pool:
        return {**dict(pair for batch in pool.map(said, batches) for pair in batch), **SPOKEN}


def align(word, phones, cost):
    """The phones of each letter: none, one or two; the cheapest way, or nothing where there is none."""
    best = {(0, 0): (0.0, None)}
    for i, letter in enumerate(word):
        for j in range(len(phones) + 1):
            if (i, j) not in best:
                continue
            for n in range(3):
                chunk = tuple(phones[j : j + n])
                if len(chunk) < n:
                    continue
                total = best[i, j][0] + cost(letter, chunk)
                if total < best.get((i + 1, j + n), (math.inf,))[0]:
                    best[i + 1, j + n] = (total, (i, j))
    at, chunks = (len(word), len(phones)), []
    if at not in best:
        return None
    while at != (0, 0):
        before = best[at][1]
        chunks.append(tuple(phones[before[1] : at[1]]))
        at = before
    return chunks[::-1]


def aligned(spoken, rounds=4):
    """Letters beside phones, by costs that are learned from the alignment before."""
    cost = lambda letter, chunk: [1.5, 1.0, 3.0][len(chunk)]
    for _ in range(rounds):
        pairs = {word: align(word, phones, cost) for word, phones in spoken.items()}
        pairs = {word: chunks for word, chunks in pairs.items() if chunks}
        counts = Counter((letter, chunk) for word, chunks in pairs.items() for letter, chunk in zip(word, chunks))
        letters = Counter(letter for word in pairs for letter in word)
        cost = lambda letter, chunk: -math.log((counts[letter, chunk] + 0.01) / (letters[letter] + 1.0))
    return pairs


def context(word, i, left, right):
    padded = "#" * 4 + word + "#" * 4
    return padded[i + 4 - left : i + 4], word[i], padded[i + 5 : i + 5 + right]


def learn(pairs, least):
    """Rules, each said by `least` words or more, that say what no smaller context of theirs does."""
    tables = [defaultdict(Counter) for _ in CONTEXTS]
    for word, chunks in pairs.items():
        for i, chunk in enumerate(chunks):
            for table, (left, right) in zip(tables, CONTEXTS):
                table[context(word, i, left, right)][chunk] += 1
    rules = {}
    for level, table in enumerate(tables):
        for key, counts in table.items():
            chunk, count = counts.most_common(1)[0]
            before = apply_at(rules, key, level - 1)
            # As many words more are right by the rule.
            if level == 0 or (chunk != before and count - counts[before] >= least):
                rules[key] = chunk
    return rules


def apply_at(rules, key, level):
    left, letter, right = key
    for n, m in CONTEXTS[level::-1] if level >= 0 else []:
        chunk = rules.get((left[len(left) - n :], letter, right[:m]))
        if chunk is not None:
            return chunk
    return None


def spell(rules, word):
    last = len(CONTEXTS) - 1
    return [phone for i in range(len(word)) for phone in apply_at(rules, context(word, i, *CONTEXTS[last]), last)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", type=Path)
    parser.add_argument("common", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--least", type=int, default=3, help="words that a rule must put right")
    options = parser.parse_args()
    common = [*options.common.read_text().split(), *SPOKEN]
    spoken = pronounced(sorted({*options.words.read_text().split(), *common} - {"a."}))
    # Every twentieth word is left out, to see what the rules make of words that they have not seen.
    words = sorted(spoken)
    alpha = {word: spoken[word] for word in words if word.isalpha()}
    seen = {word: phones for i, (word, phones) in enumerate(alpha.items()) if i % 20}
    pairs = aligned(alpha)
    rules = learn({word: chunks for word, chunks in pairs.items() if word in seen}, options.least)
    unseen = [word for word in alpha if word not in seen]
    print(f"{sum(spell(rules, word) == spoken[word] for word in unseen) / len(unseen):.1%} of words unseen are right")
    rules = learn(pairs, options.least)
    wrong = [word for word in common if word in spoken and not (word.isalpha() and spell(rules, word) == spoken[word])]
    lines = ["\t".join([*key, " ".join(chunk)]) for key, chunk in sorted(rules.items())]
    lines += [f"{word}\t{' '.join(spoken[word])}" for word in sorted(set(wrong))]
    options.out.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode(), 9, mtime=0))
    print(f"{len(rules)} rules, {len(set(wrong))} exceptions, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
