//! Certificates made with openssl 3.0; expectations are what it prints of them.

use arrow_array::{Array as _, RecordBatch};
use model::read;

use super::*;
use crate::analyzer::testing::{Bench, START};
use crate::analyzer::{Transport, ssl};
use crate::files::x509::known::Known;

/// RSA, with a name that needs escapes, alternative names of all kinds, constraints.
const RSA: &str = "\
    308202b43082021da003020102020300f123300d06092a864886f70d01010b05003053310b300906035504061302\
    444531183016060355040a0c0f4dc3bc6c6c65722c2053c3b6686e65310c300a06035504030c03612b62311c301a\
    06092a864886f70d010901160d78406578616d706c652e6e6574301e170d3236313132353139343934395a170d33\
    36313132323139343934395a3053310b300906035504061302444531183016060355040a0c0f4dc3bc6c6c65722c\
    2053c3b6686e65310c300a06035504030c03612b62311c301a06092a864886f70d010901160d78406578616d706c\
    652e6e657430819f300d06092a864886f70d010101050003818d0030818902818100e8a6957d6d0059652b56ad81\
    67e37ec25f766077bc0de9d685556baa8105c3bad6d6b9b28eecf39a1afa3b6f55c444e0642e56db187697d5be7c\
    a23eb492aff271d4a773162e9a3a3256715d4a7297342e76dd2848438564e785ded066e3e050233cc2ba2ddec2e4\
    d7aa07f0717c9ac75b125833ab5878487263214cb8ee91df0203010001a38195308192305d0603551d1104563054\
    8209612e6578616d706c65820b2a2e622e6578616d706c658608687474703a2f2f75810d65406578616d706c652e\
    6e65748704c0000201871020010db8000000000000000000000001a00906022a03a0030c017830120603551d1301\
    01ff040830060101ff020103301d0603551d0e04160414dc971c9f424bfd9800c18b7aed181f979f42bec2300d06\
    092a864886f70d01010b050003818100098f10924ed5a31801cbcab379896baa5e7e9b95b8e4aa52448325a63f27\
    b400c3f410b864474fc92a4c7ae5d50fff1cc2f5a746d6d6b226e219611638511626ba47d8b8e164f418c872ec5c\
    ea2d85ccc1746d5707479586a7fe400dba206b27ae32d3973112e16ba11579726e8df4056f874e2d01a0a4a28e52\
    421423d5d0a8";
/// On secp521r1, with a negative serial number and the default extensions.
const EC: &str = "\
    308201e430820145a0030201020201fb300a06082a8648ce3d040302300d310b300906035504030c026563301e17\
    0d3236313132353139343934395a170d3236313230353139343934395a300d310b300906035504030c0265633081\
    9b301006072a8648ce3d020106052b81040023038186000401206e7458018f00227eda08460347be3fc16149f1a4\
    400ad06d136a7d5501be73a53c9c59d4ca2565d28c0180be7733b03790e43fda54fa8014719ad1ac098b8d6e0035\
    bbe32e35d960c57cda9073ce72739f54b8af5c15db58c1d06cfed922c1c314e317738d7221a0704fcfcbc8d16134\
    b5ad12aafe748eff8b5e4413fc5366b1e7c4a3533051301d0603551d0e04160414db3b937e054ef8c5e1f57c6bf2\
    c35d18cb6c22ac301f0603551d23041830168014db3b937e054ef8c5e1f57c6bf2c35d18cb6c22ac300f0603551d\
    130101ff040530030101ff300a06082a8648ce3d04030203818c00308188024201292a4c4ff829a66da9eed6191a\
    5ecbf3177cbe685468f4eab94f99971715a71b1ab5bb74137bd1411ec19bd393a216cec0e410412588f7710bcd2c\
    d0e54be23426024201c06f1890dc17c08576d4b02a52e288fa1f045c7861a16d1bbd6ba6f7dc2ce5f3b048552940\
    0651d17c940ff69def6b62157189def165f4b0efac4ff5213d393dbe";
/// Ed25519, with an empty name.
const ED25519: &str = "\
    308201143081c7a003020102021418dfebdf0799d40e39fbbfa31c60f83d860ef74f300506032b65703000301e17\
    0d3236313132353139343934395a170d3236313230353139343934395a3000302a300506032b6570032100b12867\
    f63d9040d0de645ae8d63b5144cd3bbb23f2aa10c591689df3fea745cda3533051301d0603551d0e041604146802\
    77d50141a886a82972296e1366a270c36c1e301f0603551d23041830168014680277d50141a886a82972296e1366\
    a270c36c1e300f0603551d130101ff040530030101ff300506032b6570034100b0ac54bc45186f72b3bdc566b2e9\
    1131f663769f27cf9f7a63808da802c2090b484b381d596992acf0b509202e0651be7f94c1c717b674e0604991bf\
    45fe2008";

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | digit(*d))).collect()
}

#[test]
fn a_certificate_with_everything() {
    let mut der = unhex(RSA);
    der.extend(b"more");
    let found = Certificate::parse(&der).expect("a certificate");
    assert_eq!((found.version, found.serial.as_str()), (3, "F123"));
    let name = "emailAddress=x@example.net,CN=a\\+b,O=M\\C3\\BCller\\, S\\C3\\B6hne,C=DE";
    assert_eq!((found.subject.as_str(), found.issuer.as_str()), (name, name));
    assert_eq!(found.valid, [1_795_636_189_000_000, 2_110_996_189_000_000]);
    let key = Key {
        algorithm: "rsaEncryption".into(),
        kind: Some("rsa"),
        bits: Some(1024),
        exponent: Some("65537".into()),
        curve: None,
    };
    assert_eq!((found.key, found.signature), (key, "sha256WithRSAEncryption"));
    let san = found.san.as_ref().expect("alternative names");
    assert_eq!(san.dns, [&b"a.example"[..], b"*.b.example"]);
    assert_eq!(
        (&san.uri[..], &san.email[..]),
        (&[b"http://u".to_vec()][..], &[b"e@example.net".to_vec()][..])
    );
    let ips: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).into();
    assert_eq!(san.ip, ips);
    let basic = found.basic.expect("constraints");
    assert_eq!((basic.ca, basic.path_len), (true, Some(3)));
    assert_eq!(found.weirds, []);
}

#[test]
fn fingerprints_leave_out_what_follows() {
    let mut der = unhex(RSA);
    der.extend(b"more");
    let print = Certificate::parse(&der).map(|found| found.fingerprint);
    let want = "4d865837b05f4ee252afb6c7f35268239c36999cce0eefaf2e0f8ec9b017d322";
    assert_eq!(print.as_deref(), Some(want));
}

#[test]
fn other_keys() {
    let der = unhex(EC);
    let found = Certificate::parse(&der).expect("a certificate");
    assert_eq!((found.serial.as_str(), found.subject.as_str()), ("-05", "CN=ec"));
    assert_eq!((found.key.kind, found.key.bits), (Some("ecdsa"), Some(521)));
    assert_eq!((found.key.curve, found.signature), (Some("secp521r1"), "ecdsa-with-SHA256"));
    assert_eq!(found.basic.map(|basic| (basic.ca, basic.path_len)), Some((true, None)));
    let der = unhex(ED25519);
    let found = Certificate::parse(&der).expect("a certificate");
    assert_eq!((found.subject.as_str(), found.signature), ("", "ED25519"));
    assert_eq!((found.key.kind, found.key.bits), (Some("ED25519"), Some(256)));
}

#[test]
fn broken_ones() {
    for text in [RSA, EC, ED25519] {
        let whole = unhex(text);
        for end in 0..whole.len() {
            assert!(Certificate::parse(&whole[..end]).is_none(), "{end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x30, 0x7f, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] = byte;
                let _ = Certificate::parse(&broken);
            }
        }
    }
}

#[test]
fn long_serials_are_broken_into_lines() {
    let text = serial_text(false, &[0xab; 36]);
    assert_eq!(text, format!("{}\\\nAB", "AB".repeat(35)));
}

#[test]
fn a_broken_one_is_a_weird_of_its_file_once_a_flow() {
    let kind = &ssl::KIND;
    let mut bench = Bench::between(kind, Transport::Tcp, ("10.0.0.1", 1), ("10.0.0.2", 443));
    for place in 0..3u8 {
        let role = Role { host: true, client: false };
        bench.call(|_, cx| assert!(super::seen(cx, b"\x30\x00", role, &[&[place]]).is_none()));
    }
    let rows = bench.out.weird.finish("n").0;
    let text = |name| read::text(&rows, name).expect("a text column");
    assert_eq!((rows.num_rows(), text("name").value(0)), (1, "x509_cert_parse_error"));
    assert!(text("addl").value(0).starts_with('F') && text("uid").is_null(0));
    assert!(bench.out.x509.is_empty());
}

#[test]
fn some_are_kept_and_none_is_another() {
    let mut cache = Cache::default();
    let (rsa, ec) = (unhex(RSA), unhex(EC));
    for _ in 0..2 {
        for (der, subject) in [(&ec, "CN=ec"), (&unhex(ED25519), "")] {
            assert_eq!(cache.parse(der).expect("a certificate").subject, subject);
        }
        assert!(cache.parse(&rsa[..rsa.len() - 1]).is_none());
    }
    assert_eq!(cache.kept(), 2);
    // What follows is not of it, but other bytes all the same.
    for n in 0..2 * super::cache::KEPT_MAX {
        let more = [&ec[..], &n.to_be_bytes()].concat();
        assert_eq!(cache.parse(&more).expect("a certificate").subject, "CN=ec");
        assert!(cache.kept() <= super::cache::KEPT_MAX);
    }
    let kept = cache.kept();
    let long = [&ec[..], &[0; super::cache::LEN_MAX]].concat();
    assert!(cache.parse(&long).is_some() && cache.kept() == kept);
}

fn rows(seen: &[(&str, bool, i64)]) -> RecordBatch {
    let kind = &ssl::KIND;
    let mut bench = Bench::between(kind, Transport::Tcp, ("10.0.0.1", 1), ("10.0.0.2", 443));
    for (der, host, after) in seen {
        bench.now = START + after;
        let role = Role { host: *host, client: false };
        bench.call(|_, cx| {
            super::seen(cx, &unhex(der), role, &[]);
        });
    }
    bench.out.x509.finish("n").0
}

#[test]
fn a_row() {
    let rows = rows(&[(RSA, true, 0)]);
    let text = |name| read::text(&rows, name).expect("a text column").value(0).to_owned();
    assert_eq!(text("certificate.exponent"), "65537");
    assert!(read::bool(&rows, "host_cert").expect("a truth column").value(0));
    let dns = read::texts(read::list(&rows, "san.dns").expect("a list"), 0);
    assert_eq!(dns, ["a.example", "*.b.example"]);
    assert!(read::text(&rows, "certificate.curve").expect("a text column").is_null(0));
}

#[test]
fn each_is_logged_once_a_day_in_each_role() {
    const HOUR: i64 = 3600 * 1_000_000;
    let seen = [
        (RSA, true, 0),
        (RSA, true, HOUR),
        (RSA, false, HOUR),
        (EC, true, HOUR),
        (RSA, true, 24 * HOUR - 1),
        (RSA, true, 24 * HOUR),
    ];
    let rows = rows(&seen);
    let times = seen.iter().map(|(_, _, after)| START + after);
    let order: Vec<(u32, i64)> = (0..6).zip(times).collect();
    let mut known = Known::default();
    assert_eq!(known.keep(&rows, order.iter().copied()).expect("its columns"), [0, 2, 3, 5]);
    // What was logged stays known from one batch to the next.
    let later = known.keep(&rows, [(1, START + 25 * HOUR)].into_iter()).expect("its columns");
    assert!(later.is_empty());
}
