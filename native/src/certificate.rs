//! Reads a certificate's public key, which is all that the TLS handshake needs.
//!
//! webpki's parser rejects what libp2p allows (a critical libp2p extension), and the certificate is
//! verified in JavaScript anyway.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const EXPLICIT_VERSION: u8 = 0xa0;

/// The SubjectPublicKeyInfo (RFC 5280 section 4.1), DER, of a DER certificate; `None` when it is
/// malformed up to there.
pub fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut fields, _) =
        expect(certificate.content, SEQUENCE).map(|(tbs, _)| (tbs.content, ()))?;
    if fields.first() == Some(&EXPLICIT_VERSION) {
        fields = expect(fields, EXPLICIT_VERSION)?.1;
    }
    // serialNumber, signature, issuer, validity, subject
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        fields = expect(fields, tag)?.1;
    }
    expect(fields, SEQUENCE).map(|(key, _)| key.whole)
}

struct Element<'a> {
    /// Including tag and length.
    whole: &'a [u8],
    content: &'a [u8],
}

/// The first element of `input`, which must have `tag`, and what follows it.
fn expect(input: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&first, rest) = input.split_first()?;
    if first != tag {
        return None;
    }
    let (&short, rest) = rest.split_first()?;
    let (length, content) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let octets = usize::from(short & 0x7f);
        if octets == 0 || octets > 4 {
            return None;
        }
        let (length, content) = rest.split_at_checked(octets)?;
        let length = length
            .iter()
            .fold(0, |value, &octet| value << 8 | usize::from(octet));
        (length, content)
    };
    let (content, rest) = content.split_at_checked(length)?;
    let whole = &input[..input.len() - rest.len()];
    Some((Element { whole, content }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            n if n < 0x80 => out.push(n as u8),
            n => out.extend([0x82, (n >> 8) as u8, n as u8]),
        }
        out.extend_from_slice(content);
        out
    }

    fn certificate(version: bool, key: &[u8]) -> Vec<u8> {
        let mut tbs = Vec::new();
        if version {
            tbs.extend(element(0xa0, &element(INTEGER, &[2])));
        }
        tbs.extend(element(INTEGER, &[1]));
        for _ in 0..4 {
            tbs.extend(element(SEQUENCE, &[]));
        }
        tbs.extend_from_slice(key);
        tbs.extend(element(0xa3, &[1, 2, 3]));
        element(SEQUENCE, &element(SEQUENCE, &tbs))
    }

    #[test]
    fn finds_the_key_with_and_without_a_version() {
        let key = element(SEQUENCE, &[7; 300]);
        for version in [true, false] {
            assert_eq!(
                subject_public_key_info(&certificate(version, &key)),
                Some(&key[..])
            );
        }
    }

    #[test]
    fn refuses_every_truncation() {
        let key = element(SEQUENCE, &[7; 40]);
        let whole = certificate(true, &key);
        for length in 0..whole.len() {
            assert_eq!(subject_public_key_info(&whole[..length]), None);
        }
    }

    #[test]
    fn refuses_other_types_and_endless_lengths() {
        assert_eq!(
            subject_public_key_info(&certificate(true, &element(INTEGER, &[1]))),
            None
        );
        assert_eq!(subject_public_key_info(&[SEQUENCE, 0x80]), None);
        assert_eq!(
            subject_public_key_info(&[SEQUENCE, 0x85, 1, 0, 0, 0, 0]),
            None
        );
        assert_eq!(
            subject_public_key_info(&[SEQUENCE, 0x84, 255, 255, 255, 255]),
            None
        );
    }
}
