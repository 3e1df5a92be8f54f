"""What deploy/ says, checked as far as it can be without a container engine (usage: ci/deploy.sh)."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import files
from engine import Container, Failed, Network, prepare, require, until

# Of what a first version takes on a busy machine of two cores, Spark's start included.
SECONDS = 120
# As compose.yaml says of the default, and the manifests' stages at the most.
STOP_SECONDS = 15


class Machine:
    """What stands for the images: programs of this machine."""

    def __init__(self, binary):
        self.binary = pathlib.Path(binary).resolve()
        self.kafka = os.environ["DEPLOY_KAFKA_LIBS"]
        self.minio = os.environ["DEPLOY_MINIO"]
        self.prometheus = os.environ["DEPLOY_PROMETHEUS"]
        self.spark = pathlib.Path(os.environ["DEPLOY_SPARK_VENV"])
        self.stages = files.stages()

    def millstream(self, target):
        """By the Dockerfile's stage."""
        stage = self.stages[target]
        uid, gid = map(int, stage["user"].split(":"))
        programs = {"millstream": self.binary, "healthy": files.DEPLOY / "healthy"}
        mounts, environment = [], stage["environment"]
        if target == "spark":
            # Of Java's compilers the quick one: processes of so short a life gain nothing by the other.
            environment = {**environment, "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
            python = pathlib.Path(os.path.realpath(self.spark / "bin/python3")).parents[1]
            mounts = [(self.spark, "/opt/pyspark", True), (next(self.spark.glob("lib/python3*/site-packages/pyspark")), "/opt/spark", True)]
            if not python.is_relative_to("/usr"):
                mounts.append((python, str(python), True))
        folders = [folder for run in stage["runs"] for made in re.findall(r"install -d -o \d+ -g \d+ ([^&]*)", run) for folder in made.split()]
        return {"entrypoint": stage["entrypoint"], "user": (uid, gid), "environment": environment, "programs": programs,
                "mounts": mounts, "folders": folders, "workdir": stage["workdir"]}

    def other(self, image, environment):
        """Of an image that others made: its entrypoint as it is documented, and what stands for its programs."""
        name = image.rpartition(":")[0].removeprefix("quay.io/")
        script = self.work / name.replace("/", "-")
        if name == "apache/kafka":
            # The image makes Kafka's properties of the variables: KAFKA_A_B is a.b.
            properties = "".join(f"{key.removeprefix('KAFKA_').lower().replace('_', '.')}={value}\n" for key, value in environment.items())
            java = f"java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '{self.kafka}/*'"
            script.write_text(f"#!/bin/bash\nset -e\ncat >/tmp/server.properties <<'END'\n{properties}END\n"
                              f"{java} kafka.tools.StorageTool format --ignore-formatted -t 5L6g3nShT-eMCtK--X86sw -c /tmp/server.properties\n"
                              f"exec {java} kafka.Kafka /tmp/server.properties\n")
            program, user, mounts = "kafka", (1000, 1000), [(self.kafka, self.kafka, True)]
        elif name == "minio/minio":
            script.write_text("#!/bin/bash\n[ \"$*\" = 'ready local' ] && exec 3<>/dev/tcp/localhost/9000\n")
            script.chmod(0o755)
            return {"entrypoint": ["minio"], "user": (0, 0), "environment": {}, "programs": {"minio": self.minio, "mc": script}, "mounts": [],
                    "folders": [], "workdir": "/"}
        elif name == "prom/prometheus":
            return {"entrypoint": ["prometheus"], "user": (65534, 65534), "environment": {}, "programs": {"prometheus": self.prometheus},
                    "mounts": [], "folders": ["/prometheus"], "workdir": "/prometheus"}
        else:
            raise Failed(f"compose.yaml: what stands for the image {image} is not known to ci/deploy")
        script.chmod(0o755)
        return {"entrypoint": [program], "user": user, "environment": {}, "programs": {program: script}, "mounts": mounts, "folders": [],
                "workdir": "/"}


# ---- compose.yaml ----

def seconds(text):
    return float(re.fullmatch(r"(\d+)s", text)[1])


class Compose:
    """The services of compose.yaml as processes, started in the order that their conditions allow."""

    def __init__(self, machine, work, variables, only=None):
        machine.work = work
        self.network = Network(work)
        self.file = files.compose(variables)
        self.services = {name: service for name, service in self.file["services"].items() if only is None or name in only}
        self.work = work
        self.healthy, self.started = set(), set()
        for name in self.services:
            self.network.address(name)
        self.containers = {name: self.container(machine, name, service) for name, service in self.services.items()}

    def container(self, machine, name, service):
        environment = {key: str(value) for key, value in (service.get("environment") or {}).items()}
        target = files.targets(self.file).get(service["image"])
        image = machine.millstream(target) if target else machine.other(service["image"], environment)
        mounts = list(image["mounts"])
        for mount in service.get("volumes", []):
            here, there, *how = mount.split(":")
            path = files.DEPLOY / here
            if not here.startswith("."):
                # A new volume: it has the owner of the image's folder.
                path = self.work / "volumes" / here
                if not path.exists():
                    path.mkdir(parents=True)
                    os.chown(path, *image["user"])
            mounts.append((path, there, how == ["ro"]))
        # Docker's own options come before the file's.
        temporary = [(path, f"noexec,nosuid,nodev,{options}") for path, _, options in (each.partition(":") for each in service.get("tmpfs", []))]
        argv = [*service.get("entrypoint", image["entrypoint"]), *service.get("command", [])]
        return Container(self.network, name, argv, user=image["user"], environment={**image["environment"], **environment}, mounts=mounts,
                         programs=image["programs"], folders=image["folders"], workdir=image["workdir"], hostname=service.get("hostname"),
                         read_only=service.get("read_only", False), temporary=temporary)

    def may_start(self, name):
        for needed, how in self.services[name].get("depends_on", {}).items():
            other = self.containers.get(needed)
            if other is None:
                continue
            if needed not in self.started:
                return False
            if how["condition"] == "service_healthy" and not self.is_healthy(needed):
                return False
            if how["condition"] == "service_completed_successfully":
                if other.ended() is None:
                    return False
                require(other.ended() == 0, f"{needed} ended with {other.ended()}:\n{other.tail()}")
        return True

    def is_healthy(self, name):
        if name not in self.healthy:
            check = self.services[name]["healthcheck"]
            self.containers[name].runs()
            require(check["test"][0] == "CMD", f"compose.yaml: {name}: a health check that is no CMD")
            if self.containers[name].execute(check["test"][1:], seconds(check["timeout"])) == 0:
                self.healthy.add(name)
        return name in self.healthy

    def start(self):
        def step():
            for name in self.services:
                if name not in self.started and self.may_start(name):
                    self.containers[name].start()
                    self.started.add(name)
            return self.started == set(self.services)
        until(SECONDS, "compose.yaml: all services start", step)

    def all_healthy(self):
        return all(self.is_healthy(name) for name, service in self.services.items() if "test" in service.get("healthcheck", {}))


def ask(address, path, host="localhost", body=None):
    """Status and body of an answer, as a request that says so of its host."""
    connection = http.client.HTTPConnection(address.partition(":")[0], int(address.partition(":")[2]), timeout=10)
    try:
        headers = {"Host": host, "Content-Type": "application/json"}
        connection.request("POST" if body else "GET", path, body=json.dumps(body) if body else None, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


def answered(address, path, **how):
    status, text = ask(address, path, **how)
    require(status == 200, f"{path} of {address}: {status} {text[:500]}")
    return text


def stop(containers, grace):
    """All at once, as `down` does."""
    for container in containers:
        container.terminate()
    for container in containers:
        code = container.wait(grace)
        require(code == 0, f"{container.name}: SIGTERM ended it with {code}:\n{container.tail()}")


@contextlib.contextmanager
def scenario(name, folder):
    began, work = time.monotonic(), pathlib.Path(folder, name.split()[0])
    work.mkdir()
    networks = []
    try:
        yield work, networks
    finally:
        for network in networks:
            network.end()
    print(f"{time.monotonic() - began:5.0f} s  {name}", flush=True)


def composed(machine, folder, name, variables, wanted, on_disk, without=()):
    """`wanted`: so many versions; one of Spark takes half a minute."""
    with scenario(name, folder) as (work, networks):
        compose = Compose(machine, work, variables, set(files.compose({})["services"]) - set(without))
        networks.append(compose.network)
        compose.start()
        each = compose.containers
        lasting = [each[name] for name in each if name not in ("data", "replay")]
        until(SECONDS, "compose.yaml: all healthy", compose.all_healthy, lasting)
        serve = each["serve"].address + ":8080"
        latest = lambda: json.loads(answered(serve, "/v1/models/taste"))["latest"] or 0
        until(SECONDS, f"taste has {wanted} versions", lambda: latest() >= wanted, lasting)
        require(each["replay"].wait(STOP_SECONDS) == 0, f"replay: {each['replay'].tail()}")
        # Only the bucket's versions are no files here.
        written = [json.loads(file.read_text()) for file in work.glob("volumes/store/models/taste/*/model.json")]
        found = {(model.get("engine") or {"name": "local"})["name"] for model in written}
        require(found == on_disk, f"models of the engines {found} lie on the volume, not of {on_disk}")
        # As through the published port, and as another container asks.
        for host in ("localhost:8080", "serve:8080"):
            films = json.loads(answered(serve, "/recommendations/1?n=5", host=host))["films"]
            require(len(films) == 5 and all(film["title"] for film in films), f"recommendations: {films}")
        require("millstream" in answered(serve, "/metrics", host=host), "/metrics names nothing of Millstream's")
        require(each["serve"].execute(machine.stages["millstream"]["health"]) == 0, "the Dockerfile's health check fails of a serve")
        status, _ = ask(serve, "/v1/query", body={"sql": "select 1"})
        require(status == 403, f"SQL of a request from outside its container was answered {status}")
        monitor = each["prometheus"].address + ":9090"
        up = lambda: {one["metric"]["job"]: one["value"][1] for one in json.loads(answered(monitor, "/api/v1/query?query=up"))["data"]["result"]}
        until(SECONDS, "Prometheus reaches what it is to measure", lambda: up() == {"millstream": "1", "minio": "1"}, lasting)
        own = [name for name, service in compose.services.items() if service["image"].startswith("millstream:") or name == "train"]
        grace = seconds(compose.services["serve"]["stop_grace_period"])
        stop([each[name] for name in own if name not in ("data", "replay")], grace)


# ---- The manifests ----

def pods(machine, network, deployments, maps, secret):
    """The pods of all deployments: name of the deployment → containers."""
    found = {}
    for name, spec in deployments.items():
        pod = spec["template"]["spec"]
        [described] = pod["containers"]
        image = machine.millstream(described["image"])
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        environment, mounts, temporary = {}, [], []
        for source in described["envFrom"]:
            if "configMapRef" in source:
                environment |= maps[source["configMapRef"]["name"]]
            else:
                environment |= secret[source["secretRef"]["name"]]
        for mount in described["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "configMap" in volume:
                path = network.work / f"map-{volume['configMap']['name']}"
                path.mkdir(exist_ok=True)
                for file, text in maps[volume["configMap"]["name"]].items():
                    (path / file).write_text(text)
                mounts.append((path, mount["mountPath"], True))
            else:
                temporary.append((mount["mountPath"], "mode=1777"))
        security = pod["securityContext"]
        found[name] = [
            Container(network, f"{name}-{number}", [*described.get("command", image["entrypoint"]), *described["args"]],
                      user=(security["runAsUser"], security["runAsGroup"]), environment={**image["environment"], **environment}, mounts=mounts,
                      programs=image["programs"], folders=image["folders"], workdir=image["workdir"], temporary=temporary,
                      read_only=described["securityContext"]["readOnlyRootFilesystem"])
            for number in range(1, spec["replicas"] + 1)]
    return found


def probed(deployments, name, kind, container):
    [described] = deployments[name]["template"]["spec"]["containers"]
    probe = described[kind]["httpGet"]
    port = {port["name"]: port["containerPort"] for port in described["ports"]}[probe["port"]]
    # The kubelet asks by address.
    address = f"{container.address}:{port}"
    return ask(address, probe["path"], host=address)[0]


def kubernetes(machine, folder, name, deployments, maps):
    with scenario(name, folder) as (work, networks):
        # Kafka and the bucket are others'; here they are those of compose.yaml.
        others = Compose(machine, work, {}, only={"kafka", "minio"})
        networks.append(others.network)
        account = others.file["services"]["train"]["environment"]
        maps = {**maps, "millstream-s3": {**maps["millstream-s3"], **{key: account[key] for key in ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP")}}}
        secret = {"millstream-s3": {key: account[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}}
        all_pods = pods(machine, others.network, deployments, maps, secret)
        require({name: len(each) for name, each in all_pods.items()} == {"ingest": 1, "train": 1, "serve": 3}, "one ingest, one train, three serve")
        writer = Container(others.network, "writer", ["kcat", "-P", "-b", "kafka:9092", "-t", "ratings", "-l", "/rows.jsonl"], user=(0, 0),
                           environment={}, mounts=[(work / "rows.jsonl", "/rows.jsonl", True)])
        (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ratings(25_000)))
        others.start()
        until(SECONDS, "Kafka and MinIO are healthy", others.all_healthy, list(others.containers.values()))
        serve = all_pods["serve"]
        lasting = [container for each in all_pods.values() for container in each]
        for container in lasting:
            container.start()
        until(SECONDS, "livenessProbe", lambda: all(probed(deployments, "serve", "livenessProbe", pod) == 200 for pod in serve), lasting)
        early = {probed(deployments, "serve", "readinessProbe", pod) for pod in serve}
        require(early == {503}, f"a serve without a version is ready: {early}")
        writer.start()
        require(writer.wait(SECONDS) == 0, f"kcat: {writer.tail()}")
        until(SECONDS, "readinessProbe", lambda: all(probed(deployments, "serve", "readinessProbe", pod) == 200 for pod in serve), lasting)
        newest = lambda pod: json.loads(answered(f"{pod.address}:8080", "/v1/models/taste"))["latest"]
        until(SECONDS, "all three serve the second version", lambda: all(newest(pod) == 2 for pod in serve), lasting)
        for pod in serve:
            # As through the Service, by its names.
            for host in ("millstream", "millstream.millstream.svc.cluster.local"):
                require("score" in answered(f"{pod.address}:8080", "/v1/models/taste/recommend/1?n=3", host=host), "no recommendations")
            answered(f"{pod.address}:8080", "/metrics")
        [one] = serve[:1]
        require(one.stop(STOP_SECONDS) == 0, f"serve: {one.tail()}")
        answered(f"{serve[1].address}:8080", "/v1/models/taste/recommend/1?n=3")
        stop([pod for pod in lasting if pod is not one], STOP_SECONDS)


def ratings(count):
    """Made up: everybody rates what is near to their own number a little better."""
    for number in range(count):
        user, film = number % 400, number * 7919 % 300
        yield {"userId": user, "movieId": film, "rating": 1 + (user * 3 + film) % 9 / 2, "timestamp": 1_600_000_000 + number}


def switched():
    """The line that compose.yaml proposes for the bucket."""
    [line] = re.findall(r'#\s+MILLSTREAM_SET: "(.*)"', (files.DEPLOY / "compose.yaml").read_text())
    return {"MILLSTREAM_SET": line}


def main():
    [binary] = sys.argv[1:]
    read, linked = files.dockerfile(binary)
    print(f"Dockerfile: hadolint; what it copies is there; {read} files are its context, which cargo can read; the {linked} libraries of the binary "
          "are of packages that it installs")
    print(f"compose.yaml: {files.composed()} services, by the schema of the Compose specification")
    files.prometheus(os.environ["DEPLOY_PROMTOOL"])
    print("prometheus.yml and its alerts: promtool")
    deployments, maps, objects = files.manifests()
    print(f"kubernetes: {objects} objects, strictly by the schemas of Kubernetes {files.KUBERNETES_VERSION}")
    for file in (files.DEPLOY / "pipeline.toml", files.DEPLOY / "kubernetes/pipeline.toml"):
        # 78: what is wrong is the file, and not that its source is on another machine.
        done = subprocess.run([binary, "check", file], capture_output=True, text=True, check=False)
        require(done.returncode in (0, 1), f"{file}:\n{done.stderr}")
    machine = Machine(binary)
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        # A temporary folder is its owner's alone.
        os.chmod(folder, 0o755)
        composed(machine, folder, "spark (compose.yaml as it is: Kafka, a Spark cluster of three, MinIO, Prometheus, all stages)", {}, 1, {"spark"})
        composed(machine, folder, "bucket (compose.yaml with its line for MinIO)", switched(), 3, set(),
                 without=["spark-master", "spark-worker-1", "spark-worker-2"])
        kubernetes(machine, folder, "kubernetes (one ingest, one train, three serve)", deployments, maps)
    print("not checked, for want of a container engine and a cluster: that the images are built, that their tags are there and hold what is said of"
          " them, networks and volumes of an engine, and what Kubernetes does with the manifests")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"deploy: {failed}")
