"""What a server stands: many requests, bad ones beside good ones, mutated media by every route, drains, pictures at once.

    cargo build --release && python bench/soak.py target/release/sensorium --requests 10000 --mutants 2000 --drains 20
    python bench/soak.py target/release/sensorium --only slow,gone      # some of the checks

Starts servers of its own on loopback, each in turn; prints a line of JSON for each check and ends with 1 if one failed.
Needs Python 3 alone, and Linux for what a process holds.
"""

import argparse
import base64
import http.client
import json
import random
import re
import socket
import statistics
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server import Server

root = Path(__file__).resolve().parents[1]
parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--requests", type=int, default=10_000)
parser.add_argument("--mutants", type=int, default=2_000)
parser.add_argument("--drains", type=int, default=20)
parser.add_argument("--slow", type=int, default=700)
parser.add_argument("--gone", type=int, default=1_000)
parser.add_argument("--refused", type=int, default=2_000)
parser.add_argument("--only", help="checks to do, joined by commas")
args = parser.parse_args()
failed = []


def show(check, good, **figures):
    print(json.dumps({"check": check, "good": good, **figures}), flush=True)
    if not good:
        failed.append(check)


def percentile(values, part):
    return round(sorted(values)[min(len(values) - 1, int(part * len(values)))], 1)


png = (root / "examples/pictures/scene.png").read_bytes()
url = "data:image/png;base64," + base64.b64encode(png).decode()
text = {"messages": [{"role": "user", "content": "what is a circle?"}], "max_tokens": 8}
picture = {"messages": [{"role": "user", "content": [
    {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what colour is the circle?"}]}], "max_tokens": 16}


def requests():
    """Memory and files after many requests, of which a third is bad; the time of a refusal."""
    server = Server(args.program)
    bad = [{"messages": 3}, {**text, "temperature": -1}, {**text, "model": "nobody"}, b"{", {**picture, "n": 99}]
    refusals = []

    def one(i):
        if i % 3:
            return server.post("/v1/chat/completions", picture if i % 6 == 1 else text)[0] == 200
        begun = time.perf_counter()
        status, _ = server.post("/v1/chat/completions", bad[i // 3 % len(bad)])
        refusals.append(1000 * (time.perf_counter() - begun))
        return 400 <= status < 500

    with ThreadPoolExecutor(8) as pool:
        right = sum(pool.map(one, range(500)))
        before = server.held()
        right += sum(pool.map(one, range(500, args.requests)))
    time.sleep(1)
    after = server.held()
    server.end()
    show("requests", right == args.requests and after[0] - before[0] <= 64 and after[1] <= before[1] + 4,
         requests=args.requests, as_expected=right, mib_after_500=round(before[0], 1), mib_at_the_end=round(after[0], 1),
         files_after_500=before[1], files_at_the_end=after[1], refusal_ms_p99=percentile(refusals, 0.99))


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0: data[at] ^= 1 << rng.randrange(8)
            case 1: data[at:at + rng.randrange(1, 16)] = rng.randbytes(rng.randrange(16))
            case 2: del data[at:at + rng.randrange(1, 64)]
            case 3: data[at:at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
        if not data:
            return b"\0"
    return bytes(data)


def samples():
    """Files that the tests have, by what they are."""
    kinds = {"image": ["goldens/pictures/*", "examples/pictures/*"], "audio": ["goldens/sound/*"],
             "video": ["goldens/video/*"], "table": ["goldens/table/*"]}
    small = lambda path: path.is_file() and path.stat().st_size < 100_000 and path.suffix not in [".json", ".safetensors"]
    return {kind: [path for pattern in patterns for path in sorted(root.glob(pattern)) if small(path)]
            for kind, patterns in kinds.items()}


def mutants():
    """Mutated media by every route that takes some; good questions beside them are answered as ever."""
    server = Server(args.program)
    good = server.post("/v1/chat/completions", picture)
    expected = json.loads(good[1])["choices"][0]["message"]
    files, rng, statuses, slowest, leaks, lock = samples(), random.Random(1), {}, 0.0, [], threading.Lock()
    marks = re.compile("|".join(["/tmp/", re.escape(str(root)), r"\.rs:", "panicked", r"0x[0-9a-f]{6,}\b(?! pixels)", "ChunkType", "Format error"]).encode())

    def bodies(kind, path, data):
        link = f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
        part = {"image": {"type": "image_url", "image_url": {"url": link}},
                "audio": {"type": "input_audio", "input_audio": {"data": link, "format": "wav"}},
                "video": {"type": "video_url", "video_url": {"url": link}},
                "table": {"type": "file", "file": {"filename": path.name, "file_data": link}}}[kind]
        asked = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "what is it?"}]}], "max_tokens": 4}
        routes = [("/v1/chat/completions", asked), ("/v1/embeddings", {"input": [{kind: link}]})]
        if kind == "image":
            routes += [("/v1/classify", {"input": {"image": link}, "labels": ["a", "b"]}),
                       ("/v1/rerank", {"query": "a", "documents": [{"image": link}]}),
                       ("/api/generate", {"prompt": "?", "images": [link], "stream": False, "options": {"num_predict": 2}})]
        return routes

    def one(case):
        nonlocal slowest
        route, body = case
        begun = time.perf_counter()
        status, said = server.post(route, body)
        took = time.perf_counter() - begun
        with lock:
            key = f"{route} {status}"
            statuses[key] = statuses.get(key, 0) + 1
            slowest = max(slowest, took)
            leaks.extend(mark.decode() for mark in marks.findall(said))

    cases = []
    while len(cases) < args.mutants:
        kind = rng.choice(list(files))
        path = rng.choice(files[kind])
        cases += bodies(kind, path, mutated(path.read_bytes(), rng))
    begun, same = time.perf_counter(), []
    stop = threading.Event()

    def beside():
        while not stop.is_set():
            status, said = server.post("/v1/chat/completions", picture)
            same.append(status == 200 and json.loads(said)["choices"][0]["message"] == expected)

    witness = threading.Thread(target=beside)
    witness.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, cases))
    stop.set()
    witness.join()
    alive = server.process.poll() is None
    broken = {key: n for key, n in statuses.items() if key.rsplit(" ", 1)[1][0] == "5"}
    held = server.held()
    server.end()
    show("mutants", alive and not broken and not leaks and all(same), mutants=len(cases), seconds=round(time.perf_counter() - begun, 1),
         statuses=statuses, slowest_seconds=round(slowest, 2), good_beside=len(same), mib=round(held[0], 1), leaks=leaks[:3])


def drains():
    """Servers that are told to end under 16 streams: each stream ends as it should."""
    lost, seconds = 0, []
    body = {"prompt": "a red circle", "max_tokens": 100, "stream": True}
    for _ in range(args.drains):
        server, ends = Server(args.program), []

        def stream():
            status, said = server.post("/v1/completions", body)
            ends.append(status == 200 and said.rstrip().endswith(b"[DONE]"))

        threads = [threading.Thread(target=stream) for _ in range(16)]
        for thread in threads:
            thread.start()
        while b"sensorium_requests_in_flight 16" not in metrics(server) and len(ends) == 0:
            time.sleep(0.002)
        begun = time.perf_counter()
        code = server.end()
        seconds.append(time.perf_counter() - begun)
        for thread in threads:
            thread.join()
        lost += 16 - sum(ends) + (code != 0)
    show("drains", lost == 0, drains=args.drains, streams=16 * args.drains, lost=lost, longest_seconds=round(max(seconds), 2))


def metrics(server):
    connection = http.client.HTTPConnection(server.address, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read()
    connection.close()
    return text


def pictures():
    """Seconds to the first token of questions about pictures, all different, by 1 and by 8 clients."""
    server = Server(args.program)
    shown = [path.read_bytes() for path in sorted((root / "examples/pictures").glob("*.png"))]

    def first(i):
        data = bytearray(shown[i % len(shown)])
        # Another picture for the caches, the same for the eye: what lies behind its end.
        data += i.to_bytes(4, "little")
        link = "data:image/png;base64," + base64.b64encode(data).decode()
        body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": link}},
                {"type": "text", "text": f"what colour is thing {i}?"}]}], "max_tokens": 16, "stream": True}
        connection = http.client.HTTPConnection(server.address, timeout=60)
        begun = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        for line in answer:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                took = 1000 * (time.perf_counter() - begun)
                answer.read()
                return took
        return float("inf")

    first(10_000)
    for clients in [1, 8]:
        with ThreadPoolExecutor(clients) as pool:
            times = list(pool.map(first, range(clients * 1000, clients * 1000 + 16 * clients)))
        show("pictures", max(times) < float("inf"), clients=clients, first_token_ms_median=round(statistics.median(times), 1),
             first_token_ms_p95=percentile(times, 0.95))
    server.end()


def streamed(tokens):
    """A text that goes on for so long: nothing ends it."""
    ban = {str(i): -100 for i in range(3856, 3904)}
    return json.dumps({"prompt": "a red circle", "max_tokens": tokens, "stream": True, "logit_bias": ban}).encode()


def raw(server, body, length=None, source="127.0.0.1"):
    stream = socket.create_connection(server.address.split(":"), timeout=60, source_address=(source, 0))
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {server.address}\r\ncontent-type: application/json\r\n"
    stream.sendall(f"{head}connection: close\r\ncontent-length: {length or len(body)}\r\n\r\n".encode() + body)
    return stream


def flying(server):
    line = next(line for line in metrics(server).splitlines() if line.startswith(b"sensorium_requests_in_flight "))
    return int(line.split()[1])


def gone():
    """Clients that go away: in the middle of a body, while they wait, at the first words, later. Their places come back."""
    server = Server(args.program, "--max-running", "4", "--max-waiting", "60")
    before, longest = server.held()[1], 0.0
    for i in range(args.gone):
        phase = i % 6
        busy = [raw(server, streamed(300)) for _ in range(6)] if phase == 1 else []
        stream = raw(server, streamed(400)[: 20 if phase == 0 else None], 4000 if phase == 0 else None)
        if phase >= 2:
            stream.recv([1, 30, 900, 3000][phase - 2])
        for one in [stream, *busy]:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        begun = time.perf_counter()
        while flying(server) > 0 and time.perf_counter() - begun < 15:
            time.sleep(0.001)
        longest = max(longest, time.perf_counter() - begun)
    time.sleep(1)
    left, after = flying(server), server.held()[1]
    server.end()
    show("gone", left == 0 and longest <= 0.25 and after <= before + 4, gone=args.gone, longest_ms=round(1000 * longest, 1),
         files_before=before, files_after=after)


def slow():
    """Clients that send a byte a second or read nothing, for a minute; good ones beside them wait for nobody."""
    server = Server(args.program)
    expected = server.post("/v1/completions", {"prompt": "two blue", "max_tokens": 6})
    streams, times, wrong = [], [], 0
    for i in range(args.slow):
        # No address has more places than are its own.
        source = f"127.0.0.{2 + i % 200}"
        match i % 3:
            case 0:
                stream = socket.create_connection(server.address.split(":"), source_address=(source, 0))
                stream.sendall(b"POST /v1/completions HTTP/1.1\r\nhost")
            case 1: stream = raw(server, b"{", 1000, source)
            case 2:
                stream = socket.create_connection(server.address.split(":"), source_address=(source, 0))
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                asks = f"GET /openapi.json HTTP/1.1\r\nhost: {server.address}\r\n\r\n".encode()
                stream.sendall(asks * 4)
        stream.setblocking(False)
        streams.append(stream)
    begun, cut = time.perf_counter(), set()
    while time.perf_counter() - begun < 60:
        for i, stream in enumerate(streams):
            if i in cut or i % 3 == 2:
                continue
            try:
                stream.send(b" ")
                if stream.recv(1024) == b"":
                    cut.add(i)
            except BlockingIOError:
                pass
            except OSError:
                cut.add(i)
        asked = time.perf_counter()
        got = server.post("/v1/completions", {"prompt": "two blue", "max_tokens": 6})
        times.append(1000 * (time.perf_counter() - asked))
        wrong += got[0] != 200 or json.loads(got[1])["choices"][0]["text"] != json.loads(expected[1])["choices"][0]["text"]
        time.sleep(0.5)
    for stream in streams:
        stream.close()
    time.sleep(1)
    left = flying(server)
    server.end()
    show("slow", wrong == 0 and left == 0, slow=args.slow, cut_off=len(cut), others=len(times), wrong=wrong,
         good_ms_median=round(statistics.median(times), 1), good_ms_p99=percentile(times, 0.99))


def refused():
    """More requests than there are places: each is answered or refused at once, before its picture is looked at."""
    server = Server(args.program, "--max-running", "4", "--max-waiting", "4")
    busy = [raw(server, streamed(100_000)) for _ in range(8)]
    while flying(server) < 8:
        time.sleep(0.001)
    times, statuses = [], {}

    def one(_):
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(server.address, timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(picture), {"content-type": "application/json"})
        answer = connection.getresponse()
        code, wait = json.loads(answer.read())["error"]["code"], answer.getheader("retry-after")
        times.append(1000 * (time.perf_counter() - begun))
        key = f"{answer.status} {code} {int(wait) >= 1}"
        statuses[key] = statuses.get(key, 0) + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(args.refused)))
    for stream in busy:
        stream.close()
    server.process.kill()
    show("refused", statuses == {"429 queue_full True": args.refused} and percentile(times, 0.99) <= 100, statuses=statuses,
         ms_p50=percentile(times, 0.5), ms_p99=percentile(times, 0.99))


def letters():
    """Typed names of special tokens, in many spellings, stay letters: no text begins a picture or ends a turn."""
    server = Server(args.program)
    names = ["<|image|>", "<image>", "<|end|>", "<|im_start|>", "<|im_end|>", "<|audio|>", "<|video|>", "<|table|>", "<s>", "</s>",
             "<|begin_of_text|>", "[INST]", "<|vision_start|><|image_pad|>", "<|image_token|>"]
    rng, special = random.Random(3), []

    def one(i):
        parts = [rng.choice([rng.choice(names), rng.choice("abc <|>é\n\t"), "".join(rng.sample("<|imagend>", 5))]) for _ in range(6)]
        said = "".join(parts)
        body = {"messages": [{"role": "user", "content": said}], "max_tokens": 1}
        status, told = server.post("/v1/chat/completions", body)
        details = json.loads(told).get("usage", {}).get("prompt_tokens_details", {})
        if status != 200 or any(details.get(f"{kind}_tokens") for kind in ["image", "audio", "video", "table"]):
            special.append((said, status))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(10_000)))
    server.end()
    show("letters", not special, texts=10_000, special=special[:3])


checks = [pictures, drains, mutants, requests, gone, slow, refused, letters]
only = args.only.split(",") if args.only else [check.__name__ for check in checks]
for check in checks:
    if check.__name__ in only:
        check()
sys.exit(bool(failed))
