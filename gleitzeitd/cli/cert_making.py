"""Certificates of one's own: an authority (CA), what it vouches for, and how a certificate is renewed.

Keys are of P-256, which everything that speaks TLS knows. A certificate is for servers and clients alike,
since a component is a client of hubs, and a hub a server to components. All is as RFC 5280 wants it, for
those that look closely.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.certificate import COMPONENT_URI

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_CLOCKS = timedelta(hours=1)
"""By which clocks of hosts may differ."""
_NAME_LIMIT = 64  # characters of a common name: RFC 5280, ub-common-name


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Whom a certificate is for."""

    hosts: Sequence[str] = ()
    addresses: Sequence[str] = ()
    components: Sequence[str] = ()
    """Ids, or patterns of ids as of a shell."""

    def alternative(self) -> x509.SubjectAlternativeName:
        """As they stand in the certificate.

        Raises:
            ConfigError: one of them cannot.
        """
        names: list[x509.GeneralName] = []
        for host in self.hosts:
            try:
                names.append(
                    x509.DNSName(host.encode("idna").decode("ascii") if not host.isascii() else host)
                )
            except ValueError as problem:
                raise ConfigError(f"--dns: {host!r} is no name of a host") from problem
        for address in self.addresses:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(address)))
            except ValueError:
                raise ConfigError(f"--ip: expected an address like 10.0.0.1, found {address!r}") from None
        for component in self.components:
            try:
                names.append(x509.UniformResourceIdentifier(f"{COMPONENT_URI}{component}"))
            except ValueError as problem:
                raise ConfigError(f"--component: {component!r} cannot be an id") from problem
        return x509.SubjectAlternativeName(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A certificate with its key, as they are written into files."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is worth knowing of a certificate."""

    subject: str
    issuer: str
    is_ca: bool
    expires: float
    """Seconds since 1970."""
    fingerprint: str
    hosts: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    components: list[str] = field(default_factory=list)


def make_authority(name: str, days: int, now: datetime | None = None) -> Made:
    """An authority that vouches for certificates, and for no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _common_name(name)
    usage = _usage(authority=True)
    made = (
        _begun(subject, subject, key, days, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Made(certificate=_pem(made), key=_key_pem(key))


def make_certificate(
    authority: Made, name: str, names: Names, days: int, now: datetime | None = None, key: Key | None = None
) -> Made:
    """A certificate of the authority; ``key`` stands for a new one.

    Raises:
        ConfigError: the authority is none, or a name cannot be in a certificate.
    """
    issuer, issuer_key = _authority(authority)
    key = key or ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    made = (
        _begun(_common_name(name), issuer.subject, key, days, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(names.alternative(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, _digest(issuer_key))
    )
    return Made(certificate=_pem(made), key=_key_pem(key))


def renewed(
    authority: Made, old: Made, days: int | None, now: datetime | None = None, *, new_key: bool = False
) -> Made:
    """The same certificate for another while: for ``days``, or for as long as before. An authority is
    renewed by itself.

    Raises:
        ConfigError: one of them cannot be read.
    """
    certificate, key = read_certificate(old.certificate), read_key(old.key)
    lasts = days or max(1, round((_ends(certificate) - _begins(certificate)).total_seconds() / 86400))
    is_ca = is_authority(certificate)
    issuer, issuer_key = (certificate, key) if is_ca else _authority(authority)
    if new_key and not is_ca:
        key = ec.generate_private_key(ec.SECP256R1())
    builder = _begun(certificate.subject, issuer.subject, key, lasts, now)
    replaced = (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)
    for extension in certificate.extensions:
        if not isinstance(extension.value, replaced):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    made = (
        builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, _digest(issuer_key))
    )
    return Made(certificate=_pem(made), key=_key_pem(key))


# --- reading --------------------------------------------------------------------------------------


def described(pem: bytes) -> Described:
    """What is worth knowing of the first certificate in a file.

    Raises:
        ConfigError: there is none.
    """
    certificate = read_certificate(pem)
    names = Names()
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        uris = found.get_values_for_type(x509.UniformResourceIdentifier)
        names = Names(
            hosts=found.get_values_for_type(x509.DNSName),
            addresses=[str(each) for each in found.get_values_for_type(x509.IPAddress)],
            components=[each.removeprefix(COMPONENT_URI) for each in uris if each.startswith(COMPONENT_URI)],
        )
    return Described(
        subject=_named(certificate.subject),
        issuer=_named(certificate.issuer),
        is_ca=is_authority(certificate),
        expires=_ends(certificate).timestamp(),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        hosts=list(names.hosts),
        addresses=list(names.addresses),
        components=list(names.components),
    )


def read_certificate(pem: bytes) -> x509.Certificate:
    """Raises ConfigError if it is none."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as problem:
        raise ConfigError("holds no certificate in PEM form") from problem


def read_key(pem: bytes) -> Key:
    """Raises ConfigError if it is none that we can sign with."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise ConfigError("holds no private key in PEM form without a passphrase") from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigError("holds a key that is neither of an elliptic curve nor Ed25519")
    return key


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may vouch for others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def vouches(authority: bytes, pem: bytes) -> bool:
    """Whether the certificate in ``pem`` is of this authority."""
    issuer, certificate = read_certificate(authority), read_certificate(pem)
    public = issuer.public_key()
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            digest = certificate.signature_hash_algorithm
            if digest is None:
                return False
            public.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(digest))
        elif hasattr(public, "verify"):
            public.verify(certificate.signature, certificate.tbs_certificate_bytes)  # type: ignore[call-arg]
    except (InvalidSignature, TypeError, UnsupportedAlgorithm):
        return False
    return issuer.subject == certificate.issuer


# --- parts ----------------------------------------------------------------------------------------


def _authority(made: Made) -> tuple[x509.Certificate, Key]:
    certificate, key = read_certificate(made.certificate), read_key(made.key)
    if not is_authority(certificate):
        raise ConfigError("the certificate that should vouch for others is not one of a CA")
    return certificate, key


def _begun(
    subject: x509.Name, issuer: x509.Name, key: Key, days: int, now: datetime | None
) -> x509.CertificateBuilder:
    begins = now or datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - _CLOCKS)
        .not_valid_after(begins + timedelta(days=days))
    )


def _common_name(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_NAME_LIMIT])])
    except ValueError as problem:
        raise ConfigError(f"{name!r} cannot be the name of a certificate") from problem


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _digest(key: Key) -> hashes.SHA256 | None:
    return hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Key) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _named(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _begins(certificate: x509.Certificate) -> datetime:
    return _utc(certificate, "not_valid_before")


def _ends(certificate: x509.Certificate) -> datetime:
    return _utc(certificate, "not_valid_after")


def _utc(certificate: x509.Certificate, name: str) -> datetime:
    # Releases before 42 have only the names without the time zone, and later ones warn of them.
    found: datetime | None = getattr(certificate, f"{name}_utc", None)
    if found is not None:
        return found
    without_zone: datetime = getattr(certificate, name)
    return without_zone.replace(tzinfo=UTC)
