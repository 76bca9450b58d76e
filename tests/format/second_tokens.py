"""A second maker of an export's tokens, from docs/FORMAT.md alone, a value at a time: standard library, AES and AES-SIV."""

import datetime as dt
import hashlib
import hmac
import re

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

LABEL = b"strongroom token 1"
PROVINCES = [11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54]
PROVINCES += [61, 62, 63, 64, 65, 71, 81, 82, 83]
FREE = [code for code in range(10, 90) if code not in PROVINCES]
USUAL = {
    "phone:CN": ("+86", "13000000000", "19999999999", 0),
    "phone:US": ("+1", "2002000000", "9999999999", 0),
    "phone:GB": ("+44", "07000000000", "07999999999", 1),
    "phone:FR": ("+33", "0600000000", "0799999999", 1),
}


def derived(key, size, *words):
    """HKDF-Expand."""
    info, out, block = b"".join(len(w).to_bytes(2, "little") + w for w in words), b"", b""
    for i in range(1, size // 32 + 1):
        block = hmac.digest(key, block + info + bytes([i]), hashlib.sha256)
        out += block
    return out


def ff1(key, radix, tweak, x):
    """FF1.Encrypt of a list of numerals: SP 800-38G, algorithm 7."""
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    n, u = len(x), len(x) // 2
    v = n - u

    def number(numerals):
        total = 0
        for numeral in numerals:
            total = total * radix + numeral
        return total

    a, b = x[:u], x[u:]
    width = ((radix**v - 1).bit_length() + 7) // 8
    d = 4 * ((width + 3) // 4) + 4
    p = b"\1\2\1" + radix.to_bytes(3, "big") + bytes([10, u]) + n.to_bytes(4, "big") + len(tweak).to_bytes(4, "big")
    for i in range(10):
        m = u if i % 2 == 0 else v
        text = p + tweak + bytes((-len(tweak) - width - 1) % 16) + bytes([i]) + number(b).to_bytes(width, "big")
        state = bytes(16)
        for at in range(0, len(text), 16):
            state = aes.update(bytes(s ^ t for s, t in zip(state, text[at : at + 16], strict=True)))
        c = (number(a) + int.from_bytes(state[:d], "big")) % radix**m
        a, b = b, [c // radix**j % radix for j in range(m - 1, -1, -1)]
    return a + b


def walked(key, size, tweak, number):
    """A number below the size as another."""
    for length in (2, 4):
        radix = next((r for r in range(int(size ** (1 / length)) - 1, 65_537) if r**length >= size), None)
        if radix:
            break
    while True:
        numerals = ff1(key, radix, tweak, [number // radix**j % radix for j in range(length - 1, -1, -1)])
        number = sum(numeral * radix**j for j, numeral in enumerate(reversed(numerals)))
        if number < size:
            return number


def check(body):
    """ISO 7064 MOD 11-2."""
    weights = [2**i % 11 for i in range(17, 0, -1)]
    return "10X98765432"[sum(int(c) * w for c, w in zip(body, weights, strict=True)) % 11]


def phone(value, step, permuted):
    """The token of a number of the usual form, or None."""
    code, lowest, highest, trunk = USUAL[step]
    local = lowest[:trunk] + value[len(code) :]
    low, high = [int(c) for c in lowest], [int(c) for c in highest]
    if not value.startswith(code) or len(local) != len(lowest) or not re.fullmatch("[0-9]+", local):
        return None
    digits = [int(c) for c in local]
    if not all(a <= c <= b for a, c, b in zip(low, digits, high, strict=True)):
        return None
    number, size = 0, 1
    for a, c, b in zip(low, digits, high, strict=True):
        number, size = number * (b - a + 1) + c - a, size * (b - a + 1)
    number, out = permuted(size, number), []
    for a, b in zip(reversed(low), reversed(high), strict=True):
        number, rest = divmod(number, b - a + 1)
        out.append(str(a + rest))
    return "".join(reversed(out))


def resident(value, permuted):
    """The token of a resident id, or None."""
    if not re.fullmatch("[0-9]{17}[0-9X]", value) or check(value[:17]) != value[17] or int(value[:2]) not in PROVINCES:
        return None
    try:
        born = dt.date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    except ValueError:
        return None
    if not 1900 <= born.year <= 2049:
        return None
    place = PROVINCES.index(int(value[:2])) * 10**4 + int(value[2:6])
    number = (place * 54_787 + (born - dt.date(1900, 1, 1)).days) * 1000 + int(value[14:17])
    number, serial = divmod(permuted(35 * 10**4 * 54_787 * 1000, number), 1000)
    number, day = divmod(number, 43_830)
    province, area = divmod(number, 10**4)
    body = f"{FREE[province]}{area:04d}{dt.date(1906, 1, 1) + dt.timedelta(day):%Y%m%d}{serial:03d}"
    return body + check(body)


def token(key, domain, steps, value):
    """The token of a normalised value."""
    tweak, last = LABEL + b" " + domain.encode(), steps[-1] if steps else ""

    def form_key(name):
        return derived(key, 32, LABEL, b"FF1", name.encode(), domain.encode())

    found = None
    if last in USUAL:
        found = phone(value, last, lambda size, n: walked(form_key("phone " + last[6:]), size, tweak, n))
    elif last == "id":
        found = resident(value, lambda size, n: walked(form_key("resident id"), size, tweak, n))
    elif last == "digits" and re.fullmatch("[0-9]{6,36}", value):
        found = "".join(map(str, ff1(form_key("digits"), 10, tweak, [int(c) for c in value])))
    if found is not None:
        return found
    text = value.encode() + b"\x80"
    text += bytes(-len(text) % 16)
    return "t1" + AESSIV(derived(key, 64, LABEL, b"AES-SIV", domain.encode())).encrypt(text, [tweak]).hex()
