"""Captions of the photographs that recipes/photo learns from, as `kind = "captions"` reads them.

    python reference/photo.py flickr8k data/flickr8k > data/photo/flickr8k.json
    python reference/photo.py clothing data/shop/clothing > data/photo/clothing.json
    python reference/photo.py groceries data/shop/grocery > data/photo/groceries.json
    python reference/photo.py drawings data/icons > data/photo/drawings.json

Flickr8k (Hodosh et al. 2013) is for research only: neither photographs nor weights that have seen them are
published. The others may be trained on and passed on: clothing (CC0) and groceries (MIT) with captions made
of their labels, each frame saying no more than the label does, groceries also with the first sentence of
their description, and Noto's and Fluent's drawings (Apache-2.0, MIT) with emojibase's names (MIT).
"""

import csv
import json
import re
import sys
from pathlib import Path
from random import Random

FRAMES = ("a photo of {}", "a picture of {}", "this is {}", "the photo shows {}", "{}")
DRAWN = ("a drawing of {}", "an icon of {}", "this is a drawing of {}")
ARTICLES = {"outwear": "outerwear", "pants": "a pair of pants", "shorts": "a pair of shorts",
            "shoes": "a pair of shoes", "longsleeve": "a longsleeve"}
PARTS = {"validation": "val"}


def an(name):
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def entry(path, split, captions):
    return {"filename": path, "split": split, "sentences": [{"raw": caption} for caption in captions]}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def flickr8k(folder):
    captions = {}
    # Only Flickr's own names: a common copy has pictures of somebody's parakeets among them.
    official = re.compile(r"\d+_[0-9a-f]+\.jpg")
    for line in (folder / "Flickr8k.token.txt").read_text().splitlines():
        name, text = line.split("\t", 1)
        captions.setdefault(name.split("#")[0], []).append(text)
    for part, split in (("train", "train"), ("dev", "val"), ("test", "test")):
        for name in (folder / f"Flickr_8k.{part}Images.txt").read_text().split():
            if official.fullmatch(name):
                yield entry(name, split, captions[name])


def clothing(folder):
    for row in rows(folder / "metadata.csv"):
        label = row["label"]
        child = "a child's " if row["kids"] == "True" and label not in ARTICLES else ""
        named = child + label if child else ARTICLES.get(label, an(label))
        yield entry(row['file'], PARTS.get(row["split"], row["split"]),
                    [frame.format(named) for frame in FRAMES])


def groceries(folder):
    classes = {row["class_id"]: row for row in rows(folder / "classes.csv")}

    def captions(of):
        name, coarse = of["class_name"].replace("-", " ").lower(), of["coarse_name"].replace("-", " ").lower()
        named = name if coarse in name else f"{name}, {an(coarse)}"
        first = of["description"].split(". ")[0].rstrip(".")
        return [*(frame.format(named) for frame in FRAMES[1:]), first.lower()]

    for row in rows(folder / "metadata.csv"):
        yield entry(row['file'], row["split"], captions(classes[row["class_id"]]))
    for of in classes.values():
        yield entry(of['icon'], "train", captions(of))


def drawings(folder):
    for row in json.loads((folder / "emojibase" / "data.json").read_text()):
        # Flags, symbols, faces and people with their variants say little of what photographs show.
        if row.get("group") not in (3, 4, 5, 7):
            continue
        for style, end in (("noto", "png"), ("fluent", "webp")):
            file = folder / style / f"{row['hexcode'].lower()}.{end}"
            if file.exists():
                frame = Random(f"{style} {row['hexcode']}").choice(DRAWN)
                yield entry(f"{style}/{file.name}", "train", [frame.format(an(row["label"].lower()))])


SETS = {"flickr8k": flickr8k, "clothing": clothing, "groceries": groceries, "drawings": drawings}


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    json.dump({"images": list(SETS[name](Path(folder)))}, sys.stdout)
