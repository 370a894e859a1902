//! x509: one row a certificate and role in which it was seen, once a day (Zeek `base/files/x509`).

use crate::stream;

stream! {
    /// Certificates seen in TLS handshakes.
    "x509", Asset, version 1;
    zeek {
        /// When it was seen.
        ts "ts": Time,
        /// SHA-256 of the certificate, which is also its key on the bus.
        fingerprint "fingerprint": Str,
        /// Version.
        version "certificate.version": Count,
        /// Serial number, in upper-case hex.
        serial "certificate.serial": Str,
        /// Subject, in the form of RFC 2253.
        subject "certificate.subject": Str,
        /// Issuer, in the form of RFC 2253.
        issuer "certificate.issuer": Str,
        /// Valid from.
        not_valid_before "certificate.not_valid_before": Time,
        /// Valid until.
        not_valid_after "certificate.not_valid_after": Time,
        /// Algorithm of the key.
        key_alg "certificate.key_alg": Str,
        /// Algorithm of the signature.
        sig_alg "certificate.sig_alg": Str,
        /// Type of the key: rsa, dsa, ecdsa.
        key_type "certificate.key_type": Option<Str>,
        /// Bits of the key.
        key_length "certificate.key_length": Option<Count>,
        /// Exponent of an RSA key.
        exponent "certificate.exponent": Option<Str>,
        /// Curve of an elliptic key.
        curve "certificate.curve": Option<Str>,
        /// Alternative names that are host names.
        san_dns "san.dns": Option<Vector<Str>>,
        /// Alternative names that are URIs.
        san_uri "san.uri": Option<Vector<Str>>,
        /// Alternative names that are mail addresses.
        san_email "san.email": Option<Vector<Str>>,
        /// Alternative names that are addresses.
        san_ip "san.ip": Option<Vector<Addr>>,
        /// It may sign others.
        ca "basic_constraints.ca": Option<Bool>,
        /// How many may follow it.
        path_len "basic_constraints.path_len": Option<Count>,
        /// It came first, as that of an end.
        host_cert "host_cert": Bool,
        /// The client sent it.
        client_cert "client_cert": Bool,
    }
    policy {}
    weir {}
}
