"""Sentences as flite's voices say them: what the recipe `talker` learns from.

    python reference/voices.py data/voices --words 6000.txt

Writes data/voices/{train,val}: 16 kHz WAV files and a `metadata.jsonl` with `file_name`, `text`, `voice` and
`phones`, each phone with the second in which it ends, as `flite -psdur` prints them. The sentences are those of
drawn pictures, everyday phrases, and words of a list in sentences that need no sense. `val` holds the same sentences
by every voice; none of them is in `train`.

flite and its voices: Carnegie Mellon University, https://github.com/festvox/flite
"""

import argparse
import json
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VOICES = ["slt", "rms", "awb"]
COLOURS = "red green blue yellow orange purple teal brown gray black white cream pink mint lavender pale".split()
SHAPES = "circle square rectangle triangle star heart cross diamond arrow moon plus disc crescent rhombus".split()
SIZES = "small large medium tiny big".split()
FILLS = ["solid", "outlined", "striped", "filled"]
SIDES = ["left of", "right of", "above", "below", "next to", "near", "to the left of", "to the right of"]
PLACES = ["in the middle", "at the top", "at the bottom", "on the left", "on the right", "in the top left corner",
          "in the bottom right corner", "in the center", "at the top right"]
NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
           "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety").split()
EVERYDAY = """hello, how are you today?|good morning.|good evening, and welcome.|thank you very much.|you are welcome.
see you tomorrow.|i am sorry, i cannot answer that.|i do not know.|yes, that is right.|no, it is not.|please try again.
what is your name?|my name is sensorium.|where are you going?|it is time to go home.|the weather is nice today.
can you help me?|of course, i can help you.|what time is it?|have a good day.|please open the window.
the train leaves at seven.|i would like a cup of coffee.|how much does it cost?|turn left at the next corner.
this is outside what i was trained on.|i was trained on drawings and simple sounds.|could you say that again?
there is nothing in the picture.|i can see it clearly.|happy birthday to you.|nice to meet you.|good night.
hello world.|the quick brown fox jumps over the lazy dog.|how many are there?|what do you see?|describe the picture.
this voice is synthetic.|one moment, please.|let me think about it.|that sounds good.|are you sure?|never mind.""".replace("\n", "|").split("|")
FRAMES = """the {} and the {} are here.|i think the {} was {}.|she said {}, not {}.|do you want {} or {}?
we saw {} in the {}.|they wrote {} {} and {}.|the word is {}.|please say {} again.|he asked about {} and {}.
{}, {}, {}.|my {} has a {}.|when the {} came, the {} went away.|it was {} but also {}.|there were {} {} near the {}.
if you {}, i will {}.|this {} is not {} at all.|every {} needs some {}.|{} is a kind of {}.|nobody knows {} {}.""".replace("\n", "|").split("|")


def number(rng):
    """An integer in words."""
    if rng.random() < 0.5:
        return rng.choice(NUMBERS)
    return f"{rng.choice(NUMBERS[20:])} {rng.choice(NUMBERS[1:10])}"


def thing(rng):
    """A drawn object with its article."""
    words = [w for w, p in ((rng.choice(SIZES), 0.4), (rng.choice(FILLS), 0.3), (rng.choice(COLOURS), 0.9)) if rng.random() < p]
    words.append(rng.choice(SHAPES))
    return ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)


def drawn(rng):
    """What is said of a drawn picture."""
    count = rng.choice(NUMBERS[:13])
    shapes = {"cross": "crosses", "plus": "pluses"}
    plural = lambda s: shapes.get(s, s + "s")
    return rng.choice([
        lambda: f"{thing(rng)} {rng.choice(SIDES)} {thing(rng)}.",
        lambda: f"there is {thing(rng)} {rng.choice(PLACES)}.",
        lambda: f"{thing(rng)}, {thing(rng)} and {thing(rng)}.",
        lambda: f"the picture shows {thing(rng)} on a {rng.choice(COLOURS)} background.",
        lambda: f"{count} {rng.choice(COLOURS)} {plural(rng.choice(SHAPES))}.",
        lambda: f"there are {count} {plural(rng.choice(SHAPES))} {rng.choice(PLACES)}.",
        lambda: f"what colour is the {rng.choice(SHAPES)}?",
        lambda: f"is the {rng.choice(SHAPES)} {rng.choice(SIDES)} the {rng.choice(SHAPES)}?",
        lambda: f"how many {rng.choice(COLOURS)} {plural(rng.choice(SHAPES))} are there?",
        lambda: f"{rng.choice(['yes', 'no'])}, it is {rng.choice(COLOURS)}.",
        lambda: f"the {rng.choice(SHAPES)} is {rng.choice(SIDES)} the {rng.choice(COLOURS)} {rng.choice(SHAPES)}.",
        lambda: f"{number(rng)}.",
        lambda: ", ".join(number(rng) for _ in range(rng.randint(2, 5))) + ".",
        lambda: " ".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 5))) + ".",
        lambda: f"{number(rng)} point {rng.choice(NUMBERS[:10])} percent.",
        lambda: f"a {rng.choice(['low', 'high', 'rising', 'falling'])} tone, {rng.choice(['once', 'twice', 'three times'])}.",
        lambda: f"the {rng.choice(SHAPES)} moves {rng.choice(['left', 'right', 'up', 'down'])}.",
    ])()


def sentence(rng, words):
    kind = rng.random()
    if kind < 0.4:
        return drawn(rng)
    if kind < 0.45:
        return rng.choice(EVERYDAY)
    frame = rng.choice(FRAMES)
    return frame.format(*(rng.choice(words) for _ in range(frame.count("{}"))))


def speak(job):
    """Writes one recording; its row of the table."""
    folder, name, voice, text = job
    wav = folder / f"{name}.wav"
    command = ["flite", "-voice", voice, "-t", text, "-o", wav, "-psdur"]
    phones = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {"file_name": wav.name, "voice": voice, "text": text, "phones": " ".join(phones)}


def write(folder, jobs):
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool, open(folder / "metadata.jsonl", "w") as table:
        for row in pool.map(speak, [(folder, *job) for job in jobs]):
            table.write(json.dumps(row) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", type=Path, required=True, help="a word on each line, the commonest first")
    parser.add_argument("--train", type=int, default=1000, help="sentences of each voice")
    parser.add_argument("--val", type=int, default=100, help="sentences, by every voice")
    options = parser.parse_args()
    words, rng = options.words.read_text().split(), random.Random(1)
    held_out = list(dict.fromkeys(sentence(rng, words) for _ in range(2 * options.val)))[: options.val]
    write(options.out / "val", [(f"{voice}-{i:04}", voice, text) for voice in VOICES for i, text in enumerate(held_out)])
    said = set(held_out)
    train = []
    for voice in VOICES:
        texts = set(EVERYDAY) - said
        while len(texts) < options.train:
            texts |= {sentence(rng, words)} - said
        train += [(f"{voice}-{i:04}", voice, text) for i, text in enumerate(sorted(texts))]
    write(options.out / "train", train)


if __name__ == "__main__":
    main()
