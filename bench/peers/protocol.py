"""How a peer is measured: it warms up, says that it is ready, then works once a line of input.

`cargo xtask bench` writes one line at a time to both sides in turn. By hand:

    yes | head | runs/peers/bin/python bench/peers/torch_step.py
"""

import json
import os
import pathlib
import sys
import time

PEERS = pathlib.Path(__file__).resolve().parents[2] / "runs/peers"
WARM_UPS = 2


def compiled(model):
    """A torch model, compiled: faster, and a minute's work the first time."""
    import torch

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(PEERS / "compiled"))
    return torch.compile(model)


def serve(name, work, prepare=lambda: None, facts=dict):
    """Runs `prepare(); work()` once a line; only `work` is timed. `facts()` describes what ran."""
    for _ in range(WARM_UPS):
        prepare()
        work()
    print(json.dumps({"ready": name, **facts()}), flush=True)
    for _ in sys.stdin:
        prepare()
        start = time.perf_counter()
        work()
        print(json.dumps({"ms": 1e3 * (time.perf_counter() - start)}), flush=True)
