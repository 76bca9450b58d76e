"""Blocks, wrapped keys, signatures, passphrases and entropy."""

from __future__ import annotations

import pytest
from argon2.low_level import Type, hash_secret_raw

from strongroom.errors import IntegrityError, UsageError
from strongroom.seal import blocks, entropy, passphrase, sign, wrap

KEY, ROOM, OBJECT = bytes(range(32)), b"r" * 16, b"o" * 16


def test_block_opens_only_where_it_belongs():
    """A block opens under its own key, room, object, kind and number, and nowhere else."""
    key = blocks.block_key(KEY, 1, 2**33)
    sealed = blocks.seal_block(key, ROOM, OBJECT, 1, 2**33, b"plain")
    assert len(sealed) == len(b"plain") + blocks.TAG_BYTES
    assert blocks.open_block(key, ROOM, OBJECT, 1, 2**33, sealed) == b"plain"
    for room, obj, kind, number, what in (
        (OBJECT, OBJECT, 1, 2**33, sealed),
        (ROOM, ROOM, 1, 2**33, sealed),
        (ROOM, OBJECT, 2, 2**33, sealed),
        (ROOM, OBJECT, 1, 2**33 + 1, sealed),
        (ROOM, OBJECT, 1, 2**33, sealed[:-1]),
        (ROOM, OBJECT, 1, 2**33, b""),
    ):
        with pytest.raises(IntegrityError):
            blocks.open_block(key, room, obj, kind, number, what)
    assert len({blocks.block_key(KEY, k, n) for k in (1, 0x81) for n in (0, 1)}) == 4


def test_block_misuse():
    """Sizes and numbers out of range are refused."""
    for call in (
        lambda: blocks.block_key(KEY[:31], 1, 0),
        lambda: blocks.block_key(KEY, 0, 0),
        lambda: blocks.block_key(KEY, 256, 0),
        lambda: blocks.block_key(KEY, 1, -1),
        lambda: blocks.seal_block(KEY, ROOM[:1], OBJECT, 1, 0, b""),
    ):
        with pytest.raises(UsageError):
            call()


def test_wrap():
    """A wrap opens under its key and context only, and its nonce comes from the given entropy."""
    wrapped = wrap.wrap(KEY, b"secret", b"for this", entropy=lambda n: b"n" * n)
    assert wrapped[:12] == b"n" * 12
    assert len(wrapped) == 6 + wrap.WRAP_BYTES
    assert wrap.unwrap(KEY, wrapped, b"for this") == b"secret"
    changed = bytes([wrapped[0] ^ 1]) + wrapped[1:]
    for key, what, ad in (
        (KEY[::-1], wrapped, b"for this"),
        (KEY, wrapped, b"other"),
        (KEY, changed, b"for this"),
        (KEY, b"", b""),
    ):
        with pytest.raises(IntegrityError):
            wrap.unwrap(key, what, ad)
    assert wrap.wrap(KEY, b"s", b"") != wrap.wrap(KEY, b"s", b"")
    with pytest.raises(UsageError):
        wrap.wrap(b"k", b"", b"")


def test_signatures():
    """The first vector of RFC 8032 section 7.1 holds; what is changed does not verify."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = sign.public_key(seed)
    assert public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = sign.sign(seed, b"")
    assert signature.hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    sign.verify(public, signature, b"")
    for pub, sig, message in (
        (public, signature, b"x"),
        (public, bytes(64), b""),
        (bytes(31), signature, b""),
        (b"\xff" * 32, signature, b""),
    ):
        with pytest.raises(IntegrityError):
            sign.verify(pub, sig, message)
    assert len(sign.new_signing_key()) == 32
    with pytest.raises(UsageError):
        sign.sign(b"short", b"")


def test_passphrase():
    """The key is Argon2id of the composed text, and parameters count."""
    params = passphrase.Argon2Params(64, 2, 1)
    want = hash_secret_raw("é".encode(), bytes(16), 2, 64, 1, 32, Type.ID)
    assert passphrase.argon2id("é", bytes(16), params) == want
    assert passphrase.argon2id("e\u0301", bytes(16), params) == want
    assert passphrase.argon2id("é", bytes(16), passphrase.Argon2Params(64, 3, 1)) != want
    for text, salt, cost in (
        ("x", b"short", params),
        ("x", bytes(16), passphrase.Argon2Params(1, 0, 1)),
        ("\udc80", bytes(16), params),
    ):
        with pytest.raises(UsageError):
            passphrase.argon2id(text, salt, cost)


def test_entropy():
    """Random bytes have the length asked for and do not repeat; arrays of keys can be written."""
    assert len(entropy.random_bytes(33)) == 33
    assert entropy.random_bytes(16) != entropy.random_bytes(16)
    keys = entropy.random_keys(5)
    assert keys.shape == (5, 32)
    keys[:] = 0
    with pytest.raises(UsageError):
        entropy.random_bytes(-1)
