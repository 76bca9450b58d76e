"""SoftHSM2 tokens for tests: made and deleted by the test, in a folder of its own."""

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from strongroom.keys.slot_pkcs11 import TokenKeeper

PIN = "1234"
_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")
MODULE = next((place for place in _PLACES if Path(place).exists()), None)
TOOL = shutil.which("softhsm2-util")
needs_tokens = pytest.mark.skipif(
    MODULE is None or TOOL is None or importlib.util.find_spec("pkcs11") is None,
    reason="needs SoftHSM2 (Debian: softhsm2) and python-pkcs11",
)


def configure():
    """One folder of tokens a process: the module reads its settings once."""
    if "SOFTHSM2_CONF" not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="strongroom-tokens-"))
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")


def again():
    """Let the module see which tokens there are."""
    import pkcs11

    pkcs11.lib(MODULE).reinitialize()


def make_token(label=None):
    """A new token, as a keeper."""
    configure()
    label = label or f"t-{secrets.token_hex(4)}"
    tool("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "5678")
    again()
    return TokenKeeper(MODULE, label, PIN)


def delete_token(keeper):
    """Lose a token."""
    tool("--delete-token", "--token", keeper.token)
    again()


def tool(*words):
    subprocess.run([TOOL, *words], check=True, capture_output=True)


def objects_of(keeper):
    """Labels of the key objects in a token."""
    import pkcs11

    with pkcs11.lib(MODULE).get_token(token_label=keeper.token).open(user_pin=PIN) as session:
        return sorted(key.label for key in session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}))
