"""What was measured so far, by name, and the machine it was measured on."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")


class Results:
    """Measurements in a file that is written after each of them; what is there is not measured again."""

    def __init__(self, path, again=False, **besides):
        self.path, self.again = path, again
        stored = json.loads(path.read_text()) if path.exists() else {}
        self.runs, self.machine = stored.get("runs", {}), machine() | besides
        if self.runs and stored["machine"] != self.machine:
            sys.exit(f"{path} was measured with {stored['machine']}; here is {self.machine}. Give another --out.")

    def measure(self, name, arm, *, may_fail=False, **arguments):
        """Run an arm in a process of its own, unless its result is there; what may fail is kept with the reason."""
        if name in self.runs and not self.again:
            if self.runs[name]["arguments"] != arguments:
                sys.exit(f"{name} was measured with {self.runs[name]['arguments']}, asked {arguments}: add --again.")
            return
        print(f"{name}: {arm} {arguments}", file=sys.stderr, flush=True)
        load = os.getloadavg()[0]
        command = [sys.executable, str(HERE / "arms.py"), json.dumps({"arm": arm, **arguments})]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            run = json.loads(done.stdout.splitlines()[-1])
        elif may_fail:
            said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
            run = {"failed": said[-1][:300]}
            print(f"{name} failed: {run['failed']}", file=sys.stderr, flush=True)
        else:
            sys.exit(done.stderr)
        self.runs[name] = {"arguments": arguments, "load_before": load} | run
        self._write()

    def _write(self):
        # A line a run: five digits are more than any of these figures is good for.
        lines = [f"{json.dumps(name)}: {json.dumps(_rounded(self.runs[name]))}" for name in sorted(self.runs)]
        text = f'{{"machine": {json.dumps(self.machine)},\n"runs": {{\n' + ",\n".join(lines) + "\n}}\n"
        self.path.with_suffix(".part").write_text(text, encoding="utf-8")
        self.path.with_suffix(".part").replace(self.path)


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def machine():
    """The machine and the software, in words."""
    found = {"cores": os.cpu_count(), "processor": _processor(), "python": platform.python_version()}
    for name in ("adamtune", BACKEND, "keras", "optuna", "numpy", "scikit-learn", "keras-tuner", "scikeras"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor():
    """Its name with the numbers of its make: makers give one name to machines of very different speed."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.machine()
    first = info.read_text().split("\n\n")[0]
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    make = ", ".join(f"{name} {said[name]}" for name in ("cpu family", "model", "cache size") if name in said)
    return f"{said.get('model name', platform.machine())} ({make})" if make else platform.machine()
