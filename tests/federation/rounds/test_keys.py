"""Certificates are for the names asked for and signed by their authority; keys are their owner's alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from federation.rounds.carriers.keys import certificate_in, make_node_key

NAMES = ("federation.example", "127.0.0.1")


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_certificate_is_for_its_names_and_signed_by_its_authority(tmp_path: Path):
    found = certificate_in(tmp_path, NAMES)
    server, authority = read(found.certificate), read(found.authority)
    server.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["federation.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    can_sign = [one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for one in (server, authority)]
    assert can_sign == [False, True]


def test_a_certificate_that_is_there_stays_and_half_a_one_is_made_anew(tmp_path: Path):
    before = certificate_in(tmp_path, NAMES).certificate.read_bytes()
    found = certificate_in(tmp_path, NAMES)
    assert found.certificate.read_bytes() == before
    found.authority.unlink()
    read(certificate_in(tmp_path, NAMES).certificate).verify_directly_issued_by(read(found.authority))
    assert found.certificate.read_bytes() != before


def test_private_keys_are_their_owner_s_only_and_the_authority_s_is_not_kept(tmp_path: Path):
    found, node = certificate_in(tmp_path, NAMES), make_node_key(tmp_path, "node")
    for path in (found.key, node.private):
        assert path.stat().st_mode & 0o777 == 0o600
    kept = {path.name for path in tmp_path.iterdir() if b"PRIVATE" in path.read_bytes()}
    assert kept == {"server.key", "node.key"}


def test_a_node_s_key_is_on_the_curve_that_flower_takes_and_is_never_written_over(tmp_path: Path):
    one, other = make_node_key(tmp_path, "one"), make_node_key(tmp_path, "other")
    public = load_ssh_public_key(one.public.read_bytes())
    assert isinstance(public, EllipticCurvePublicKey)
    assert isinstance(public.curve, SECP384R1)
    assert load_ssh_private_key(one.private.read_bytes(), None).public_key() == public
    assert one.public.read_bytes() != other.public.read_bytes()
    with pytest.raises(FileExistsError):
        make_node_key(tmp_path, "one")
