"""What the files of deploy/ say, read without an engine: schemas, a linter, what the Dockerfile copies and installs."""
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

from engine import Failed, require

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES_VERSION = "1.34"
BINARIES = pathlib.Path(sys.executable).parent


def tool(*command):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"{pathlib.Path(command[0]).name} {' '.join(map(str, command[1:]))}:\n{done.stdout}{done.stderr}")
    return done.stdout


# ---- The Dockerfile ----

def instructions(text):
    """Word and rest of each instruction.

    >>> instructions("FROM a AS b\\n# no\\nRUN x && \\\\\\n  # nor this\\n  y\\n")
    [('FROM', 'a AS b'), ('RUN', 'x && y')]
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [tuple(line.split(None, 1)) for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()]


def stages():
    """Of each target of the Dockerfile what its containers begin with, that of the stages it is from included."""
    found, stage = {}, {}
    for word, rest in instructions((DEPLOY / "Dockerfile").read_text()):
        if word == "FROM":
            origin, _, name = rest.partition(" AS ")
            above = found.get(origin, {"from": origin, "environment": {}, "copies": [], "runs": [], "workdir": "/"})
            stage = {key: (value.copy() if hasattr(value, "copy") else value) for key, value in above.items()}
            found[name] = stage
        elif word == "ENV":
            stage["environment"].update(pair.split("=", 1) for pair in rest.split())
        elif word in ("ENTRYPOINT", "CMD"):
            stage[word.lower()] = json.loads(rest)
        elif word == "HEALTHCHECK":
            stage["health"] = json.loads(rest.partition(" CMD ")[2])
        elif word == "USER":
            stage["user"] = rest
        elif word == "WORKDIR":
            stage["workdir"] = rest
        elif word == "COPY":
            stage["copies"].append(rest.split())
        elif word == "RUN":
            stage["runs"].append(rest)
    return found


def ignored(path, rules):
    """By .dockerignore: the last rule that matches the path or a folder of it.

    >>> [ignored(path, ["*", "!crates", "crates/*/testdata"]) for path in ["docs/a.md", "crates/x/a.rs", "crates/x/testdata/b"]]
    [True, False, True]
    """
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    for rule in reversed(rules):
        pattern = rule.removeprefix("!")
        if any(fnmatch.fnmatchcase(each, pattern) and each.count("/") == pattern.count("/") for each in above):
            return not rule.startswith("!")
    return False


def context():
    """The files that the build gets."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    files = tool("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [file for file in files if not ignored(file, rules)]


def dockerfile(binary):
    tool(BINARIES / "hadolint", DEPLOY / "Dockerfile")
    files, found = context(), stages()
    for name, stage in found.items():
        if name == "build":
            continue
        uid = stage["user"].partition(":")[0]
        require(uid.isdigit() and uid != "0", f"Dockerfile: the user of {name or 'the last stage'} is {stage['user']}, not a number of its own")
        for copied in stage["copies"]:
            if not copied[0].startswith("--from"):
                require(copied[0] in files, f"Dockerfile: {copied[0]} is not there, or is left out by .dockerignore")
        for word in ("entrypoint", "health"):
            program = stage[word][0]
            names = [pathlib.PurePath(part).name for copied in stage["copies"] for part in copied]
            require(program in names, f"Dockerfile: {word} runs {program}, which nothing copies")
    require(found[""]["copies"] == found["millstream"]["copies"] and found[""]["from"] == found["millstream"]["from"],
            "Dockerfile: the last stage is not the small one")
    built(files)
    # What is linked, and the packages that hold it.
    linked = re.findall(r"=> (/\S+)", tool("ldd", binary))
    installed = set(re.findall(r"[a-z][\w.+-]*", " ".join(re.findall(r"install -y --no-install-recommends (.*?)&&", found["millstream"]["runs"][0]))))
    for library in linked:
        # Of Debian 12 both names are links into /usr.
        for path in dict.fromkeys((library, library.removeprefix("/usr"), os.path.realpath(library))):
            owner = subprocess.run(["dpkg", "-S", path], capture_output=True, text=True, check=False).stdout.partition(":")[0]
            if owner:
                break
        require(owner in installed, f"Dockerfile: the binary needs {library} of the package {owner or '?'}, which the image does not install")
    return len(files), len(linked)


def built(files):
    """What cargo and the sources read is among them."""
    for file in files:
        path = ROOT / file
        if path.suffix != ".rs" or "/tests" in file:
            continue
        for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', path.read_text()):
            included = os.path.relpath(path.parent / name, ROOT)
            # Of tests within the sources.
            if "testdata" not in included and "golden" not in included:
                require(included in files, f".dockerignore leaves out {included}, which {file} includes")
    if shutil.which("cargo"):
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                path = pathlib.Path(folder, file)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, path)
            # Without a network: no dependency is looked at.
            tool("cargo", "metadata", "--format-version=1", "--no-deps", "--locked", "--offline", f"--manifest-path={folder}/Cargo.toml")


# ---- compose.yaml, prometheus.yml, the manifests ----

def interpolated(value, variables):
    """As Compose fills variables in.

    >>> interpolated({"a": ["${A:-x}/$$(b)", "${B}"]}, {"B": "y"})
    {'a': ['x/$(b)', 'y']}
    """
    if isinstance(value, dict):
        return {key: interpolated(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def fill(match):
        if match[0] == "$$":
            return "$"
        require(match[1] in variables or match[2] is not None, f"compose.yaml: {match[0]} has no default")
        return variables.get(match[1]) or match[2] or ""

    return re.sub(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}", fill, value)


def compose(variables):
    return interpolated(yaml.safe_load((DEPLOY / "compose.yaml").read_text()), variables)


def targets(file):
    """Image → stage of the Dockerfile, of those that are built here; by one service each, since builds at the same time collide."""
    pairs = [(service["image"], service["build"]["target"]) for service in file["services"].values() if "build" in service]
    require(len(dict(pairs)) == len(pairs), f"compose.yaml: an image that two services build: {pairs}")
    return dict(pairs)


def composed():
    tool(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    file, names = compose({}), stages()
    built = targets(file)
    for name, service in file["services"].items():
        image = service["image"]
        require(re.search(r":[\w.-]*\d", image), f"compose.yaml: {name}: {image} has no tag with a version")
        if "build" in service:
            require((DEPLOY / service["build"]["context"]).resolve() == ROOT and service["build"]["target"] in names, f"compose.yaml: {name}: build")
        elif service.get("pull_policy") == "never":
            require(image in built, f"compose.yaml: {name}: no service builds {image}")
        for needed, how in service.get("depends_on", {}).items():
            other = file["services"].get(needed)
            require(other, f"compose.yaml: {name} depends on {needed}, which is not there")
            healthy = how["condition"] != "service_healthy" or "test" in other.get("healthcheck", {})
            require(healthy, f"compose.yaml: {name} waits for {needed}, which has no health check")
        for mount in service.get("volumes", []):
            here = mount.split(":")[0]
            require((DEPLOY / here).exists() if here.startswith(".") else here in file["volumes"], f"compose.yaml: {name}: {here} is not there")
        for port in service.get("ports", []):
            require(port.startswith("127.0.0.1:"), f"compose.yaml: {name} publishes {port} beyond loopback")
    return len(file["services"])


def prometheus(promtool):
    # With the rules that it names.
    said = tool(promtool, "check", "config", DEPLOY / "prometheus.yml")
    require("SUCCESS" in said and "rules found" in said, f"prometheus.yml: promtool finds no rules:\n{said}")


def valid(objects):
    for each in objects:
        try:
            kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Failed(f"{each['kind']} {each['metadata']['name']}: {error.message}") from None


def manifests():
    """Every object of kubernetes/, as kustomization.yaml joins them."""
    folder = DEPLOY / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"}
    require(files == set(kustomization["resources"]), f"kustomization.yaml names {kustomization['resources']}, and there are {sorted(files)}")
    maps = {}
    for made in kustomization["configMapGenerator"]:
        maps[made["name"]] = {name: (folder / name).read_text() for name in made.get("files", [])}
        maps[made["name"]].update(pair.split("=", 1) for pair in made.get("literals", []))
    objects = [each for file in sorted(files) for each in yaml.safe_load_all((folder / file).read_text())]
    valid(objects)
    deployments = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Deployment"}
    for name, spec in deployments.items():
        labels = spec["template"]["metadata"]["labels"]
        require(spec["selector"]["matchLabels"].items() <= labels.items(), f"{name}: its selector does not match its pods")
    pods = {name: spec["template"] for name, spec in deployments.items()}
    for each in objects:
        selector = {"Service": lambda spec: spec["selector"], "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
                    "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"]}.get(each["kind"])
        if selector:
            wanted = selector(each["spec"])
            added = {key: value for label in kustomization["labels"] for key, value in label["pairs"].items()}
            chosen = [name for name, pod in pods.items() if wanted.items() <= {**added, **pod["metadata"]["labels"]}.items()]
            require(chosen, f"{each['kind']} {each['metadata']['name']} chooses no pod: {wanted}")
    # As kustomize itself renders them, where there is one.
    if shutil.which("kubectl"):
        valid(yaml.safe_load_all(tool("kubectl", "kustomize", folder)))
    return deployments, maps, len(objects)
