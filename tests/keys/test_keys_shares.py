"""A passphrase in shares: any m of n, not fewer, not mixed, not mistyped."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import KeysError, UsageError
from strongroom.keys.shares import combine_passphrase, split_passphrase

SPLIT = split_passphrase(3, 5)


def test_any_three_of_five_give_it_back_and_no_two():
    """In any order, in capitals, with other blanks; the passphrase has 256 bits."""
    passphrase, shares = SPLIT
    assert len(bytes.fromhex(passphrase)) == 32
    for some in combinations(shares, 3):
        assert combine_passphrase(some[::-1]) == passphrase
    assert combine_passphrase([f"  {share.upper()}\n" for share in shares[:3]]) == passphrase
    for few in (*combinations(shares, 2), shares[:1], []):
        with pytest.raises(KeysError):
            combine_passphrase(few)


def test_shares_of_two_passphrases_and_mistyped_ones_give_nothing():
    """A share of another slot, a word changed, left out or twice, the same share twice."""
    _, shares = SPLIT
    _, others = split_passphrase(3, 5)
    with pytest.raises(KeysError):
        combine_passphrase([*shares[:2], others[2]])
    words = shares[2].split()
    swapped, at = words.copy(), next(at for at, word in enumerate(words) if word != words[0])
    swapped[0], swapped[at] = words[at], words[0]
    for wrong in (words[:-1], [*words, words[0]], swapped, ["zzz", *words[1:]]):
        with pytest.raises(KeysError) as caught:
            combine_passphrase([*shares[:2], " ".join(wrong)])
        assert not set(words) & set(str(caught.value).split())  # `phrase` is a word of shares, and of `passphrase`
    with pytest.raises(KeysError):
        combine_passphrase([shares[0]] * 3)


def test_published_shares_combine():
    """Two of the vectors of SLIP-0039 (256 bits): 2 of 3 members, and a share with a wrong checksum."""
    good = [
        ("humidity disease academic always aluminum jewelry energy woman receiver strategy amuse duckling lying evidence "
        "network walnut tactics forget hairy rebound impulse brother survive clothes stadium mailman rival ocean reward "
        "venture always armed unwrap"),
        ("humidity disease academic agency actress jacket gross physics cylinder solution fake mortgage benefit public "
        "busy prepare sharp friar change work slow purchase ruler again tricycle involve viral wireless mixture anatomy "
        "desert cargo upgrade"),
    ]
    import shamir_mnemonic

    secret = shamir_mnemonic.combine_mnemonics(good, b"TREZOR")
    assert secret.hex() == "c938b319067687e990e05e0da0ecce1278f75ff58d9853f19dcaeed5de104aae"
    with pytest.raises(KeysError):
        combine_passphrase([good[0].replace("unwrap", "upgrade"), good[1]])


@pytest.mark.parametrize("how", [(1, 5), (0, 0), (3, 2), (2, 17), (-1, 3)])
def test_numbers_that_cannot_be(how):
    """One share is a passphrase; more than sixteen the words cannot number."""
    with pytest.raises(UsageError):
        split_passphrase(*how)


@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_text_is_no_share(texts):
    """Whatever is typed: an error of this library."""
    with pytest.raises(KeysError):
        combine_passphrase(texts)
