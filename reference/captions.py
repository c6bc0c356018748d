"""Captions scored by pycocoevalcap, words by Stanford's tokenizer; writes `goldens/captions/cases.json`.

    venv/bin/pip install pycocoevalcap jiwer        # its tokenizer needs java
    venv/bin/python reference/captions.py

`pictures` has candidates with references, their words and their scores; `corpus` the figures of all together;
`speech` has texts with jiwer's word and character error rates, both sides first made lower case, without
punctuation and with single spaces.
"""

import json
import re
from pathlib import Path

import jiwer
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

HERE = Path(__file__).resolve().parent.parent / "goldens" / "captions"

# Written for this file: a candidate, then what people say.
PICTURES = [
    ["a dog runs in the snow", "A brown dog runs through the snow.", "The dog is running in deep snow",
     "a dog playing outside in winter"],
    ["a man riding a bike on the street", "A man rides his bicycle down a city street .",
     "A cyclist in a red shirt is on the road", "There's a man on a bike; he doesn't wear a helmet"],
    ["two children play with a ball", "Two kids are playing football in a park.",
     "Children kick a ball (it's red-and-white)", "two boys play on the grass, near the trees"],
    ["a woman is holding a baby", "A woman holds a baby in her arms", "the woman's baby is asleep",
     "A mother and her child."],
    ["a cat", "A black cat sits on a window sill", "The cat looks out of the window",
     "cat on a sill at 5 o'clock"],
    ["a plate of food on a table with a glass of water and a fork and a knife and a napkin",
     "A plate with pasta and salad", "Dinner is served on the table.", "a plate of food"],
    ["the the the the the", "The big red bus stops at the corner", "A bus drives down the street",
     "A double-decker bus; Mr. Smith waves"],
    ["A surfer rides a big wave .", "A surfer rides a big wave .", "a man is surfing on a wave",
     "Somebody can't stop surfing!"],
    ["", "Three birds fly over the sea", "Birds in the sky", "seagulls above the water"],
]

# Captions that show the tokenizer's rules.
WORDS = [
    "A man's dog doesn't sit, it runs .", "Two \"big\" T-shirts; one's (red)...", "The dogs' 3.5 km at 1,000 m!",
    "Mr. Smith of the U.S. can't've", "5 o'clock, cannot and/or 'quoted'", "A cat.A dog -- $5 & 10%",
    "the man\u2019s caf\u00e9 \u2013 x", "...'", "a red-and-white shirt , #7 , 50% off @ the park",
    "it is 3:30 p.m. on the 1st", "gonna wanna gotta gimme lemme 'tis 'twas", "[red] {blue}", "dogs\u2026cats",
    "y'all 'em '80s the 80's", "wow!! what?! dog!cat", "R&B red&blue AT&T", "no. 5 a no. dog st. louis a b. dog",
    "-5 word -word word- +5", "big:small cat,dog semi;colon", "w/ hat, w/o hat", "she'd we've they'll you're I'm",
]

SPEECH = [
    ["Hello, World!", "hello world"], ["the cat sat", "the cat sat down"], ["kitten", "sitting"],
    ["he said it is a well known fact", "He said: it's a well known fact."], ["one two two", "two three"],
    ["", "nothing was heard"],
]


def tokenized(captions):
    all_of = {i: [{"caption": text} for text in texts] for i, texts in enumerate(captions)}
    return PTBTokenizer().tokenize(all_of)


def normal(text):
    return " ".join(re.sub(r"[^\w\s']", "", text.lower()).split())


def main():
    said = tokenized([[row[0] or "..."] for row in PICTURES])
    people = tokenized([row[1:] for row in PICTURES])
    scorers = {"bleu": Bleu(4), "cider": Cider(), "rouge": Rouge()}
    figures = {name: scorer.compute_score(people, said) for name, scorer in scorers.items()}
    pictures = [
        {
            "candidate": row[0],
            "references": row[1:],
            "words": people[i],
            "cider": float(figures["cider"][1][i]),
            "rouge": float(figures["rouge"][1][i]),
        }
        for i, row in enumerate(PICTURES)
    ]
    corpus = {name: [float(x) for x in (score if name == "bleu" else [score])] for name, (score, _) in figures.items()}
    words = [[text, tokens[0]] for text, tokens in zip(WORDS, tokenized([[text] for text in WORDS]).values())]
    speech = []
    for got, wanted in SPEECH:
        pair = {"reference": normal(wanted), "hypothesis": normal(got)}
        speech.append([got, wanted, jiwer.wer(**pair), jiwer.cer(**pair)])
    HERE.mkdir(parents=True, exist_ok=True)
    cases = {"pictures": pictures, "corpus": corpus, "words": words, "speech": speech}
    (HERE / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
