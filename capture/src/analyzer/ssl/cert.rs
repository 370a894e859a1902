//! Whether a name is one of a certificate's.
//!
//! Source: RFC 6125 section 6.4, RFC 5280 section 4.2.1.6; Zeek's `x509_check_cert_hostname`.

use crate::files::x509::Certificate;

/// Whether the certificate is for this host. A subject alternative name, where there is one, rules
/// out the common name.
pub fn is_for(certificate: &Certificate, host: &[u8]) -> bool {
    match certificate.alternative_hosts() {
        Some(names) => names.iter().any(|name| name_matches(host, name)),
        None => certificate.common_name().is_some_and(|name| name_matches(host, &one_line(name))),
    }
}

/// A common name as OpenSSL prints it: one line, other bytes than printable ASCII as dots.
fn one_line(name: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(name.len());
    for &byte in name {
        let printable = matches!(byte, b' '..=b'~' | b'\n' | b'\r');
        line.push(if printable { byte } else { b'.' });
        if byte == b'\n' {
            break;
        }
    }
    line
}

/// Whether a host is meant by a name of a certificate, in which the leftmost label may end in `*`
/// if two labels follow it.
fn name_matches(host: &[u8], name: &[u8]) -> bool {
    if host == name {
        return true;
    }
    let Some(star) = memchr::memchr(b'*', name) else { return false };
    let Some(dot) = memchr::memchr(b'.', name) else { return false };
    let (label, domain) = name.split_at(dot);
    if star + 1 != dot || memchr::memchr(b'.', domain.get(1..).unwrap_or_default()).is_none() {
        return false;
    }
    let Some(host_dot) = memchr::memchr(b'.', host) else { return false };
    let (_, host_domain) = host.split_at(host_dot);
    // The part before the star is compared with the whole host, as Zeek does.
    host_domain == domain && host.starts_with(label.get(..star).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (host, name, is) in [
            ("a.b.c", "a.b.c", true),
            ("a.b.c", "*.b.c", true),
            ("ab.b.c", "a*.b.c", true),
            ("x.a.b.c", "*.b.c", false),
            ("a.top", "*.top", false),
            ("a.b.c", "b*.b.c", false),
            ("a.b.c", "*a.b.c", false),
            ("a", "*.b.c", false),
            ("A.b.c", "a.b.c", false),
        ] {
            assert_eq!(name_matches(host.as_bytes(), name.as_bytes()), is, "{host} {name}");
        }
    }

    /// Self-signed, with two common names and the alternative names `*.example.com`, `example.org`.
    const WITH_SAN: &str = "\
        308201e33082018aa00302010202141ecfe9302105304ac986ed1d4427d5ec1e482a07300a06082a8648ce3d\
        04030230343118301606035504030c0f6f6c642e6578616d706c652e6e65743118301606035504030c0f7777\
        772e6578616d706c652e6e6574301e170d3236313132343033323231385a170d333631313231303332323138\
        5a30343118301606035504030c0f6f6c642e6578616d706c652e6e65743118301606035504030c0f7777772e\
        6578616d706c652e6e65743059301306072a8648ce3d020106082a8648ce3d03010703420004623b8c7dca56\
        c14e156e5118497e5d386521991bb66029c25e922ba013e77e391a23218332a214dee766f4593a891a79c9b5\
        077c68179f0b8cc140e43e8503a8a37a3078301d0603551d0e041604144338d8065cdcf1d77d88f4c344774e\
        9b1e6654fe301f0603551d230418301680144338d8065cdcf1d77d88f4c344774e9b1e6654fe300f0603551d\
        130101ff040530030101ff30250603551d11041e301c820d2a2e6578616d706c652e636f6d820b6578616d70\
        6c652e6f7267300a06082a8648ce3d040302034700304402206f0b5f1061a8c91bccf4c5d8c435e61dc06daa\
        d616c90f8fe8f411ba6163f0a0022035eedd72fee23f948c5b1f2e3392d4acd75cb8569b01a0a0a701e3a38f\
        158c8a";
    /// The same without alternative names.
    const WITHOUT_SAN: &str = "\
        308201bd30820163a003020102021437c67e14d595004340992c3aa7ad02d8bb4386ef300a06082a8648ce3d\
        04030230343118301606035504030c0f6f6c642e6578616d706c652e6e65743118301606035504030c0f7777\
        772e6578616d706c652e6e6574301e170d3236313132343033323231385a170d333631313231303332323138\
        5a30343118301606035504030c0f6f6c642e6578616d706c652e6e65743118301606035504030c0f7777772e\
        6578616d706c652e6e65743059301306072a8648ce3d020106082a8648ce3d030107034200043ac81fa03f69\
        383f3e05ad143794c33d143af4427e9315b0433cb1b4a3b868e8a04d3e79e7393d7e59a66b59871b3c22a106\
        6b6a5f1f3403799be833f8ba3ee1a3533051301d0603551d0e04160414a4c415fd45d4ed458305c6e212c7e2\
        3c793982db301f0603551d23041830168014a4c415fd45d4ed458305c6e212c7e23c793982db300f0603551d\
        130101ff040530030101ff300a06082a8648ce3d04030203480030450220323da20ba5cbe7bbfc53d4db8812\
        f6fd38c42e53942a760745d98658a3a7e54302210098e54c2f1411ad70727fb1da26c0b37aa689d4f8174fe5\
        69afb6339594a8aaf9";

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
        let byte = |pair: &[u8]| pair.iter().fold(0u8, |n, d| (n << 4) | digit(*d));
        text.as_bytes().chunks(2).map(byte).collect()
    }

    #[test]
    fn alternative_names_rule_out_the_common_name() {
        let (san, cn) = (unhex(WITH_SAN), unhex(WITHOUT_SAN));
        let is_for = |der: &[u8], host: &[u8]| {
            super::is_for(&Certificate::parse(der).expect("a certificate"), host)
        };
        assert!(is_for(&san, b"www.example.com") && is_for(&san, b"example.org"));
        assert!(!is_for(&san, b"www.example.net") && !is_for(&san, b"example.com"));
        // The last of several counts.
        assert!(is_for(&cn, b"www.example.net") && !is_for(&cn, b"old.example.net"));
    }
}
