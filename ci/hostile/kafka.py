"""As much of the Kafka protocol as it takes to misuse it: requests of early versions, and record batches field by field."""

import struct
import zlib

from harness import Raw

NONE, CORRUPT, UNKNOWN_TOPIC, TOO_LARGE, INVALID_RECORD = 0, 2, 3, 10, 87


def i8(value):
    return struct.pack(">b", value)


def i16(value):
    return struct.pack(">h", value)


def i32(value):
    return struct.pack(">i", value)


def i64(value):
    return struct.pack(">q", value)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return i16(len(data)) + data


def data(value):
    return i32(len(value)) + value


def array(items):
    items = list(items)
    return i32(len(items)) + b"".join(items)


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def crc32c(bytes_):
    crc = 0xFFFFFFFF
    for byte in bytes_:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(value, delta=0, key=None, headers=b"\x00", length=None):
    inside = i8(0) + varint(0) + varint(delta)
    inside += varint(-1) if key is None else varint(len(key)) + key
    inside += (varint(-1) if value is None else varint(len(value)) + value) + headers
    return varint(len(inside) if length is None else length) + inside


def batch(records, count, codec=0, last_delta=None, magic=2, producer=-1, length=None, time=1_700_000_000_000):
    """`records`: the bytes behind the head, compressed already where `codec` says so."""
    last = count - 1 if last_delta is None else last_delta
    checked = i16(codec) + i32(last) + i64(time) + i64(time) + i64(producer) + i16(-1) + i32(-1) + i32(count) + records
    inside = i32(0) + i8(magic) + struct.pack(">I", crc32c(checked)) + checked
    return i64(0) + i32(len(inside) if length is None else length) + inside


def honest(values):
    return batch(b"".join(record(value, delta) for delta, value in enumerate(values)), len(values))


def gzip_of_zeros(prefix, total, suffix=b""):
    """A gzip of `total` zeros between two texts, made in the time of 64 MiB of them."""
    block = bytes(64 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = packer.compress(prefix) + packer.flush(zlib.Z_FULL_FLUSH)
    middle = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    times = total // len(block)
    out += middle * times + packer.compress(suffix) + packer.flush()
    crc = zlib.crc32(prefix)
    for _ in range(times):
        crc = zlib.crc32(block, crc)
    crc = zlib.crc32(suffix, crc)
    size = len(prefix) + times * len(block) + len(suffix)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + out + struct.pack("<II", crc, size & 0xFFFFFFFF)


class Kafka:
    """One connection."""

    def __init__(self, port, seconds=10):
        self.raw = Raw(port, seconds)

    def write(self, key, version, body):
        frame = i16(key) + i16(version) + i32(7) + text("hostile") + body
        return self.raw.send(i32(len(frame)) + frame)

    def answer(self):
        length = struct.unpack(">i", self.raw.receive(4))[0]
        return self.raw.receive(length)[4:]

    def ask(self, key, version, body):
        self.write(key, version, body)
        return self.answer()

    def produce(self, topic, records, partition=0, transaction=None):
        """The error code of the partition."""
        head = i16(-1) if transaction is None else text(transaction)
        body = head + i16(-1) + i32(10_000) + array([text(topic) + array([i32(partition) + data(records)])])
        answer = self.ask(0, 3, body)
        place = 4 + 2 + len(topic) + 4 + 4
        return struct.unpack(">h", answer[place : place + 2])[0]

    def close(self):
        self.raw.close()
