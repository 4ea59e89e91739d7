"""Ed25519 against the vectors of RFC 8032, section 7.1, and against every weak encoding there is."""

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.core import ed25519
from vault.errors import Malformed

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SIGN = 1 << 255

# name, secret key, public key, message, signature
RFC_8032 = [
    (
        "TEST 1",
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555f"
            "b8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "TEST 2",
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da08"
            "5ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "TEST 3",
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18"
            "ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "TEST SHA(abc)",
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909"
            "351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
]


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Add two points, by the affine formula of RFC 8032, section 5.1 (a = -1)."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def times(number: int, point: tuple[int, int]) -> tuple[int, int]:
    result = (0, 1)
    while number:
        if number & 1:
            result = add(result, point)
        point = add(point, point)
        number >>= 1
    return result


def point_with(y: int) -> tuple[int, int] | None:
    """Find a point with this y, as RFC 8032, section 5.1.3 does."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


def encoded(y: int, sign: int) -> bytes:
    return (y | (SIGN if sign else 0)).to_bytes(32, "little")


def torsion() -> set[tuple[int, int]]:
    """Derive the eight points of small order: the multiples of L times any point that generates them."""
    choose = random.Random(8032)
    while True:
        point = point_with(choose.randrange(P))
        if point is None:
            continue
        small = times(L, point)
        found = {times(number, small) for number in range(8)}
        if len(found) == 8:
            return found


def test_as_many_vectors_run_as_were_taken_from_the_rfc() -> None:
    assert len(RFC_8032) == 4


@pytest.mark.parametrize(("name", "secret", "public", "message", "signature"), RFC_8032)
def test_the_rfc_vectors_sign_and_verify(
    name: str, secret: str, public: str, message: str, signature: str
) -> None:
    raw, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert key.public_key().public_bytes_raw() == raw
    assert key.sign(text) == signed
    assert ed25519.verify(raw, signed, text)
    assert not ed25519.verify(raw, signed, text + b"\0")


def test_all_eight_points_of_small_order_are_refused() -> None:
    points = torsion()
    assert len(points) == 8
    for x, y in points:
        with pytest.raises(Malformed, match="small order") as refusal:
            ed25519.PublicKey.parse(encoded(y, x & 1))
        assert refusal.value.code == "malformed-key"


def test_every_encoding_that_is_not_canonical_is_refused() -> None:
    encodings = [encoded(y, sign) for y in range(P, 2**255) for sign in (0, 1)]
    assert len(encodings) == 38
    for raw in encodings:
        with pytest.raises(Malformed, match="canonical") as refusal:
            ed25519.PublicKey.parse(raw)
        assert refusal.value.code == "malformed-key"


def test_a_sign_on_x_zero_is_refused() -> None:
    for y in (1, P - 1):
        with pytest.raises(Malformed):
            ed25519.PublicKey.parse(encoded(y, 1))


def test_the_curve_check_agrees_with_decoding_by_the_rfc() -> None:
    choose = random.Random(25519)
    on_curve = 0
    for _ in range(200):
        y = choose.randrange(2, P)
        if point_with(y) is None:
            with pytest.raises(Malformed, match="not a point"):
                ed25519.PublicKey.parse(encoded(y, 0))
        else:
            on_curve += 1
            assert ed25519.PublicKey.parse(encoded(y, 1)).raw == encoded(y, 1)
    assert 60 < on_curve < 140


def test_a_signature_with_s_plus_the_group_order_is_not_accepted_as_well() -> None:
    _, _, public, message, signature = RFC_8032[2]
    good = bytes.fromhex(signature)
    high = int.from_bytes(good[32:], "little") + L
    assert high < 2**256
    assert not ed25519.verify(
        bytes.fromhex(public), good[:32] + high.to_bytes(32, "little"), bytes.fromhex(message)
    )
