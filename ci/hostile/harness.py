"""A server under attack: starts it in its cgroup, watches its memory, and asks it honest questions."""

import http.client
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

START_SECONDS = 30
STOP_SECONDS = 10
HONEST_SECONDS = 1.0
SAMPLE_SECONDS = 0.05


NUMBERS = itertools.count(1900)


class Failed(Exception):
    """What an attack has shown to be wrong."""


def require(condition, message):
    if not condition:
        raise Failed(message)


def processes_of(root):
    """The ids of a process and of all its descendants."""
    children = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        parent = int(text[text.rindex(")") + 2 :].split()[1])
        children.setdefault(parent, []).append(int(entry.parent.name))
    found, open_ = [], [root]
    while open_:
        process = open_.pop()
        found.append(process)
        open_ += children.get(process, [])
    return found


def memory_of(process):
    """Resident bytes that are not a file's pages."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return sum(int(kib) * 1024 for kib in re.findall(r"^(?:RssAnon|RssShmem):\s+(\d+) kB", status, re.M))


class Server:
    def __init__(self, setup, arguments, log):
        self.setup, self.arguments, self.log_path = setup, arguments, log
        self.process, self.peak, self.port, self.broker = None, 0, None, None

    def start(self):
        command = [str(self.setup.binary), *map(str, self.arguments)]
        if self.setup.cgroup:
            join = f'echo $$ >{self.setup.cgroup}/cgroup.procs && exec "$@"'
            command = ["sh", "-c", join, "sh", *command]
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            command, cwd=self.setup.work, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
        )
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        process = self.process
        while process.poll() is None:
            tree = sum(memory_of(each) for each in processes_of(process.pid))
            self.peak = max(self.peak, tree)
            time.sleep(SAMPLE_SECONDS)

    def wait_ready(self, port, path="/readyz"):
        self.port = port
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Failed(f"it ended while starting, with {self.process.returncode}: {self.tail()}")
            try:
                # What is read behind the first answers is there, too.
                if self.get(path)[0] == 200 and (path != "/readyz" or not json.loads(self.get("/v1/status")[2])["loading"]):
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise Failed(f"{path} was not 200 within {START_SECONDS} s: {self.tail()}")

    def tail(self, bytes_=1500):
        text = self.log_path.read_bytes()[-bytes_:]
        return text.decode(errors="replace").strip()

    # Honest requests.

    def request(self, method, path, body=None, headers=None, seconds=HONEST_SECONDS, port=None):
        """Status, headers and body; the connection is closed afterwards."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=seconds)
        try:
            given = dict(headers or {})
            connection.putrequest(method, path, skip_host="host" in given, skip_accept_encoding=True)
            if body is not None:
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                given.setdefault("content-type", "application/json")
                given.setdefault("content-length", str(len(body)))
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(body if body is not None else None)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP answer: {error!r}") from error
        finally:
            connection.close()

    def get(self, path, **given):
        return self.request("GET", path, **given)

    def post(self, path, body, **given):
        return self.request("POST", path, body, **given)

    def check_alive(self, honest):
        """The process lives, /livez and an honest request are answered in time, memory is inside its limit."""
        require(self.process.poll() is None, f"the process ended with {self.process.returncode}: {self.tail()}")
        for path, expected in [("/livez", (200,)), *honest]:
            started, path = time.monotonic(), path.replace("{n}", str(next(NUMBERS)))
            try:
                status = self.get(path)[0]
            except OSError as error:
                raise Failed(f"GET {path}: {error!r} after {time.monotonic() - started:.1f} s") from error
            require(status in expected, f"GET {path}: {status}, expected {expected}")
        require(self.peak < self.setup.limit, f"memory reached {self.peak >> 20} MiB: the limit is {self.setup.limit >> 20}")

    def stop(self):
        """SIGTERM ends it with 0, in time; nothing that it started is left."""
        tree = processes_of(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Failed(f"SIGTERM did not end it within {STOP_SECONDS} s") from error
        took = time.monotonic() - started
        until = time.monotonic() + 2
        left = tree
        while left and time.monotonic() < until:
            left = [each for each in left if pathlib.Path(f"/proc/{each}").exists()]
            time.sleep(0.05)
        require(not left, f"processes are left: {left}")
        require(code == 0, f"SIGTERM ended it with {code}: {self.tail()}")
        return took

    def kill(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Setup:
    """What all groups share."""

    def __init__(self, binary, work, cgroup, limit):
        self.binary, self.work = pathlib.Path(binary).resolve(), pathlib.Path(work)
        self.cgroup, self.limit = cgroup, limit


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Raw:
    """A connection that speaks bytes."""

    def __init__(self, port, seconds=30, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds)
        self.socket.connect(("127.0.0.1", port))

    def send(self, data):
        """True when all of it was taken."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def status(self):
        """Of the answer's first line; None when the connection ended without one."""
        try:
            head = b""
            while b"\r\n" not in head and len(head) < 4096:
                more = self.socket.recv(4096)
                if not more:
                    return None
                head += more
            return int(head.split()[1])
        except (OSError, ValueError, IndexError):
            return None

    def receive(self, bytes_):
        data = b""
        while len(data) < bytes_:
            more = self.socket.recv(min(65536, bytes_ - len(data)))
            if not more:
                raise ConnectionError("the connection ended")
            data += more
        return data

    def close(self):
        self.socket.close()
