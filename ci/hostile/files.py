"""Files that somebody else wrote: of the store that is served, and of the source that is replayed."""

import gzip
import json
import os
import shutil
import struct
import subprocess
import time

from harness import Failed, Server, free_port, require
from kafka import gzip_of_zeros
from scene import SHOP, Shop


class Folder(Shop):
    """A trained store, of which each attack damages a copy and serves it."""

    def __init__(self, setup, attacks):
        super().__init__(setup, attacks, [])

    def start(self):
        super().start()
        self.server.stop()

    def after(self):
        pass

    def recover(self):
        self.kill()

    def stop(self):
        return 0.0

    def serve(self, damage, honest, expected_of_cost=(200, 404, 503)):
        work = self.setup.work
        store, file = work / "bad-store", work / "bad.toml"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(work / "shop-store", store)
        damage(store)
        port = free_port()
        file.write_text(SHOP.format(port=port, broker=free_port()).replace("shop-store", "bad-store"))
        (work / "bad.log").unlink(missing_ok=True)
        self.server = Server(self.setup, ["serve", file.name], work / "bad.log")
        self.server.start()
        try:
            self.server.wait_ready(port)
            self.server.check_alive(honest)
            # As a client that asks the damaged model, or SQL, would see it.
            for path in ["/v1/models/cost/predict?volume=3&rating=4", "/v1/models/cost", "/v1/models/cost/versions/1", "/v1/batches", "/v1/status"]:
                status, _, said = self.server.get(path, seconds=5)
                require(status in expected_of_cost, f"GET {path}: {status} {said[:200]}")
            log = self.server.tail(100_000)
            require("panicked" not in log, "a panic: " + log[max(0, log.find("panicked") - 200) :][:500])
            return f"SIGTERM {self.server.stop():.1f} s"
        finally:
            self.server.kill()


OTHERS = [("/v1/models/alike/similar/1", (200,)), ("/v1/models/taste/estimate/1/1", (200, 404)), ("/v1/models/near/similar/1", (200,))]


def edit(change, model="cost", version=None):
    """Changes `model.json` of a model's versions."""

    def damage(store):
        # Beside the versions lie the measures on `common`.
        for folder in sorted(folder for folder in (store / "models" / model).iterdir() if folder.name.isdigit()):
            path = folder / "model.json"
            content = json.loads(path.read_text())
            change(content, folder)
            path.write_text(json.dumps(content))

    return damage


def set_everywhere(content, key, value):
    """Sets a key wherever it occurs; True when it did."""
    found = False
    if isinstance(content, dict):
        for name in content:
            if name == key:
                content[name], found = value, True
            else:
                found |= set_everywhere(content[name], key, value)
    elif isinstance(content, list):
        for each in content:
            found |= set_everywhere(each, key, value)
    return found


def replaced_text(content, old, new):
    """Replaces texts that are equal to `old`."""
    if isinstance(content, dict):
        return {name: replaced_text(each, old, new) for name, each in content.items()}
    if isinstance(content, list):
        return [replaced_text(each, old, new) for each in content]
    return new if content == old else content


def file_becomes(name):
    def change(content, folder):
        require(set_everywhere(content, "file", name), "model.json names no file")

    return edit(change)


def expression_becomes(text):
    def change(content, folder):
        new = replaced_text(content, "volume + 0.5", text)
        require(new != content, "model.json names no feature")
        content.clear()
        content.update(new)

    return edit(change)


def arrays_become(data):
    def damage(store):
        for path in (store / "models" / "cost").glob("*/*.safetensors"):
            path.unlink()
            data(path)

    return damage


def write(content):
    return lambda path: path.write_bytes(content)


def model_file_becomes(data):
    def damage(store):
        for path in (store / "models" / "cost").glob("*/model.json"):
            path.unlink()
            data(path)

    return damage


def store_attacks(scene):
    serve = lambda damage, honest=OTHERS: lambda: scene.serve(damage, honest)
    for name in ["/dev/zero", "/etc/passwd", "../../../../../../etc/passwd", "../000001/model.safetensors", "", ".", "a" * 5000, "nul\x00"]:
        yield f"arrays at {name[:30]!r}", serve(file_becomes(name))
    links = {
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a FIFO": lambda path: os.mkfifo(path),
        "a folder": lambda path: path.mkdir(),
        "nothing": lambda path: None,
        "an empty file": write(b""),
        "a head of 2^60 bytes": write(struct.pack("<Q", 2**60) + b"{}"),
        "a head of 90 MB": write(struct.pack("<Q", 90_000_000) + b" " * 90_000_000),
        "arrays of 2^60 numbers": write(struct.pack("<Q", 74) + b'{"coefficients":{"dtype":"F64","shape":[1152921504606846976],"data_offsets":[0,8]}}'.ljust(74)[:74] + bytes(8)),
        "a sparse file of 1 TB": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
    }
    for name, make in links.items():
        yield f"arrays are {name}", serve(arrays_become(make))
    for name, make in links.items():
        yield f"model.json is {name}", serve(model_file_becomes(make))
    texts = {
        "a sum of 5,000": " + ".join(["volume"] * 5000),
        "60 nested casts": "cast(" * 60 + "volume" + " as int)" * 60,
        "30 nested coalesce": "coalesce(" * 30 + "volume" + ", 2)" * 30,
        "repeat": "length(repeat('x', 2000000000))",
        "5,000 parentheses": "(" * 5000 + "volume" + ")" * 5000,
        "a subquery": "(select 1)",
        "30 nested case": "case when volume > 1 then " * 30 + "1" + " else 2 end" * 30,
    }
    for name, text in texts.items():
        yield f"a feature is {name}", serve(expression_becomes(text))
    yield "model.json of 100 MB", serve(model_file_becomes(write(b'{"format":1,"x":"' + b"y" * 100_000_000 + b'"}')))
    yield "model.json nested", serve(model_file_becomes(write(b'{"a":' * 100_000)))
    yield "model.json of a format to come", serve(edit(lambda content, folder: content.update(format=99)))
    yield "model.json without rows", serve(edit(lambda content, folder: [content.pop(key, None) for key in list(content)[3:6]]))
    yield "numbers of model.json beyond u64", serve(edit(lambda content, folder: set_everywhere(content, "rows", 10**30)))
    # A damaged batch: models answer all the same, and SQL does not lie.
    yield "a flipped byte in a part", lambda: scene.serve(flip_part, OTHERS) and sql_does_not_lie(scene)
    for field, value in [("rows", 2**64 - 1), ("rows", -1), ("rows", 1), ("end_offset", 2**63 - 1), ("first_offset", 10**9), ("rejects", 2**63)]:
        yield f"a manifest's {field} is {value}", lambda field=field, value=value: scene.serve(
            manifest_becomes(field, value), OTHERS, (200, 404, 422, 503)
        )
    yield "a manifest is empty", serve(lambda store: [path.write_bytes(b"") for path in store.glob("batches/*/_manifest-*")], [])
    yield "a cut is noise", serve(lambda store: [path.write_bytes(b"\xff" * 100) for path in store.glob("batches/*/_cut.json")], [])


def flip_part(store):
    path = sorted(store.glob("batches/*/part-*"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def manifest_becomes(field, value):
    def damage(store):
        path = sorted(store.glob("batches/*/_manifest-*"))[0]
        content = json.loads(path.read_text())
        content[field] = value
        path.write_text(json.dumps(content))

    return damage


def sql_does_not_lie(scene):
    """The command, over the store with the flipped byte: an error that names the file."""
    command = [scene.setup.binary, "query", "bad.toml", "select count(*), sum(price), max(overview) from batches"]
    done = subprocess.run(command, cwd=scene.setup.work, capture_output=True, text=True, timeout=60)
    require(done.returncode == 1, f"query ends with {done.returncode}: {done.stdout[:200]}")
    require("part-" in done.stderr, f"the error names no file: {done.stderr[-400:]}")
    return done.stderr.strip()[-160:]


def store(setup):
    return Folder(setup, store_attacks)


class Files(Folder):
    def start(self):
        pass

    def peak(self):
        return self.highest

    def kill(self):
        pass

    def replay(self, make, name, keys="", seconds=90, stop_after=None):
        work = self.setup.work
        for old in ["source-store", "source-topic"]:
            shutil.rmtree(work / old, ignore_errors=True)
        path = work / name
        make(path)
        file = work / "source.toml"
        file.write_text(
            f'name = "source"\nsource.path = "{name}"\nbatch.rows = 1000\nstore.url = "file:source-store"\nstream.data = "source-topic"\n'
            f'serve.listen = "127.0.0.1:0"\nstream.listen = "127.0.0.1:0"\n{keys}'
        )
        server = Server(self.setup, ["run", file.name, "--exit-when-done"], work / "source.log")
        (work / "source.log").unlink(missing_ok=True)
        server.start()
        try:
            if stop_after:
                time.sleep(stop_after)
                require(server.process.poll() is None, f"it ended early with {server.process.returncode}: {server.tail()}")
                return f"SIGTERM {server.stop():.1f} s"
            try:
                code = server.process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"not ended after {seconds} s: {server.tail(400)}") from error
            said = server.tail(100_000)
            require(code in (0, 1, 78), f"ended with {code}: {said[-400:]}")
            require("panicked" not in said, f"a panic: {said[-600:]}")
            require(server.peak < self.setup.limit, f"memory reached {server.peak >> 20} MiB")
            return f"{code}, peak {server.peak >> 20} MiB: {said.splitlines()[-1][:110] if said else ''}"
        finally:
            self.highest = max(self.highest, server.peak)
            server.kill()
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def zstd_of_zeros(total):
    """A frame of RLE blocks, 4 bytes for each 128 KiB."""
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\x00"
    last = struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + b"\x00"
    return struct.pack("<I", 0xFD2FB528) + b"\x00\x38" + block * (total // (128 << 10) - 1) + last


def lines(*parts):
    """Writes pieces, each a text or a pair of a text and how often."""

    def make(path):
        with open(path, "wb") as file:
            for part in parts:
                text, times = part if isinstance(part, tuple) else (part, 1)
                piece = text * min(times, max(1, (1 << 20) // len(text)))
                for _ in range(times // (len(piece) // len(text))):
                    file.write(piece)

    return make


def source_attacks(scene):
    names = lambda count: b",".join(b"c%d" % n for n in range(count)) + b"\n"
    ones = lambda count: b",".join([b"1"] * count) + b"\n"
    replay = scene.replay
    yield "csv of 100,000 columns", lambda: replay(lines(names(100_000), ones(100_000) * 20), "wide.csv")
    yield "a row of 1,000,000 fields", lambda: replay(lines(b"a,b\n1,2\n", ones(1_000_000), b"3,4\n"), "long.csv")
    yield "a line of 1 GB", lambda: replay(lines(b"a,b\n1,2\n", (b"x" * 1024, 1 << 20), b"\n3,4\n"), "line.csv")
    yield "a quote without end, 1 GB", lambda: replay(lines(b'a,b\n1,"', (b"x,y\n" * 256, 1 << 20)), "quote.csv")
    yield "a header of 200 MB", lambda: replay(lines((b"x" * 1024, 200 << 10), b"\n1\n"), "header.csv")
    yield "a gzip of 8 GB of zeros", lambda: replay(write_(gzip_of_zeros(b"a,b\n1,2\n", 8 << 30)), "zeros.csv.gz")
    yield "a zstd of 32 GB of zeros", lambda: replay(write_(zstd_of_zeros(32 << 30)), "zeros.csv.zst")
    yield "a gzip in a gzip", lambda: replay(write_(gzip.compress(gzip_of_zeros(b"a\n", 1 << 30))), "twice.csv.gz")
    yield "half a gzip", lambda: replay(write_(gzip.compress(b"a,b\n" + b"1,2\n" * 9999)[:-20]), "half.csv.gz")
    yield "jsonl nested", lambda: replay(lines(b'{"a":1}\n', b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"\n"), "deep.jsonl")
    yield "jsonl of a line of 1 GB", lambda: replay(lines(b'{"a":1}\n{"a":"', (b"x" * 1024, 1 << 20), b'"}\n'), "line.jsonl")
    yield "jsonl of 200,000 keys", lambda: replay(lines(b"{" + b",".join(b'"k%d":1' % n for n in range(200_000)) + b"}\n"), "keys.jsonl")
    yield "jsonl whose keys are ever new", lambda: replay(
        lambda path: path.write_bytes(b"\n".join(b'{"k%d":1}' % n for n in range(100_000))), "new.jsonl"
    )
    yield "noise as Parquet", lambda: replay(write_(b"PAR1" + bytes(range(256)) * 40 + b"PAR1"), "noise.parquet")
    yield "a Parquet with a foot of 2 GB", lambda: replay(write_(b"PAR1" + bytes(100) + struct.pack("<I", 2**31 - 1) + b"PAR1"), "foot.parquet")
    yield "no text at all", lambda: replay(write_(bytes(range(256)) * 4000), "noise.csv")
    yield "an empty file", lambda: replay(write_(b""), "empty.csv")
    yield "/dev/zero", lambda: replay(lambda path: path.symlink_to("/dev/zero"), "zero.csv")
    yield "a folder", lambda: replay(lambda path: path.mkdir(), "folder.csv")
    yield "a FIFO that nobody writes, SIGTERM", lambda: replay(os.mkfifo, "fifo.csv", stop_after=2)
    yield "a long first pass, SIGTERM", lambda: replay(lines(b"a,b\n", (b"1,2\n" * 256, 1 << 20)), "count.csv", stop_after=1)
    yield "a long sort, SIGTERM", lambda: replay(lines(b"a,b\n", (b"1,2\n" * 256, 1 << 20)), "sort.csv", 'source.order_by = "a"\n', stop_after=4)


def write_(content):
    return lambda path: path.write_bytes(content)


def sources(setup):
    return Files(setup, source_attacks)
