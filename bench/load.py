"""Tokens a second of a server at several numbers of clients, and seconds to the first token.

    sensorium serve --model data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf &
    python bench/load.py http://127.0.0.1:8080 --clients 1,4,16,64 --tokens 64

Works with every server that has OpenAI's /v1/completions: `--peer URL` measures another in turn. Needs Python 3 alone.
"""

import argparse
import json
import statistics
import threading
import time
import urllib.request

WORDS = "the sea at night, a small town, two brothers, an old machine, a winter road, the last letter, a garden, a song".split(", ")


def stream(base, prompt, tokens, out):
    body = {"prompt": prompt, "max_tokens": tokens, "stream": True, "temperature": 0, "seed": 1, "ignore_eos": True}
    request = urllib.request.Request(f"{base}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    begun, first, pieces = time.perf_counter(), None, 0
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if line.startswith(b"data: ") and b"[DONE]" not in line and json.loads(line[6:])["choices"][0]["text"]:
                first = first or time.perf_counter() - begun
                pieces += 1
    out.append((first or 0.0, pieces, time.perf_counter() - begun))


def measure(base, clients, tokens):
    out, begun = [], time.perf_counter()
    prompts = [f"Once upon a time there was {WORDS[i % len(WORDS)]}, and number {i} of" for i in range(clients)]
    threads = [threading.Thread(target=stream, args=(base, prompt, tokens, out)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    assert len(out) == clients, f"{clients - len(out)} of {clients} streams failed"
    return sum(pieces for _, pieces, _ in out) / took, statistics.median(first for first, _, _ in out)


parser = argparse.ArgumentParser()
parser.add_argument("base")
parser.add_argument("--peer")
parser.add_argument("--clients", default="1,4,16,64")
parser.add_argument("--tokens", type=int, default=64)
args = parser.parse_args()
measure(args.base, 1, 8)
for clients in map(int, args.clients.split(",")):
    row = {"clients": clients}
    for name, base in [("ours", args.base), ("peer", args.peer)]:
        if base:
            rate, first = measure(base, clients, args.tokens)
            row |= {f"{name}_tokens_per_second": round(rate, 1), f"{name}_first_token_seconds": round(first, 3)}
    print(json.dumps(row), flush=True)
