"""Envelopes: every signature is looked at, over the received bytes, under one payload type."""

import base64
import json

import pytest

from tests.builders import new_identity
from vault.core import envelope, limits, names
from vault.core.envelope import Envelope, Signature
from vault.core.names import Digest
from vault.errors import BadSignature, Malformed, Unsigned, UntrustedSigner

ANN, BOB, EVE = (new_identity(name) for name in ("ann", "bob", "eve"))
KEYS = {Digest(who.key_id): who.public for who in (ANN, BOB)}
PAYLOAD = b'{"a":1}'


def signed(*who: object, kind: str = "policy", payload: bytes = PAYLOAD) -> Envelope:
    people = [who for who in (ANN, BOB, EVE) if who.name in set(who_names(*who_list(who)))] if False else who
    return envelope.sign(kind, payload, [(Digest(each.key_id), each.sign) for each in people])  # type: ignore[attr-defined]
