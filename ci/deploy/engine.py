"""Containers without an engine or an image: each a process in namespaces of its own, with an address, host names, a root, volumes, a user
and process 1 as the yaml says. What is in an image comes from this machine.

To be run in namespaces that end with it (ci/deploy.sh makes them): bridge, addresses and mounts are never seen outside.
"""
import os
import pathlib
import shlex
import signal
import subprocess
import time

NETWORK = "10.231.0."
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Of the machine, read only, as an image has it of its base.
BASE = ["/usr", "/bin", "/sbin", "/lib", "/lib64"]


class Failed(Exception):
    """What is wrong with a file of deploy/."""


def require(condition, message):
    if not condition:
        raise Failed(message)


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def prepare():
    """The network of all scenarios; once."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.makedirs("/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "mill0", "type", "bridge")
    run("ip", "address", "add", NETWORK + "1/24", "dev", "mill0")
    run("ip", "link", "set", "mill0", "up")


class Network:
    """Names and addresses of one scenario's containers."""

    def __init__(self, work):
        self.work = work
        self.hosts = {}
        self.containers = []

    def address(self, name):
        return self.hosts.setdefault(name, NETWORK + str(10 + len(self.hosts)))

    def end(self):
        for container in self.containers:
            container.kill()
            run("ip", "link", "delete", container.link)
            run("ip", "netns", "delete", container.name)


class Container:
    """`mounts`: a path here, one there, and whether it is read only; `programs`: name → path, for /usr/local/bin; `temporary`: a path and how
    a tmpfs is mounted there."""

    def __init__(self, network, name, argv, *, user, environment, mounts=(), programs=None, folders=(), workdir="/", read_only=False,
                 temporary=(), hostname=None):
        self.network, self.name, self.argv, self.user = network, name, argv, user
        self.environment = {"PATH": PATH, "HOME": "/tmp", "HOSTNAME": hostname or name, **environment}
        self.mounts, self.programs, self.folders = mounts, programs or {}, folders
        self.workdir, self.read_only, self.temporary, self.hostname = workdir, read_only, temporary, hostname or name
        self.address = network.address(name)
        self.link = "mill" + self.address.removeprefix(NETWORK)
        self.folder = network.work / name
        self.log = self.folder / "log"
        self.process = self.init = None

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        names = self.network.hosts
        (self.folder / "hosts").write_text(
            "127.0.0.1 localhost\n" + f"{self.address} {self.hostname}\n"
            + "".join(f"{address} {name}\n" for name, address in names.items()))
        uid, gid = self.user
        (self.folder / "passwd").write_text(f"root:x:0:0::/:/bin/sh\nmillstream:x:{uid}:{gid}::/tmp:/usr/sbin/nologin\n")
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", self.link, "master", "mill0", "up")
        run("ip", "-n", self.name, "address", "add", self.address + "/24", "dev", "eth0")
        run("ip", "-n", self.name, "link", "set", "eth0", "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child=SIGKILL",
                 "/bin/bash", "-ec", self._setup(root)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.network.containers.append(self)
        self.network.hosts.setdefault(self.name, self.address)

    def _setup(self, root):
        """Builds the root, and becomes the process."""
        q = shlex.quote
        lines = ["mount --make-rprivate /", f"cd {q(str(root))}", "mount -t tmpfs -o mode=755 tmpfs .", f"cd {q(str(root))}",
                 f"hostname {q(self.hostname)}", "mkdir dev proc tmp var", "chmod 1777 tmp"]
        for path in BASE:
            if os.path.islink(path):
                lines.append(f"ln -s {q(os.readlink(path))} .{path}")
            elif os.path.isdir(path):
                lines.append(f"mkdir .{path}; mount --rbind {path} .{path}; mount -o remount,bind,ro .{path}")
        # Of its own, since files of deploy/ are mounted there.
        lines.append("cp -a /etc .")
        for name in ("hosts", "passwd"):
            lines.append(f"mount --bind {q(str(self.folder / name))} ./etc/{name}")
        lines += ["mount --rbind /dev ./dev", "mount -t proc proc ./proc", "mount -t tmpfs -o mode=755 tmpfs ./usr/local/bin"]
        for name, path in self.programs.items():
            lines.append(f"touch ./usr/local/bin/{name}; mount --bind {q(str(path))} ./usr/local/bin/{name}")
        for folder in self.folders:
            lines.append(f"install -d -o {self.user[0]} -g {self.user[1]} .{folder}")
        for here, there, read_only in self.mounts:
            make = f"mkdir -p .{q(there)}" if os.path.isdir(here) else f"mkdir -p .{q(os.path.dirname(there))}; touch .{q(there)}"
            lines.append(f"{make}; mount --bind {q(str(here))} .{q(there)}")
            if read_only:
                lines.append(f"mount -o remount,bind,ro .{q(there)}")
        for there, options in self.temporary:
            lines.append(f"mkdir -p .{q(there)}; mount -t tmpfs -o {q(options)} tmpfs .{q(there)}")
        if self.read_only:
            lines.append("mount -o remount,ro .")
        return "\n".join([*lines, "exec chroot . " + shlex.join(self._as_user(self.argv))])

    def _as_user(self, argv):
        uid, gid = map(str, self.user)
        bare = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups"]
        if uid != "0":
            bare += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        return [*bare, "env", "-i", "-C", self.workdir, *(f"{key}={value}" for key, value in self.environment.items()), *argv]

    def _child(self):
        if self.init is None:
            pid = self.process.pid
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            require(children, f"{self.name} has ended: {self.tail()}")
            self.init = int(children[0])
        return self.init

    def execute(self, argv, seconds=10):
        """Runs a command in it, as a health check is; its exit code."""
        try:
            entered = ["nsenter", "-t", str(self._child()), "--net", "--mount", "--pid", "--uts", "--root", "--wd=/"]
            return subprocess.run([*entered, *self._as_user(argv)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=seconds, check=False).returncode
        except (subprocess.TimeoutExpired, Failed, OSError):
            return -1

    def tail(self):
        return "\n".join(line[:300] for line in self.log.read_text(errors="replace").splitlines()[-12:])

    def ended(self):
        return self.process.poll()

    def runs(self):
        require(self.ended() is None, f"{self.name} ended with {self.ended()}:\n{self.tail()}")

    def wait(self, seconds):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end in {seconds} s:\n{self.tail()}") from None

    def stop(self, seconds):
        """SIGTERM to process 1, as an engine stops a container; its exit code."""
        self.terminate()
        return self.wait(seconds)

    def terminate(self):
        self.runs()
        os.kill(self._child(), signal.SIGTERM)

    def kill(self):
        if self.process and self.ended() is None:
            self.process.kill()
            self.process.wait()


def until(seconds, what, condition, containers=()):
    """Waits for the condition's first true answer, and gives it back."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        for container in containers:
            container.runs()
        if time.monotonic() > end:
            logs = "".join(f"\n-- {container.name}\n{container.tail()}" for container in containers)
            raise Failed(f"{what}: not within {seconds} s{logs}")
        time.sleep(0.2)
