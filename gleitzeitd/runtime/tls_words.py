"""What goes wrong with TLS, in the words of whoever has to mend it, on both ends of a connection."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from gleitzeitd.errors import TlsFailed

USE_TLS = 426
"""The status with which a hub that speaks TLS answers plain HTTP: RFC 9110, 15.5.22."""
_EXPIRED, _TOO_EARLY = 10, 9  # X509_verify_cert_error_string(3)
_SAID = re.compile(r"\[SSL: (\w+)\]")
_OF_NO_CA = {2, 18, 19, 20, 21, 24}
_OTHER_NAME = {62, 64}
_NO_TLS_THERE = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def hub_problem(
    problem: BaseException, url: str, ca: Path | None, certificate: Path | None
) -> TlsFailed | None:
    """Why a component gets no connection to a hub, if that is a matter of TLS.

    Args:
        problem: what the attempt ended with.
        url: the hub's.
        ca: what the hub's certificate was held against; None: the CAs of this host.
        certificate: what we have shown, or could have.
    """
    host = urlsplit(url).hostname or url
    if getattr(problem, "status", None) == USE_TLS:
        return TlsFailed(
            f"{host} speaks TLS at this port, and was spoken to in plain HTTP: use https:// in the URL"
        )
    found = _of_ssl(problem)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        return TlsFailed(_of_verification(found, host, ca))
    reason = (found.reason or str(found)).upper().replace(" ", "_")
    own = f"our certificate {certificate}" if certificate else "our certificate"
    if any(each in reason for each in _NO_TLS_THERE):
        return TlsFailed(
            f"{host} speaks plain HTTP at this port, and was spoken to in TLS: use http:// in the URL"
        )
    if "CERTIFICATE_REQUIRED" in reason or (certificate is None and "HANDSHAKE_FAILURE" in reason):
        return TlsFailed(
            f"{host} wants a certificate, and we have none (gleitzeit cert issue, security.certificate_file)"
            if certificate is None
            else f"{host} wants a certificate of another CA than that of {own}"
        )
    if "ALERT_UNKNOWN_CA" in reason:
        return TlsFailed(f"{host} does not know the CA of {own}: it has to be of the hub's security.ca_file")
    if "ALERT_CERTIFICATE_EXPIRED" in reason:
        return TlsFailed(f"{host} refuses {own}, which has expired: gleitzeit cert renew")
    if "ALERT" in reason and "CERTIFICATE" in reason:
        return TlsFailed(f"{host} refuses {own}: {_plain(reason)}")
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return TlsFailed(f"{host} and this host have no version of TLS in common; 1.2 is the least")
    return TlsFailed(f"no TLS with {host}: {_plain(reason)}")


def _of_verification(problem: ssl.SSLCertVerificationError, host: str, ca: Path | None) -> str:
    code, text = problem.verify_code, problem.verify_message
    if code == _EXPIRED:
        return f"the certificate of {host}, or of its CA, has expired: there, gleitzeit cert renew"
    if code == _TOO_EARLY:
        return f"the certificate of {host} is not valid yet: compare the clocks of both hosts"
    if code in _OTHER_NAME or "mismatch" in text.lower():
        return (
            f"the certificate of {host} is for another name: use one that is in it, or "
            f"gleitzeit cert issue --dns {host} there ({text.rstrip('.')})"
        )
    if code in _OF_NO_CA:
        known = f"the CA in {ca}" if ca else "a CA that this host trusts; security.ca_file names one of ours"
        return f"the certificate of {host} is not of {known} ({text})"
    return f"the certificate of {host} is refused: {text}"


def peer_problem(problem: BaseException) -> str:
    """Why a hub gets no connection to somebody who tries to make one; empty if that is not worth a word."""
    found = _of_ssl(problem)
    if isinstance(found, ssl.SSLCertVerificationError):
        if found.verify_code == _EXPIRED:
            return "its certificate has expired"
        if found.verify_code == _TOO_EARLY:
            return "its certificate is not valid yet"
        if found.verify_code in _OF_NO_CA:
            return f"its certificate is not of the CA in security.ca_file ({found.verify_message})"
        return f"its certificate is refused: {found.verify_message}"
    if found is None:
        text = str(problem) or type(problem).__name__
        return "" if isinstance(problem, ConnectionError) else f"it does not finish: {text}"
    reason = (found.reason or str(found)).upper().replace(" ", "_")
    if "HTTP_REQUEST" in reason:
        return "it speaks plain HTTP, and this is a port of TLS"
    if "DID_NOT_RETURN_A_CERTIFICATE" in reason:
        return "it shows no certificate, and hub.client_certificates asks for one"
    if "UNSUPPORTED_PROTOCOL" in reason or "VERSION_TOO_LOW" in reason:
        return "it speaks no TLS of 1.2 or later"
    if "ALERT" in reason and ("CA" in reason.split("_") or "CERTIFICATE" in reason):
        return f"it does not accept the hub's certificate: {_plain(reason)}"
    return _plain(reason)


def _of_ssl(problem: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS in what aiohttp and asyncio have made of it."""
    for _ in range(5):
        if problem is None:
            return None
        # aiohttp's own errors call themselves such of TLS, and have nothing of what these know.
        inside = [getattr(problem, name, None) for name in ("certificate_error", "os_error")]
        for each in (*inside, problem):
            if isinstance(each, ssl.SSLError) and hasattr(each, "reason"):
                return each
            # Releases of aiohttp before 3.9 keep of an alert only what it says.
            if isinstance(each, OSError) and (found := _SAID.search(str(each))):
                alert = ssl.SSLError(str(each))
                alert.reason = found[1]
                return alert
        problem = problem.__cause__ or problem.__context__
    return None


def _plain(reason: str) -> str:
    return reason.replace("_", " ").lower()
