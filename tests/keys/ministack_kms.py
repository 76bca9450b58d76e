"""An AWS-shaped server for tests, started in a process of its own on loopback; it refuses keys that are disabled."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path


def missing():
    """Why there is none here; None where there is."""
    return None if _program() else "ministack is not installed"


def _program():
    """Of the environment that `make test` makes for it, or of the path."""
    apart = Path(__file__).resolve().parent.parent.parent / ".venv-aws" / "bin" / "ministack"
    return str(apart) if apart.exists() else shutil.which("ministack")


class Server:
    """A server that is running; `environment` leads the AWS chain to it."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory(prefix="kms-")
        own = {"BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port)}
        self._process = subprocess.Popen(
            [_program()], env={**os.environ, **own}, cwd=self._folder.name,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._process.poll() is None, "ministack ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=2).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("ministack does not start")

    def environment(self):
        return {
            "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()
