"""watch.py FOLDER COMMAND…: runs it; wall seconds, and of all its processes and of those that were started from FOLDER (a cluster's, where there is one) the seconds of
the processor and the most memory at once (resident, a sample every 0.2 s), as one line of JSON."""
import json
import os
import subprocess
import sys
import time

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def processes():
    """By its number: its parent, the seconds of the processor with those of its children that ended, and its memory."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue
        cpu = sum(map(int, fields[11:15])) / TICKS
        found[int(pid)] = (int(fields[1]), cpu, int(fields[21]) * PAGE, line)
    return found


def family(found, roots):
    """The roots that are there, and all below them."""
    children = {}
    for pid, (parent, *_) in found.items():
        children.setdefault(parent, []).append(pid)
    members, waiting = set(), [pid for pid in roots if pid in found]
    while waiting:
        pid = waiting.pop()
        if pid not in members:
            members.add(pid)
            waiting.extend(children.get(pid, []))
    return members


def main():
    folder, command = os.fsencode(sys.argv[1]) + b"/", sys.argv[2:]
    began = {pid for pid, (_, _, _, line) in processes().items() if folder in line}
    before = {pid: cpu for pid, (_, cpu, _, _) in processes().items() if pid in began}
    start, peak = time.monotonic(), 0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while child.poll() is None:
        found = processes()
        members = family(found, began | {child.pid})
        peak = max(peak, sum(found[pid][2] for pid in members))
        time.sleep(0.2)
    wall = time.monotonic() - start
    # An executor ends with its job, and then counts with its worker.
    until = time.monotonic() + 60
    while True:
        found = processes()
        running = [pid for pid in family(found, began) if b"CoarseGrainedExecutorBackend" in found[pid][3]]
        if not running:
            break
        if time.monotonic() > until:
            sys.exit(f"executors still run: {running}")
        time.sleep(0.2)
    cluster = sum(found[pid][1] - before[pid] for pid in before if pid in found)
    own = os.times()
    if child.returncode:
        sys.exit(child.returncode)
    print(json.dumps({"wall_s": wall, "cpu_s": own.children_user + own.children_system + cluster, "peak_mib": peak / 2**20}))


main()
