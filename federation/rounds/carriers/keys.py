"""TLS certificates of a SuperLink, and the keys by which SuperNodes are known. Knows no Flower.

The authority signs one certificate and its key is then forgotten, so that nothing else can be signed by it: a new
certificate means a new authority, whose certificate every node is given anew.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 825
"""How long a certificate holds."""


@dataclass(frozen=True)
class Certificate:
    """Files of PEM: the ``authority``'s certificate, for every node; the server's ``certificate`` and its ``key``."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class NodeKey:
    """A node's key pair, ECDSA on P-384 in SSH's form: ``private`` stays on the device, ``public`` leaves it."""

    private: Path
    public: Path


def certificate_in(folder: Path, names: Sequence[str]) -> Certificate:
    """The certificate in ``folder``; a new one, for a server known by ``names``, where there is none."""
    found = Certificate(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    # The authority's certificate is written last.
    if not found.authority.exists():
        _make(found, names)
    return found


def make_node_key(folder: Path, name: str) -> NodeKey:
    """A new key pair for the node ``name`` in ``folder``; FileExistsError where it has one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = generate_private_key(SECP384R1())
    found = NodeKey(folder / f"{name}.key", folder / f"{name}.pub")
    _write(found.private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
    _write(found.public, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n", 0o644)
    return found


def _make(found: Certificate, names: Sequence[str]) -> None:
    found.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority_key, server_key = generate_private_key(SECP384R1()), generate_private_key(SECP384R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sotto federation")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    authority = (
        _builder(issuer, issuer, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    server = (
        _builder(subject, issuer, server_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_named(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    for half_written in (found.key, found.certificate):
        half_written.unlink(missing_ok=True)
    _write(found.key, server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(found.certificate, server.public_bytes(Encoding.PEM), 0o644)
    _write(found.authority, authority.public_bytes(Encoding.PEM), 0o644)


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A node's clock may be behind.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes, mode: int) -> None:
    """A new file with ``mode`` from the start, so that a key is never readable by others."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
