"""Runs the groups of attacks and says what each came to; the closing line counts them."""

import argparse
import sys
import time

import bodies
import broker
import files
import filters
import posts
import sql
import tensors
import web
from harness import Failed, Setup

GROUPS = {
    "filters": filters.group,
    "sql": sql.group,
    "bodies": bodies.group,
    "tensors": tensors.group,
    "connections": web.connections,
    "sites": web.sites,
    "broker": broker.group,
    "records": broker.records,
    "posts": posts.group,
    "store": files.store,
    "sources": files.sources,
}


def run(name, group, setup):
    """Runs one group; each attack is a pair of a name and a function, and `after` looks whether all is well."""
    passed, failed = 0, []
    started = time.monotonic()
    print(f"-- {name}", flush=True)
    scene = group(setup)
    try:
        scene.start()
        for attack, act in scene.attacks():
            began = time.monotonic()
            try:
                said = act() or ""
                scene.after()
                passed += 1
                print(f"   ok   {attack} ({time.monotonic() - began:.1f} s) {said}", flush=True)
            except Exception as error:  # whatever went wrong is this attack's finding
                failed.append(attack)
                what = error if isinstance(error, Failed) else repr(error)
                print(f"   FAIL {attack} ({time.monotonic() - began:.1f} s): {what}", flush=True)
                scene.recover()
        try:
            print(f"   ok   SIGTERM: {scene.stop():.1f} s, peak {scene.peak() >> 20} MiB", flush=True)
            passed += 1
        except Failed as error:
            failed.append("SIGTERM")
            print(f"   FAIL SIGTERM: {error}", flush=True)
    except Failed as error:
        failed.append("start")
        print(f"   FAIL start: {error}", flush=True)
    finally:
        scene.kill()
    print(f"   {name}: {time.monotonic() - started:.0f} s", flush=True)
    return passed, failed


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--work", required=True)
    arguments.add_argument("--cgroup", default="")
    arguments.add_argument("--limit", type=int, required=True)
    arguments.add_argument("groups", nargs="*", choices=[[], *GROUPS], default=[])
    given = arguments.parse_args()
    setup = Setup(given.binary, given.work, given.cgroup, given.limit)
    passed, failed = 0, []
    for name in given.groups or GROUPS:
        good, bad = run(name, GROUPS[name], setup)
        passed += good
        failed += [f"{name}: {attack}" for attack in bad]
    for attack in failed:
        print(f"failed: {attack}")
    print(f"hostile: {passed} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
