"""Broken servers on stdio: `broken.py MODE [FILE]`."""

import json
import os
import subprocess
import sys
import time


def hang() -> None:
    """Reads and says nothing."""
    for _ in sys.stdin:
        pass
    time.sleep(3600)


def exits() -> None:
    """Ends at once, with a word about it."""
    sys.stderr.write("no configuration\n")
    sys.exit(3)


def garbage() -> None:
    """Prints what is no JSON-RPC, and stays."""
    print("Welcome to my server!", flush=True)
    time.sleep(3600)


def endless() -> None:
    """Prints one line that never ends."""
    while True:
        sys.stdout.write("x" * 65536)


def other_protocol() -> None:
    """Answers JSON-RPC, but not MCP."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": {"ok": True}}
            print(json.dumps(answer), flush=True)


def tools_fail() -> None:
    """Introduces itself as MCP, then fails to list its tools."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        answer = {"jsonrpc": "2.0", "id": request["id"]}
        if request["method"] == "initialize":
            answer["result"] = {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "half", "version": "0.1"},
            }
        else:
            answer["error"] = {"code": -32601, "message": "no such method"}
        print(json.dumps(answer), flush=True)


def hog() -> None:
    """Takes memory without end."""
    kept = []
    while True:
        kept.append(bytearray(16 * 1024 * 1024))


def spin() -> None:
    """Takes CPU time without end."""
    while True:
        pass


def family() -> None:
    """Starts a child that outlives it, writes the child's pid to FILE, and ends."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    with open(sys.argv[2], "w") as file:
        file.write(str(child.pid))


def stubborn() -> None:
    """Ignores the end of its input and TERM; writes its pid to FILE."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(sys.argv[2], "w") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
