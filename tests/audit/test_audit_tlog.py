"""The tree's arithmetic against brute force, known roots and another implementation's rules."""

import hashlib
import io

import numpy as np
import pytest
from audit_fixtures import entries
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit.tlog import (
    EMPTY_ROOT,
    bundle_name,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    pack_bundle,
    partial_place,
    partial_tiles,
    root_from_tiles,
    tile_name,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from strongroom.errors import IntegrityError, UsageError

# The leaves and roots of the test vectors that RFC 6962 implementations share.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def brute_root(leaves):
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + brute_root(leaves[:k]) + brute_root(leaves[k:])).digest()


def tile_reader_of(items):
    """Tiles made without the code under test: every level by brute force."""
    levels = [[leaf_hash(item) for item in items]]
    while len(levels[-1]) >= 256:
        below = levels[-1]
        levels.append([tree_root(below[i : i + 256]) for i in range(0, len(below) // 256 * 256, 256)])

    def read(level, index, width):
        return b"".join(levels[level][index * 256 : index * 256 + width])

    return read


def test_roots_are_those_of_rfc_6962():
    """The shared vectors for 0 to 8 leaves."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for count, root in enumerate(ROOTS, 1):
        assert tree_root([leaf_hash(leaf) for leaf in LEAVES[:count]]).hex() == root


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_543])
def test_roots_from_tiles_equal_brute_force(size):
    """Around every boundary of tiles and levels."""
    items = entries(size)
    assert root_from_tiles(tile_reader_of(items), size) == brute_root(items)


def test_three_hundred_random_inclusion_proofs_hold_and_forged_ones_do_not():
    """Each proof verifies for its entry, and for no other leaf, place, size or root."""
    rng = np.random.default_rng(7)
    items = entries(3000)
    read = tile_reader_of(items)
    for _ in range(300):
        size = int(rng.integers(1, len(items) + 1))
        index = int(rng.integers(0, size))
        root = root_from_tiles(read, size)
        proof = inclusion_proof(read, index, size)
        leaf = leaf_hash(items[index])
        verify_inclusion(leaf, index, size, proof, root)
        forged = [
            (leaf_hash(b"forged"), index, size, proof, root),
            (leaf, index, size, proof, EMPTY_ROOT),
            (leaf, index, size, [*proof, leaf], root),
            (leaf, size, size, proof, root),
        ]
        if proof:
            turned = int(rng.integers(0, len(proof)))
            forged.append((leaf, index, size, [*proof[:turned], leaf_hash(b""), *proof[turned + 1 :]], root))
            forged.append((leaf, index, size, proof[:-1], root))
            forged.append((leaf, index ^ 1, size, proof, root))
        for attempt in forged:
            with pytest.raises(IntegrityError):
                verify_inclusion(*attempt)


def test_an_inner_node_is_no_entry():
    """A node's children offered as an entry's bytes do not verify: leaves and nodes hash apart."""
    items = entries(4)
    read = tile_reader_of(items)
    left, right = leaf_hash(items[0]), leaf_hash(items[1])
    proof = inclusion_proof(read, 0, 4)[1:]
    verify_inclusion(node_hash(left, right), 0, 2, proof, root_from_tiles(read, 4))
    with pytest.raises(IntegrityError):
        verify_inclusion(leaf_hash(left + right), 0, 2, proof, root_from_tiles(read, 4))


def test_consistency_proofs_hold_between_all_small_sizes():
    """Every pair up to 40, and around tile boundaries; a changed root on either side is refused."""
    items = entries(1100)
    read = tile_reader_of(items)
    sizes = [*range(41), 255, 256, 257, 511, 512, 513, 1023, 1024, 1100]
    roots = {size: root_from_tiles(read, size) for size in sizes}
    for new in sizes:
        for old in (size for size in sizes if size <= new):
            proof = consistency_proof(read, old, new)
            verify_consistency(old, new, roots[old], roots[new], proof)
            for wrong in ((leaf_hash(b"x"), roots[new]), (roots[old], leaf_hash(b"x"))):
                if old or wrong[0] != roots[old]:
                    with pytest.raises(IntegrityError):
                        verify_consistency(old, new, *wrong, proof)
            with pytest.raises(IntegrityError):
                verify_consistency(old, new, roots[old], roots[new], [*proof, leaf_hash(b"x")])


def test_a_rewritten_log_is_not_consistent():
    """One entry changed before the old size: no proof connects the two."""
    items = entries(700)
    changed = [*items[:5], b"changed", *items[6:]]
    old = root_from_tiles(tile_reader_of(items), 300)
    read = tile_reader_of(changed)
    with pytest.raises(IntegrityError):
        verify_consistency(300, 700, old, root_from_tiles(read, 700), consistency_proof(read, 300, 700))


def test_paths_are_those_of_the_tiles_specification():
    """Its own examples: 1234067, and the tiles of a tree of 70,000."""
    assert tile_name(0, 1_234_067) == "tile/0/x001/x234/067"
    assert bundle_name(999, 5) == "tile/entries/999.p/5"
    assert bundle_name(1000) == "tile/entries/x001/000"
    assert list(partial_tiles(70_000)) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(partial_tiles(256)) == [(1, 0, 1)]
    assert list(partial_tiles(0)) == []


@given(st.integers(0, 10**9), st.integers(1, 255), st.integers(0, 63))
def test_a_partial_name_tells_its_place(index, width, level):
    """Names and places belong together."""
    assert partial_place(tile_name(level, index, width)) == (level, index)
    assert partial_place(bundle_name(index, width)) == (-1, index)
    assert partial_place(tile_name(level, index)) is None


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_a_bundle_has_each_entry_after_its_length(items):
    """As C2SP tlog-tiles says: a big-endian u16, then so many bytes, and nothing else."""
    packed, found = io.BytesIO(pack_bundle(items)), []
    while size := packed.read(2):
        found.append(packed.read(int.from_bytes(size, "big")))
    assert found == items


def test_what_there_is_not_cannot_be_asked_for():
    """No proof of an entry after the end, no tile of level 64, no entry over 65,535 bytes."""
    read = tile_reader_of(entries(3))
    for call in (
        lambda: inclusion_proof(read, 3, 3),
        lambda: consistency_proof(read, 4, 3),
        lambda: tile_name(64, 0),
        lambda: tile_name(0, -1),
        lambda: tile_name(0, 0, 0),
        lambda: pack_bundle([bytes(65_536)]),
    ):
        with pytest.raises(UsageError):
            call()
    assert len(pack_bundle([bytes(65_535)])) == 65_537
