"""A server of ours on loopback, for what measures it."""

import http.client
import json
import signal
import subprocess
from pathlib import Path


def mib(process, field):
    """What a process holds by a field of its status: VmRSS now, VmHWM at the most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


class Server:
    def __init__(self, program, *options):
        command = [program, "serve", "--port", "0", "--quiet", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip().removeprefix("http://")

    def post(self, path, body, timeout=120, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body)
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        connection.request("POST", path, data, {"content-type": kind})
        answer = connection.getresponse()
        told = answer.status, answer.read()
        connection.close()
        return told

    def held(self):
        return mib(self.process, "VmRSS"), len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)
